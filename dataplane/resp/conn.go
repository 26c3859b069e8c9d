package resp

import (
	"net"
	"sync/atomic"
	"syscall"
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
		if c.dead || c.stop {
			break
		}
		if c.srv.closing.Load() {
			if c.lastLook() {
				continue
			}
			if c.dead || c.ws == nil || c.ws.queued() == 0 {
				break
			}
			c.pump()
			continue
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
	switch {
	case c.dead:
	case c.srv.closing.Load():
		c.part()
	case c.linger:
		c.srv.lingerClose(c.nc)
	}
	c.nc.Close()
	if ws := c.ws; ws != nil {
		c.ws = nil
		ws.w = ws.r
		c.srv.giveWorkset(ws)
	}
}
