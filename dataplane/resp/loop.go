package resp

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane"
)

// loop serves its connections from one goroutine, which owns every field but
// those marked. The package doc says how.
type loop struct {
	srv    *Server
	number int
	epoll  int
	bell   int // an event counter: ends a wait in epoll

	session  Session // opened with the first op
	ops      opPool
	inFlight int // submitted, not yet polled
	done     [pollEvery]*dataplane.Op

	slots   []*conn // by the number that epoll knows them by
	holes   []int32 // of slots
	conns   int
	shelf   []*workset
	scratch []byte // value of a GET that is answered at once

	touched []*conn // ops of theirs were finished
	hungry  []*conn // have more to do than one turn allowed
	starved []*conn // wait for ops of others to make room in the session
	list    []*conn // one of these while it is gone through

	blocked int // connections whose socket is full
	parting int // connections of which only the end is awaited
	now     int64
	ticked  int64 // when timers were looked at last
	shown   int64 // when the Go scheduler was called last

	commands, bytesIn, bytesOut uint64 // not yet in the server's counters

	gone    atomic.Bool // the bell is about to be closed
	ringers atomic.Int32

	mu       sync.Mutex
	mail     []func()
	hasMail  atomic.Bool
	members  atomic.Int32 // connections, new ones on their way included; for the server
	notified bool         // the end was announced to all connections
}

func newLoop(s *Server) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("resp: epoll: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err == nil {
		// Each ring is an edge, so nobody has to read the counter.
		err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN | edge, Fd: -1})
		if err != nil {
			unix.Close(bell)
		}
	}
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("resp: event counter: %w", err)
	}
	return &loop{srv: s, number: len(s.loops), epoll: epoll, bell: bell, scratch: make([]byte, 0, inBytes)}, nil
}

const edge = unix.EPOLLET & 0xffffffff

// ring ends a wait of the loop, present or about to begin. Any goroutine.
func (l *loop) ring() {
	l.ringers.Add(1)
	if !l.gone.Load() {
		ringNow(l.bell)
	}
	l.ringers.Add(-1)
}

// post has do run in the loop's goroutine. Any goroutine; cold.
func (l *loop) post(do func()) {
	l.mu.Lock()
	l.mail = append(l.mail, do)
	l.hasMail.Store(true)
	l.mu.Unlock()
	l.ring()
}

func (l *loop) readMail() {
	if !l.hasMail.Load() {
		return
	}
	l.mu.Lock()
	mail := l.mail
	l.mail = nil
	l.hasMail.Store(false)
	l.mu.Unlock()
	for _, do := range mail {
		do()
	}
}

// threadName and the loop's number name the thread of a loop.
const threadName = "hk-resp-"

// run is the loop on one screen.
func (l *loop) run() {
	runtime.LockOSThread() // for its name
	dataplane.NameThread(fmt.Sprint(threadName, l.number))
	var events [eventsMax]unix.EpollEvent
	for {
		n := l.wait(events[:])
		l.now = l.srv.now()
		for i := range events[:n] {
			l.event(&events[i])
		}
		l.readMail()
		l.each(&l.hungry)
		l.collect()
		l.tick()
		l.publish()
		if l.srv.closing.Load() && l.end() {
			break
		}
	}
	l.publish()
	if l.session != nil {
		l.session.Close()
	}
	l.gone.Store(true)
	for l.ringers.Load() != 0 {
		runtime.Gosched()
	}
	unix.Close(l.bell)
	unix.Close(l.epoll)
}

// wait returns what the sockets have to say; it blocks if there is nothing else
// to do.
func (l *loop) wait(events []unix.EpollEvent) int {
	n := pollNow(l.epoll, events)
	if n > 0 || len(l.hungry) > 0 || l.hasMail.Load() {
		return n
	}
	if l.now-l.shown > int64(showEvery) {
		l.shown = l.now
		runtime.Gosched()
	}
	if l.inFlight > 0 && !l.session.Arm() {
		return 0
	}
	n, err := unix.EpollWait(l.epoll, events, l.patience())
	if l.inFlight > 0 {
		l.session.Disarm()
	}
	if err != nil {
		assert(err == unix.EINTR, "epoll refuses to wait")
		return 0
	}
	return n
}

// event is news of one socket, or of the bell.
func (l *loop) event(e *unix.EpollEvent) {
	if e.Fd < 0 {
		return
	}
	c := l.slots[e.Fd]
	if c == nil {
		return // closed by an event before it
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.readable = true
	}
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.ending = true
	}
	if c.blocked && e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.flush()
	}
	c.run()
}

// each runs the connections of a list, which may get new ones meanwhile.
func (l *loop) each(list *[]*conn) {
	if len(*list) == 0 {
		return
	}
	l.list, *list = *list, l.list[:0]
	for i, c := range l.list {
		c.listed = false
		l.list[i] = nil
		if !c.closed {
			c.run()
		}
	}
	l.list = l.list[:0]
}

// enlist puts c on one list, if it is on none.
func (l *loop) enlist(list *[]*conn, c *conn) {
	if !c.listed {
		c.listed = true
		*list = append(*list, c)
	}
}

// collect hands over what was submitted, takes what is finished, and answers.
func (l *loop) collect() {
	if l.inFlight == 0 {
		return
	}
	l.session.Kick()
	some := false
	for l.inFlight > 0 {
		n := l.session.Poll(l.done[:])
		for _, op := range l.done[:n] {
			l.finish(l.ops.ops[op.Tag], op.Err)
		}
		some = some || n > 0
		if n < len(l.done) {
			break
		}
	}
	if !some {
		return
	}
	l.each(&l.touched)
	l.each(&l.starved)
	if l.inFlight > 0 {
		l.session.Kick()
	} else {
		l.ops.shrink()
	}
}

// finish takes an op that came back.
func (l *loop) finish(o *cmdOp, err error) {
	l.inFlight--
	o.flying = false
	c := o.conn
	c.inFlight--
	if c.closed {
		l.ops.release(o)
		return
	}
	c.book(o, err)
	if c.listed { // hungry or starved: it runs in any case, but the starved ones only behind the others
		return
	}
	l.enlist(&l.touched, c)
}

// submit hands o over. False: there is no room now, and o was not taken.
func (l *loop) submit(o *cmdOp) bool {
	s := l.open()
	switch err := s.Submit(&o.op); {
	case err == nil:
		l.inFlight++
		o.flying = true
		o.conn.inFlight++
	case err == dataplane.ErrOverload && l.inFlight > 0:
		return false // what is under way makes room
	default:
		// Rejected; it takes its turn among the answers like any other outcome.
		o.conn.book(o, err)
	}
	return true
}

func (l *loop) open() Session {
	if l.session == nil {
		l.session = l.srv.backend.NewSession(l.ring)
		l.session.SetTimeout(l.srv.cfg.OpTimeout)
	}
	return l.session
}

// keepScratch makes v, to which it may have grown, the buffer for values, but
// not a large one.
func (l *loop) keepScratch(v []byte) {
	if cap(v) <= scratchKept {
		l.scratch = v[:0]
	}
}

// add takes a new connection, whose socket is accepted and does not block.
func (l *loop) add(c *conn) {
	if n := len(l.holes); n > 0 {
		c.slot = l.holes[n-1]
		l.holes = l.holes[:n-1]
	} else {
		c.slot = int32(len(l.slots))
		l.slots = append(l.slots, nil)
	}
	l.slots[c.slot] = c
	l.conns++
	err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | edge, Fd: c.slot})
	if err != nil {
		l.srv.log.Warn("resp: client refused: its socket cannot be waited for", "client", c.where(c.remote), "error", err)
		c.dead = true
		c.close()
		return
	}
	if c.refused {
		c.turnAway()
	}
}

// remove forgets c, whose socket is closed.
func (l *loop) remove(c *conn) {
	l.slots[c.slot] = nil
	l.holes = append(l.holes, c.slot)
	l.conns--
	l.members.Add(-1)
	l.srv.forget(c)
}

// end is called while the server stops: true when nothing is left.
func (l *loop) end() bool {
	cut := l.srv.cutting.Load()
	if !l.notified || cut {
		l.notified = true
		for _, c := range l.slots {
			switch {
			case c == nil:
			case cut, c.parted:
				c.dead = true
				c.close()
			default:
				c.run()
			}
		}
	}
	return l.conns == 0 && l.inFlight == 0 && !l.hasMail.Load()
}

// Timers: connections whose client takes no replies, whose end is awaited, or
// which may be idle only for so long. All are coarse.

func (l *loop) tickEvery() time.Duration {
	every := time.Duration(-1)
	cfg := &l.srv.cfg
	if l.parting > 0 {
		every = partMax / 4
	}
	if l.blocked > 0 && (every < 0 || cfg.WriteTimeout/4 < every) {
		every = cfg.WriteTimeout / 4
	}
	if cfg.IdleTimeout > 0 && l.conns > 0 && (every < 0 || cfg.IdleTimeout/4 < every) {
		every = cfg.IdleTimeout / 4
	}
	if every >= 0 {
		every = min(max(every, 2*time.Millisecond), time.Second)
	}
	return every
}

// patience is how long epoll may wait, in milliseconds.
func (l *loop) patience() int {
	every := l.tickEvery()
	if every < 0 {
		return -1
	}
	return int(every/time.Millisecond) + 1
}

func (l *loop) tick() {
	every := l.tickEvery()
	if every < 0 || l.now-l.ticked < int64(every) {
		return
	}
	l.ticked = l.now
	for _, c := range l.slots {
		if c != nil {
			c.tick()
		}
	}
}

// publish adds a round's counts to the server's.
func (l *loop) publish() {
	st := &l.srv.stats
	if l.commands != 0 {
		st.commands.Add(l.commands)
	}
	if l.bytesIn != 0 {
		st.bytesIn.Add(l.bytesIn)
	}
	if l.bytesOut != 0 {
		st.bytesOut.Add(l.bytesOut)
	}
	l.commands, l.bytesIn, l.bytesOut = 0, 0, 0
}

// takeWorkset is called when input has arrived for an idle connection.
func (l *loop) takeWorkset() *workset {
	if n := len(l.shelf); n > 0 {
		ws := l.shelf[n-1]
		l.shelf[n-1] = nil
		l.shelf = l.shelf[:n-1]
		return ws
	}
	return newWorkset()
}

// giveWorkset takes back what a connection does not need any more. So many are
// kept as make the next burst of writes cheap.
func (l *loop) giveWorkset(ws *workset) {
	ws.shrink(len(l.shelf) < shelfLarge)
	if len(l.shelf) < shelfMax {
		l.shelf = append(l.shelf, ws)
	}
}
