package resp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one client. Its goroutine owns every field but those marked.
type conn struct {
	srv *Server
	nc  net.Conn
	rc  syscall.RawConn
	ws  *workset // nil while idle

	// readStep and writeStep are the callbacks of rc, made once: a method value
	// made for each call would be an allocation.
	readStep, writeStep func(fd uintptr) bool
	readBlock           bool // readStep waits for input
	readBytes           int  // what readStep got
	readErr             error
	writeRest           []byte // what writeStep still has to send
	writeErr            error

	authed bool
	proto  int // 2 or 3
	scope  uint32

	eof      bool // the client sends nothing any more; it may still read
	stop     bool // answer what is queued, then close
	linger   bool // let the client read the last reply before closing
	dead     bool // the socket is of no use any more
	full     bool // the last read filled the buffer: there is probably more
	lastRead int64
	outSince int64 // since when replies are held back, 0: they are not
	quiet    int   // waits in a row that ended without a completion
	submits  int   // since completions were last looked at
	commands uint64

	id      uint64
	opened  int64
	meta    meta         // under srv.mu: other connections list it
	protoIs atomic.Int32 // proto, for the same list
}

// meta is what a client said about itself.
type meta struct{ name, libName, libVer string }

func newConn(s *Server, nc net.Conn, rc syscall.RawConn) *conn {
	c := &conn{srv: s, nc: nc, rc: rc, authed: s.cfg.Password == "", proto: 2, opened: s.now()}
	c.protoIs.Store(2)
	c.readStep = c.tryRead
	c.writeStep = c.tryWrite
	return c
}

// serve is the connection's loop; the package doc says why it is this one.
func (c *conn) serve() {
	for {
		c.runBuffered()
		if c.dead || c.stop || c.srv.closing.Load() {
			break
		}
		if c.ws == nil || c.ws.queued() == 0 {
			if !c.flush() || c.eof || !c.read(true) {
				break
			}
			continue
		}
		if c.worthReading() && c.read(false) {
			continue
		}
		if c.dead {
			break
		}
		c.pump()
	}
	c.finish()
}

// runBuffered parses and submits every whole command there is, and collects
// what is done by then.
func (c *conn) runBuffered() {
	before := c.commands
	for c.ws != nil && !c.stop && !c.dead && c.step() {
	}
	if n := c.commands - before; n != 0 {
		c.srv.stats.commands.Add(n)
	}
	if ws := c.ws; ws != nil && ws.inFlight > 0 {
		ws.session.Kick()
		c.collect()
	}
}

// step takes one command from the buffer; false when there is no whole one.
func (c *conn) step() bool {
	ws := c.ws
	if c.authed {
		ws.p.lim = limits{args: argsMax, bulk: bulkBytesMax, query: c.srv.cfg.QueryBytesMax - querySlack}
	} else {
		ws.p.lim = limits{args: argsMaxNoAuth, bulk: bulkBytesMaxNoAuth, query: queryBytesNoAuth}
	}
	used, what := ws.p.next(ws.in[ws.r:ws.w])
	switch what {
	case parseMore:
		ws.r += used
		return false
	case parseCommand:
		c.commands++
		c.execute()
	case parseOver:
		c.commands++
		c.refuseOver(ws.p.over, ws.p.overSize)
	case parseBroken:
		c.srv.stats.protocolErrors.Add(1)
		c.srv.log.Debug("resp: protocol error", "client", c.nc.RemoteAddr().String(), "error", ws.p.broken)
		c.failed("ERR", "Protocol error: "+ws.p.broken)
		c.stop, c.linger = true, true
		return false
	}
	ws.r += used // not before: the arguments stand there
	return true
}

// worthReading keeps looks at the socket rare while completions trickle in.
func (c *conn) worthReading() bool {
	return !c.eof && (c.full || c.srv.now()-c.lastRead > int64(readAgain))
}

// pump waits a bounded time for completions and takes what there is. It is
// called with something in flight only.
func (c *conn) pump() {
	ws := c.ws
	assert(ws.inFlight > 0, "waiting with nothing under way")
	ws.session.Kick()
	if c.collect() {
		c.quiet = 0
		return
	}
	timeout := min(patienceMin<<c.quiet, patienceMax)
	if len(ws.out) > 0 {
		timeout = holdReplies
	}
	if ws.session.Wait(timeout) {
		c.quiet = 0
		c.collect()
		if len(ws.out) == 0 {
			return
		}
		now := c.srv.now()
		if c.outSince == 0 {
			c.outSince = now
		} else if now-c.outSince > int64(holdReplies) {
			c.flush()
		}
		return
	}
	if len(ws.out) > 0 {
		c.flush()
		return
	}
	c.quiet = min(c.quiet+1, 4)
}

// drain waits until every command so far is answered. Commands that show
// something beyond their own keys do this first, so that program order holds
// for them too.
func (c *conn) drain() {
	for c.ws.queued() > 0 {
		c.pump()
	}
}

// collect takes completed ops and writes the replies that are due; false when
// none was completed.
func (c *conn) collect() bool {
	ws := c.ws
	c.submits = 0
	some := false
	for ws.inFlight > 0 {
		n := ws.session.Poll(ws.done[:])
		for _, op := range ws.done[:n] {
			ws.inFlight--
			ws.finish(ws.ops[op.Tag], op.Err, c.srv.cfg.ReplyBytesMax)
		}
		some = some || n > 0
		if n < len(ws.done) {
			break
		}
	}
	c.answer()
	return some
}

// answer writes the oldest replies as far as they are complete.
func (c *conn) answer() {
	ws := c.ws
	for ws.head != ws.tail {
		r := ws.slot(ws.head)
		if r.pending > 0 {
			return
		}
		c.write(r)
		ws.pop()
		if len(ws.out) >= outBytes {
			c.flush()
		}
	}
}

// read takes in what the socket has, waiting for it if block. It returns
// true when there is something new to look at: input, or its end.
func (c *conn) read(block bool) bool {
	c.readBlock, c.readBytes, c.readErr = block, 0, nil
	if idle := c.srv.cfg.IdleTimeout; block && idle > 0 {
		c.nc.SetReadDeadline(time.Now().Add(idle))
		// Shutdown sets the flag before its own deadline, which the line above
		// may have undone.
		if c.srv.closing.Load() {
			return false
		}
	}
	err := c.rc.Read(c.readStep)
	if err == nil {
		err = c.readErr
		if block && c.srv.cfg.IdleTimeout > 0 {
			c.nc.SetReadDeadline(time.Time{}) // it is not for looks while busy
		}
	}
	switch {
	case err == nil && c.readBytes > 0:
		c.lastRead = c.srv.now()
		c.srv.stats.bytesIn.Add(uint64(c.readBytes))
		return true
	case err == nil && !c.eof:
		c.full = false
		c.lastRead = c.srv.now()
		return false
	case err == nil:
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		if block && !c.srv.closing.Load() {
			c.srv.log.Debug("resp: idle connection closed", "client", c.nc.RemoteAddr().String())
		}
		return false
	default:
		c.dead = true
		return false
	}
}

// tryRead is one attempt. While it waits an idle connection holds no memory
// but its goroutine.
func (c *conn) tryRead(fd uintptr) bool {
	if c.ws == nil {
		c.ws = c.srv.takeWorkset()
	}
	ws := c.ws
	room := ws.makeRoom(c.srv.cfg.QueryBytesMax, c.full)
	if room == 0 {
		return true
	}
	for {
		n, err := syscall.Read(int(fd), ws.in[ws.w:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			if c.readBlock && ws.r == ws.w && ws.p.idle() {
				c.srv.giveWorkset(ws)
				c.ws = nil
			}
			return !c.readBlock
		case err != nil:
			c.readErr = err
		case n <= 0:
			c.eof = true
		default:
			ws.w += n
			c.readBytes = n
			c.full = n == room
		}
		return true
	}
}

// makeRoom makes the buffer's free end worth a system call and returns its
// size; 0 when limit bytes are waiting to be parsed already. busy: the last
// read filled the buffer.
func (ws *workset) makeRoom(limit int, busy bool) int {
	const worth = 4 << 10
	if ws.r == ws.w {
		ws.r, ws.w = 0, 0
		switch {
		case len(ws.in) > inBytesFew:
			ws.in = make([]byte, inBytesBusy) // give the room of a few large values back
		case busy && len(ws.in) < inBytesBusy:
			ws.in = make([]byte, inBytesBusy)
		}
	}
	if len(ws.in)-ws.w >= worth {
		return len(ws.in) - ws.w
	}
	if ws.r > 0 && ws.r >= (ws.w-ws.r)/2 {
		ws.w = copy(ws.in, ws.in[ws.r:ws.w])
		ws.r = 0
	}
	if len(ws.in)-ws.w < worth && ws.w-ws.r < limit {
		// Doubling by what came, not by what was announced: a client that
		// announces a megabyte and sends nothing must not cost one.
		bigger := make([]byte, min(2*len(ws.in), limit+worth+len(ws.in)/2))
		ws.w = copy(bigger, ws.in[ws.r:ws.w])
		ws.r = 0
		ws.in = bigger
	}
	return len(ws.in) - ws.w
}

// flush sends the replies written so far; false when the connection is dead.
func (c *conn) flush() bool {
	c.outSince = 0
	ws := c.ws
	if ws == nil || len(ws.out) == 0 {
		return !c.dead
	}
	ok := c.send(ws.out)
	ws.out = ws.out[:0]
	return ok
}

// send writes b to the socket, and takes in input while the client takes
// no replies.
func (c *conn) send(b []byte) bool {
	if c.dead {
		return false
	}
	c.srv.stats.bytesOut.Add(uint64(len(b)))
	c.writeRest, c.writeErr = b, nil
	err := c.rc.Write(c.writeStep)
	rest := c.writeRest
	c.writeRest = nil
	if err == nil {
		err = c.writeErr
	}
	// The socket is full. Both ends may be writing: without reading on, a
	// client that sends a long pipeline first would wait for us and we for it.
	slow, progress := len(rest) > 0, c.srv.now()
	for err == nil && len(rest) > 0 {
		c.nc.SetWriteDeadline(time.Now().Add(readAhead))
		var n int
		n, err = c.nc.Write(rest)
		rest = rest[n:]
		if n > 0 {
			progress = c.srv.now()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
			if c.srv.now()-progress > int64(c.srv.cfg.WriteTimeout) {
				err = os.ErrDeadlineExceeded
				c.srv.stats.slowClosed.Add(1)
				c.srv.log.Warn("resp: connection closed: the client takes no replies",
					"client", c.nc.RemoteAddr().String(), "timeout", c.srv.cfg.WriteTimeout)
				break
			}
			if !c.eof && !c.stop {
				for c.read(false) && !c.eof {
				}
				if c.dead {
					return false
				}
			}
		}
	}
	if err != nil {
		c.dead = true
		return false
	}
	if slow {
		c.nc.SetWriteDeadline(time.Time{}) // an expired one would fail the next try
	}
	return true
}

// tryWrite sends what the socket takes without waiting.
func (c *conn) tryWrite(fd uintptr) bool {
	for len(c.writeRest) > 0 {
		n, err := syscall.Write(int(fd), c.writeRest)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			c.writeErr = err
			return true
		default:
			c.writeRest = c.writeRest[n:]
		}
	}
	return true
}

// finish answers what is under way, closes the socket and gives the workset
// back. Ops in flight refer to its memory, so it waits for them; their
// deadlines bound that.
func (c *conn) finish() {
	if c.ws != nil {
		if c.dead {
			c.nc.Close() // the client need not wait for our bookkeeping
		}
		c.drain()
		c.flush()
	}
	if c.linger && !c.dead {
		c.srv.lingerClose(c.nc)
	}
	c.nc.Close()
	if ws := c.ws; ws != nil {
		c.ws = nil
		ws.w = ws.r
		c.srv.giveWorkset(ws)
	}
}
