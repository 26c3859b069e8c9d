package resp

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// conn is one client. Its loop owns every field but those marked.
type conn struct {
	srv  *Server
	l    *loop
	fd   int
	slot int32    // in the loop
	ws   *workset // nil while idle

	// Events come once: readable is set by one and cleared by the read that
	// finds the socket empty.
	readable bool
	ending   bool // the kernel has seen the end, which has no further event
	blocked  bool // the socket takes no more replies; an event will say when
	listed   bool // on one of the loop's lists
	crowded  bool // the session had no room for its next op

	// A parsed command that could not be executed yet; parseMore: there is none.
	pend  parsed
	used  int // its bytes
	group int // of a command of several keys: what is submitted already

	authed bool
	proto  int // 2 or 3
	scope  uint32

	eof     bool // the client sends nothing any more; it may still read
	stop    bool // answer what is queued, then close
	linger  bool // let the client read the last reply before closing
	dead    bool // the socket is of no use any more
	parted  bool // our end is closed, that of the client is awaited
	closed  bool
	refused bool // beyond the limit of connections; it is told so
	full    bool // the last read filled the buffer: there is probably more

	inFlight  int
	held      int // bytes of values in flight or waiting in chains
	lastRead  int64
	deadline  int64 // blocked: of the next byte taken; parted: of the client's end
	discarded int

	id      uint64
	opened  int64
	remote  netip.AddrPort // not valid over the socket file
	local   netip.AddrPort
	meta    meta         // under srv.mu: other connections list it
	protoIs atomic.Int32 // proto, for the same list
}

// meta is what a client said about itself.
type meta struct{ name, libName, libVer string }

func newConn(s *Server, fd int, remote, local netip.AddrPort) *conn {
	c := &conn{srv: s, fd: fd, remote: remote, local: local, pend: parseMore, authed: s.cfg.Password == "", proto: 2, opened: s.now()}
	c.protoIs.Store(2)
	return c
}

// where names an end of the connection, as Redis does.
func (c *conn) where(end netip.AddrPort) string {
	if !end.IsValid() {
		return c.srv.cfg.Socket + ":0"
	}
	return end.String()
}

// run does what can be done for the connection without waiting: it answers,
// executes what is there, reads on.
func (c *conn) run() {
	if c.closed {
		return
	}
	if c.parted {
		c.discard()
		return
	}
	for reads := 0; !c.dead; reads++ {
		for c.ws != nil {
			c.answer()
			c.execute()
			if c.pend == parseMore || !c.due() {
				break
			}
		}
		if c.dead || c.stop || c.eof || !c.readable || c.listed {
			break
		}
		// Both ends may be writing: without reading on while the client takes no
		// replies, it would wait for us and we for it.
		if c.pend != parseMore && !c.blocked {
			break
		}
		if reads == readsPerTurn {
			c.l.enlist(&c.l.hungry, c)
			break
		}
		if !c.read() {
			break
		}
	}
	if !c.dead {
		c.answer()
		if waited := c.blocked; c.flush() && waited {
			c.l.enlist(&c.l.hungry, c) // what it did not execute meanwhile
		}
	}
	c.settle()
}

// execute runs the commands that are whole, as far as there is room for their
// ops and their replies.
func (c *conn) execute() {
	ws := c.ws
	for n := 0; !c.stop && !c.dead && !c.blocked; n++ {
		if c.pend == parseMore {
			if n >= commandsPerTurn {
				c.l.enlist(&c.l.hungry, c)
				return
			}
			if !c.parse() {
				return
			}
		}
		done := false
		switch c.pend {
		case parseCommand:
			done = c.perform()
		case parseOver:
			done = c.refuseOver(ws.p.over, ws.p.overSize)
		case parseBroken:
			if done = c.failed("ERR", "Protocol error: "+ws.p.broken); done {
				c.stop, c.linger = true, true
			}
		}
		if !done {
			return
		}
		c.pend, c.group, c.crowded = parseMore, 0, false
		ws.r += c.used // not before: the arguments stand there
	}
}

// parse takes one command from the buffer; false when there is no whole one.
func (c *conn) parse() bool {
	ws := c.ws
	if c.authed {
		ws.p.lim = limits{args: argsMax, bulk: bulkBytesMax, query: c.srv.cfg.QueryBytesMax - querySlack}
	} else {
		ws.p.lim = limits{args: argsMaxNoAuth, bulk: bulkBytesMaxNoAuth, query: queryBytesNoAuth}
	}
	for {
		used, what := ws.p.next(ws.in[ws.r:ws.w])
		switch what {
		case parseMore:
			ws.r += used
			return false
		case parseEmpty:
			ws.r += used
			continue
		case parseBroken:
			c.srv.stats.protocolErrors.Add(1)
			c.srv.log.Debug("resp: protocol error", "client", c.where(c.remote), "error", ws.p.broken)
		default:
			c.l.commands++
		}
		c.pend, c.used = what, used
		return true
	}
}

// answer writes the oldest replies as far as they are complete and the socket
// takes them.
func (c *conn) answer() {
	ws := c.ws
	if ws == nil {
		return
	}
	for ws.head != ws.tail && !c.blocked && !c.dead {
		r := ws.slot(ws.head)
		if r.pending > 0 || !c.write(r) {
			return
		}
		c.pop()
		c.sendIfLong()
	}
}

// due reports whether a reply can be written.
func (c *conn) due() bool {
	ws := c.ws
	return !c.blocked && !c.dead && ws.head != ws.tail && ws.slot(ws.head).pending == 0
}

// pop drops the oldest reply and frees its ops.
func (c *conn) pop() {
	ws := c.ws
	r := ws.slot(ws.head)
	for r.first != nil {
		c.l.ops.release(r.unchain())
	}
	r.err, r.text = nil, nil
	ws.head++
}

// settle looks at what is left to do for the connection.
func (c *conn) settle() {
	l, ws := c.l, c.ws
	switch {
	case c.dead:
		c.close()
	case c.listed:
	case c.crowded && c.inFlight == 0: // no op of its own will call it
		l.enlist(&l.starved, c)
	case ws != nil && (ws.queued() > 0 || ws.unsent() > 0):
	case c.stop && c.linger:
		c.part(lingerMax)
	case c.stop:
		c.close()
	case c.eof:
		c.close()
	case l.srv.closing.Load():
		// What a client had sent before it could know that the server stops is
		// answered. It may have come since the socket was found empty.
		if c.readable = true; c.read() && !c.eof {
			l.enlist(&l.hungry, c)
			return
		}
		if c.eof || c.dead || c.lastRead == 0 || l.now-c.lastRead > int64(lingerMax) {
			c.close() // it has its answers, and is not waited for
			return
		}
		c.part(partMax)
	case ws != nil && ws.r == ws.w && ws.p.idle():
		c.ws = nil
		l.giveWorkset(ws)
	}
}

// part closes our end behind the last reply and waits a while for the client to
// have seen it: closing a socket with unread input makes the kernel drop what
// was not sent yet.
func (c *conn) part(patience time.Duration) {
	l := c.l
	if unix.Shutdown(c.fd, unix.SHUT_WR) != nil || patience == lingerMax && l.srv.closing.Load() {
		c.close()
		return
	}
	c.parted, c.deadline = true, l.now+int64(patience)
	l.parting++
	c.dropWorkset()
	c.readable = true
	c.discard()
}

// discard takes what a client still sends to a connection that has ended.
func (c *conn) discard() {
	waste := c.l.scratch[:cap(c.l.scratch)]
	for range readsPerTurn {
		n, errno := readNow(c.fd, waste)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return
		case errno != 0 || n <= 0:
			c.close()
			return
		}
		if c.discarded += n; c.discarded > bulkBytesHard {
			c.close()
			return
		}
	}
	c.l.enlist(&c.l.hungry, c)
}

// turnAway tells a client why it is not served. The words are those that Redis
// clients know as a reason to try again later.
func (c *conn) turnAway() {
	const text = "-ERR max number of clients reached\r\n"
	if _, errno := writeNow(c.fd, []byte(text), nil); errno != 0 {
		c.close()
		return
	}
	c.l.now = c.srv.now()
	c.part(lingerMax)
}

func (c *conn) tick() {
	l, cfg := c.l, &c.srv.cfg
	switch {
	case c.parted:
		if l.now > c.deadline {
			c.close()
		}
	case c.blocked:
		if l.now <= c.deadline {
			return
		}
		if c.flush(); c.blocked && !c.dead && l.now > c.deadline {
			c.srv.stats.slowClosed.Add(1)
			c.srv.log.Warn("resp: connection closed: the client takes no replies",
				"client", c.where(c.remote), "timeout", cfg.WriteTimeout)
			c.dead = true
		}
		c.run()
	case cfg.IdleTimeout > 0:
		if ws := c.ws; c.listed || ws != nil && ws.queued() > 0 || l.now-max(c.lastRead, c.opened) <= int64(cfg.IdleTimeout) {
			return
		}
		c.srv.log.Debug("resp: idle connection closed", "client", c.where(c.remote))
		c.close()
	}
}

// close ends the connection. Ops in flight keep their memory, which is the
// loop's; what they end with interests nobody.
func (c *conn) close() {
	if c.closed {
		return
	}
	l := c.l
	c.closed, c.dead = true, true
	unix.Close(c.fd)
	if c.parted {
		l.parting--
	}
	c.setBlocked(false)
	c.dropWorkset()
	l.remove(c)
}

// dropWorkset gives the workset back with whatever is in it.
func (c *conn) dropWorkset() {
	l, ws := c.l, c.ws
	if ws == nil {
		return
	}
	c.ws = nil
	if plant.Is(plant.RespFlying) {
		for _, o := range l.ops.ops {
			if o.conn == c && o.flying {
				l.ops.release(o)
			}
		}
	}
	for ws.head != ws.tail {
		r := ws.slot(ws.head)
		for r.first != nil {
			if o := r.unchain(); !o.flying {
				l.ops.release(o)
			}
		}
		r.err, r.text = nil, nil
		ws.head++
	}
	ws.out = ws.out[:0]
	ws.sent = 0
	l.giveWorkset(ws)
}
