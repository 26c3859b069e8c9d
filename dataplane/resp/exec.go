package resp

import (
	"errors"
	"fmt"
	"strconv"

	"healkv/dataplane"
)

// arg is argument i of the command being executed. The slice is good only until
// the next wait: taking in input may move the buffer.
func (c *conn) arg(i int) []byte {
	ws := c.ws
	a := ws.p.args[i]
	from := ws.r + int(a.off)
	return ws.in[from : from+int(a.n)]
}

func (c *conn) args() int { return len(c.ws.p.args) }

// execute runs one command: submits its ops, or answers at once.
func (c *conn) execute() {
	id := lookup(c.arg(0))
	if !c.authed && id != cmdAuth && id != cmdHello && id != cmdQuit && id != cmdReset {
		if id == cmdNone && crossProtocol(c.arg(0)) {
			c.stop = true
			return
		}
		c.failed("NOAUTH", "Authentication required.")
		return
	}
	if id == cmdNone {
		c.unknownCommand()
		return
	}
	if a := commands[id].arity; c.args() != a && (a > 0 || c.args() < -a) {
		c.failed("ERR", "wrong number of arguments for '"+commands[id].name+"' command")
		return
	}
	switch id {
	case cmdGet:
		c.readOne(replyGet)
	case cmdSet:
		c.set()
	case cmdStrlen:
		c.readOne(replyStrlen)
	case cmdDel, cmdUnlink:
		c.several(replyDel, dataplane.OpDelete, 1)
	case cmdExists:
		c.several(replyExists, dataplane.OpGet, 1)
	case cmdMGet:
		c.several(replyMGet, dataplane.OpGet, 1)
	case cmdMSet:
		if c.args()%2 == 0 {
			c.failed("ERR", "wrong number of arguments for 'mset' command")
			return
		}
		c.several(replyMSet, dataplane.OpPut, 2)
	case cmdPing:
		if c.args() == 1 {
			c.literal(litPong)
			return
		}
		c.ping()
	case cmdHealScope:
		c.healScope()
	case cmdHealPersist:
		c.healPersist()
	default:
		c.admin(id)
	}
}

// literal answers with a fixed reply when its turn comes.
func (c *conn) literal(l literal) {
	if c.ws.queued() == 0 {
		c.ws.out = append(c.ws.out, literals[l]...)
		c.sendIfLong()
		return
	}
	c.enqueue(replyLiteral, 0).lit = l
}

func (c *conn) sendIfLong() {
	if len(c.ws.out) >= outBytes {
		c.flush()
	}
}

// failed answers with an error. Errors are rare, so they wait for what is under
// way instead of taking a place in the queue with their text.
func (c *conn) failed(code, text string) {
	c.drain()
	c.ws.out = appendError(c.ws.out, code, text)
	c.sendIfLong()
}

// enqueue takes the next place in the order of replies, waiting for one if
// PipelineMax commands are under way.
func (c *conn) enqueue(kind replyKind, ops int) *reply {
	ws := c.ws
	for ws.queued() >= c.srv.cfg.PipelineMax {
		c.pump()
	}
	return ws.push(kind, ops)
}

// submit hands an op over, waiting for room if it must.
func (c *conn) submit(o *cmdOp) {
	ws := c.ws
	if ws.session == nil {
		ws.session = c.srv.backend.NewSession()
		ws.session.SetTimeout(c.srv.cfg.OpTimeout)
	}
	for ws.inFlight >= opsWindow || ws.held > heldBytesMax && ws.inFlight > 0 {
		c.pump()
	}
	for {
		err := ws.session.Submit(&o.op)
		if err == nil {
			break
		}
		if ws.inFlight > 0 && errors.Is(err, dataplane.ErrOverload) {
			c.pump() // the session is full: its own completions make room
			continue
		}
		// Rejected; it takes its turn among the answers like any other outcome.
		ws.finish(o, err, c.srv.cfg.ReplyBytesMax)
		c.answer()
		return
	}
	ws.inFlight++
	c.submits++
	// Large values are looked for after every op, to send them before the next
	// ones pile up.
	if c.submits >= pollEvery || ws.held > heldBytesMax/4 {
		c.collect()
	}
}

func keyFits(k []byte) bool {
	return len(k) >= dataplane.KeyBytesMin && len(k) <= dataplane.KeyBytesMax
}

func (c *conn) badKey(n int) {
	c.failed("ERR", fmt.Sprintf("key of %d bytes, must be %d to %d", n, dataplane.KeyBytesMin, dataplane.KeyBytesMax))
}

func (c *conn) readOne(kind replyKind) {
	if k := c.arg(1); !keyFits(k) {
		c.badKey(len(k))
		return
	}
	r := c.enqueue(kind, 1)
	o := c.ws.takeOp(dataplane.OpGet)
	r.chain(o)
	o.load(c.ws, c.arg(1), nil)
	c.submit(o)
}

func (c *conn) set() {
	if k := c.arg(1); !keyFits(k) {
		c.badKey(len(k))
		return
	}
	if c.args() > 3 {
		c.failed("ERR", "SET option '"+printable(upper(c.arg(3)))+"' is not supported: values do not expire and writes are not conditional")
		return
	}
	c.enqueue(replySet, 1)
	o := c.ws.takeOp(dataplane.OpPut)
	o.op.Scope = c.scope
	o.load(c.ws, c.arg(1), c.arg(2))
	c.submit(o)
}

// several submits one op per key; arguments come in groups of width, key
// first. Keys are checked before the first op, so that a bad one has no effect.
func (c *conn) several(kind replyKind, op dataplane.OpKind, width int) {
	keys := (c.args() - 1) / width
	for i := range keys {
		if k := c.arg(1 + i*width); !keyFits(k) {
			c.badKey(len(k))
			return
		}
	}
	// The queue entry stays where it is while it has ops that are not done,
	// and only enqueue adds entries, so r holds through all waits below.
	r := c.enqueue(kind, keys)
	for i := range keys {
		o := c.ws.takeOp(op)
		var value []byte
		if op != dataplane.OpGet {
			o.op.Scope = c.scope
		}
		if op == dataplane.OpPut {
			value = c.arg(2 + i*width)
		}
		if kind == replyMGet {
			r.chain(o)
		}
		o.load(c.ws, c.arg(1+i*width), value)
		c.submit(o)
	}
}

func (c *conn) healScope() {
	id, err := strconv.ParseUint(string(c.arg(1)), 10, 32)
	if err != nil {
		c.failed("ERR", "scope id '"+printable(c.arg(1))+"' is not a number in 0..4294967295; 0 ends the scope")
		return
	}
	c.scope = uint32(id)
	c.literal(litOK)
}

// healPersist waits for the commands before it: what it promises about the
// scope's writes has to include them.
func (c *conn) healPersist() {
	id := c.scope
	switch {
	case c.args() > 2:
		c.failed("ERR", "wrong number of arguments for 'heal.persist' command")
		return
	case c.args() == 2:
		n, err := strconv.ParseUint(string(c.arg(1)), 10, 32)
		if err != nil || n == 0 {
			c.failed("ERR", "scope id '"+printable(c.arg(1))+"' is not a number in 1..4294967295")
			return
		}
		id = uint32(n)
	case id == 0:
		c.failed("ERR", "no scope is set on this connection: name one, or begin one with HEAL.SCOPE")
		return
	}
	c.drain()
	c.enqueue(replyPersist, 1)
	o := c.ws.takeOp(dataplane.OpPersist)
	o.op.Scope = id
	c.submit(o)
}

// write appends the reply of a command whose ops are all done.
func (c *conn) write(r *reply) {
	ws := c.ws
	switch r.kind {
	case replyLiteral:
		ws.out = append(ws.out, literals[r.lit]...)
	case replyGet:
		c.value(r.first)
	case replyStrlen:
		switch o := r.first; o.op.Err {
		case nil:
			ws.out = appendInt(ws.out, int64(len(o.val)))
		case dataplane.ErrNotFound:
			ws.out = appendInt(ws.out, 0)
		default:
			ws.out = appendOpError(ws.out, o.op.Err)
		}
	case replySet, replyPersist:
		if r.err != nil {
			ws.out = appendOpError(ws.out, r.err)
			return
		}
		ws.out = append(ws.out, literals[litOK]...)
	case replyMSet:
		switch {
		case r.err == nil:
			ws.out = append(ws.out, literals[litOK]...)
		default:
			c.writeFailed(r, "MSET")
		}
	case replyDel:
		if r.err != nil {
			c.writeFailed(r, "DEL")
			return
		}
		ws.out = appendInt(ws.out, int64(r.count))
	case replyExists:
		if r.err != nil {
			ws.out = appendOpError(ws.out, r.err)
			return
		}
		ws.out = appendInt(ws.out, int64(r.count))
	case replyMGet:
		switch {
		case r.err != nil:
			// One error for all: clients do not expect errors among values.
			ws.out = appendOpError(ws.out, r.err)
			return
		case r.bytes > c.srv.cfg.ReplyBytesMax:
			ws.out = appendError(ws.out, "ERR", fmt.Sprintf("the values together are longer than the limit of %d bytes; ask for fewer keys", c.srv.cfg.ReplyBytesMax))
			return
		}
		ws.out = appendArray(ws.out, int(r.total))
		for o := r.first; o != nil; o = o.next {
			c.value(o)
			c.sendIfLong()
		}
	}
}

// value appends what a Get found.
func (c *conn) value(o *cmdOp) {
	ws := c.ws
	switch o.op.Err {
	case nil:
		if len(o.val) < directBytes {
			ws.out = appendBulk(ws.out, o.val)
			return
		}
		ws.out = appendHead(ws.out, '$', len(o.val))
		if c.flush() {
			c.send(o.val)
		}
		ws.out = append(ws.out, '\r', '\n')
	case dataplane.ErrNotFound:
		ws.out = appendNull(ws.out, c.proto)
	default:
		ws.out = appendOpError(ws.out, o.op.Err)
	}
}

// writeFailed answers a write of several keys that did not go through whole.
func (c *conn) writeFailed(r *reply, name string) {
	if r.ok == 0 && (!r.unsafe || r.total == 1) {
		c.ws.out = appendOpError(c.ws.out, r.err)
		return
	}
	c.ws.out = appendPartial(c.ws.out, name, int(r.ok), int(r.total), r.err)
}

// refuseOver answers a command that was skipped.
func (c *conn) refuseOver(over overLimit, size int) {
	if !c.authed {
		c.failed("NOAUTH", "Authentication required.")
		return
	}
	switch over {
	case overArgs:
		c.failed("ERR", fmt.Sprintf("command of %d arguments, at most %d", size, argsMax))
	case overBulk:
		c.failed("ERR", fmt.Sprintf("value or argument of %d bytes, at most %d", size, bulkBytesMax))
	default:
		c.failed("ERR", fmt.Sprintf("command longer than the limit of %d bytes; send fewer keys at a time", c.srv.cfg.QueryBytesMax))
	}
}

// unknownCommand answers like Redis does, for the sake of clients that look at
// the words.
func (c *conn) unknownCommand() {
	if crossProtocol(c.arg(0)) {
		c.srv.stats.protocolErrors.Add(1)
		c.srv.log.Warn("resp: closed: an HTTP request on the Redis port", "client", c.nc.RemoteAddr().String())
		c.stop = true
		return
	}
	text := "unknown command '" + printable(c.arg(0)[:min(128, len(c.arg(0)))]) + "', with args beginning with: "
	for i := 1; i < c.args() && len(text) < 256; i++ {
		a := c.arg(i)
		text += "'" + printable(a[:min(64, len(a))]) + "' "
	}
	c.failed("ERR", text)
}

// crossProtocol spots an HTTP request that a browser was tricked into sending:
// its further lines must not run as commands.
func crossProtocol(name []byte) bool {
	return string(name) == "POST" || string(upper(name)) == "HOST:"
}

func upper(b []byte) []byte {
	u := make([]byte, len(b))
	for i, ch := range b {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		u[i] = ch
	}
	return u
}
