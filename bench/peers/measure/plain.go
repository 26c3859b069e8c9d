package measure

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"healkv/bench/peers/servers"
)

// plain is a worker whose connection a loop serves beside others. It is in one
// of these states: an operation is under way, it pauses after an error, or it has
// ended with the load.
type plain struct {
	*worker
	client servers.Plain
	socket int
	out    []byte // the request; out[:sent] is on its way
	sent   int
	in     []byte // what has come of the answer is in[:have]
	have   int

	key    int // of the share: what the operation under way is about
	begun  time.Time
	ticks  int   // of the loop, since then
	pauses bool  // until resume
	broken error // the connection is of no use any more: every operation ends with it
	resume time.Time
	ended  bool
}

// plains takes the connections over if all of them can be served so; nil if not.
func (s *Session) plains() ([]*plain, error) {
	all := make([]*plain, 0, len(s.workers))
	for _, w := range s.workers {
		if w.plain == nil {
			client, ok := w.conn.(servers.Plain)
			if !ok {
				return nil, nil
			}
			socket, err := client.Socket()
			if err != nil {
				return nil, err
			}
			w.plain = &plain{worker: w, client: client, socket: socket, in: make([]byte, 4096)}
			w.hist = s.workers[0].hist // one goroutine counts for all; hundreds of them would be in no cache
		}
		all = append(all, w.plain)
	}
	return all, nil
}

func (p *plain) close() error {
	if p.socket < 0 {
		return nil
	}
	err := unix.Close(p.socket)
	p.socket = -1
	return err
}

// plainLoop is a part of the load: a closed loop for each connection, all of
// them served by one goroutine that waits in epoll. Latencies end when an answer
// has been looked at, and where an operation follows at once it begins there: what
// the loop does in between, and for other connections, is in them, as the wait for
// a processor is in those of clients with goroutines.
type plainLoop struct {
	s        *Session
	reads    bool
	load     context.Context
	from, to time.Time
	epoll    int
	all      []*plain
	active   int // not ended
	pausing  int // of them
	now      time.Time
}

const (
	plainTick = 50 * time.Millisecond
	// plainShow: a goroutine that is in system calls only has to call the scheduler
	// now and then, or the runtime's monitor takes its processor from it at each of them.
	plainShow = 5 * time.Millisecond
)

func (s *Session) plainLoop(load context.Context, all []*plain, reads bool, from, to time.Time) (err error) {
	l := plainLoop{s: s, reads: reads, load: load, from: from, to: to, all: all, active: len(all), now: time.Now()}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("peers: epoll: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(l.epoll)) }()
	for i, p := range all {
		p.ended, p.pauses = false, false
		if p.broken == nil {
			e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(i)}
			if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, p.socket, &e); err != nil {
				return fmt.Errorf("peers: epoll: %w", err)
			}
		}
	}
	for _, p := range all {
		err = errors.Join(err, l.begin(p))
	}
	events := make([]unix.EpollEvent, 256)
	ticked, shown := l.now, l.now
	for l.active > 0 {
		patience := int(plainTick / time.Millisecond)
		if l.pausing > 0 {
			patience = 1
		}
		n, e := unix.EpollWait(l.epoll, events, patience)
		if e != nil && e != unix.EINTR {
			return errors.Join(err, fmt.Errorf("peers: epoll: %w", e))
		}
		for _, e := range events[:max(n, 0)] {
			if p := l.all[e.Fd]; !p.ended && !p.pauses {
				err = errors.Join(err, l.event(p))
			}
		}
		l.now = time.Now()
		if l.now.Sub(shown) > plainShow {
			shown = l.now
			runtime.Gosched()
		}
		if l.pausing > 0 {
			err = errors.Join(err, l.goOn())
		}
		if l.now.Sub(ticked) > plainTick {
			ticked = l.now
			err = errors.Join(err, l.tick())
		}
	}
	return err
}

// begin starts p's next operation, unless the load has ended.
func (l *plainLoop) begin(p *plain) error {
	if l.load.Err() != nil {
		p.ended = true
		l.active--
		return nil
	}
	p.key, p.begun, p.ticks = p.random.IntN(len(p.keys)), l.now, 0
	name := p.names[p.key]
	if l.reads {
		p.out = p.client.AppendRead(p.out[:0], name)
	} else {
		p.out = p.client.AppendWrite(p.out[:0], name, p.next())
	}
	p.sent, p.have = 0, 0
	if p.broken != nil {
		return l.done(p, nil, p.broken)
	}
	return l.send(p)
}

func (l *plainLoop) send(p *plain) error {
	for p.sent < len(p.out) {
		n, errno := sendNow(p.socket, p.out[p.sent:])
		switch {
		case errno == unix.EINTR:
		case errno == unix.EAGAIN:
			return nil // an event says when
		case errno != 0:
			return l.broke(p, errno)
		default:
			p.sent += n
		}
	}
	return nil
}

// event is news of p's socket.
func (l *plainLoop) event(p *plain) error {
	if p.sent < len(p.out) {
		if err := l.send(p); err != nil || p.pauses || p.ended {
			return err
		}
	}
	for {
		n, errno := receiveNow(p.socket, p.in[p.have:])
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return nil
		case errno != 0:
			return l.broke(p, errno)
		case n == 0:
			return l.broke(p, errHungUp)
		}
		room := len(p.in) - p.have
		p.have += n
		var value []byte
		var err error
		whole := 0
		if l.reads {
			whole, value, err = p.client.Found(p.in[:p.have])
		} else {
			whole, err = p.client.Written(p.in[:p.have])
		}
		switch {
		case whole == p.have: // which ends p.have's use
			l.now = time.Now()
			return l.done(p, value, err)
		case whole > 0:
			return l.broke(p, errUnasked)
		case err != nil:
			return l.broke(p, err)
		case n < room:
			return nil // what is missing has an event of its own
		}
		if p.have == len(p.in) {
			p.in = append(p.in, make([]byte, len(p.in))...)
		}
	}
}

var (
	errHungUp  = errors.New("peers: the server has closed the connection")
	errUnasked = errors.New("peers: an answer that nobody asked for")
	errLate    = fmt.Errorf("peers: no answer within %v", servers.OpPatience)
)

// broke ends the operation under way, and all that follow: an answer may still
// come that belongs to none of them.
func (l *plainLoop) broke(p *plain, err error) error {
	p.broken = err
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, p.socket, nil)
	_ = unix.Shutdown(p.socket, unix.SHUT_RDWR)
	l.now = time.Now()
	return l.done(p, nil, err)
}

// done ends an operation at l.now and begins the next one, after an error not at
// once.
func (l *plainLoop) done(p *plain, value []byte, err error) error {
	err = l.s.outcome(p.worker, p.key, l.reads, value, err, l.now)
	if errors.Is(err, ErrWrong) {
		p.ended = true
		l.active--
		return err
	}
	p.count(p.begun, l.now, l.from, l.to, err)
	if err == nil {
		return l.begin(p)
	}
	p.pauses, p.resume = true, l.now.Add(errorPause)
	l.pausing++
	return nil
}

// goOn goes on with those whose pause is over.
func (l *plainLoop) goOn() (err error) {
	for _, p := range l.all {
		if !p.ended && p.pauses && l.now.After(p.resume) {
			p.pauses = false
			l.pausing--
			err = errors.Join(err, l.begin(p))
		}
	}
	return err
}

// tick gives up what takes too long. The loop's own ticks are counted, not the
// clock's time: in a process that was stopped for as long, or whose server here
// was, nobody had the time to answer.
func (l *plainLoop) tick() (err error) {
	for _, p := range l.all {
		if p.ended || p.pauses {
			continue
		}
		if p.ticks++; p.ticks > int(servers.OpPatience/plainTick) {
			err = errors.Join(err, l.broke(p, errLate))
		}
	}
	return err
}
