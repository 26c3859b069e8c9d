package resp

import (
	"fmt"
	"strconv"

	"healkv/dataplane"
	"healkv/dataplane/plant"
)

// arg is argument i of the command being executed. The slice is good as long as
// nothing is read: taking in input may move the buffer.
func (c *conn) arg(i int) []byte {
	ws := c.ws
	a := ws.p.args[i]
	from := ws.r + int(a.off)
	return ws.in[from : from+int(a.n)]
}

func (c *conn) args() int { return len(c.ws.p.args) }

// perform runs the command that was parsed: submits its ops, or answers at once.
// False: it has to wait, for the replies before it or for room, and perform is
// to be called again; what was done is not done twice.
func (c *conn) perform() bool {
	id := lookup(c.arg(0))
	if !c.authed && id != cmdAuth && id != cmdHello && id != cmdQuit && id != cmdReset {
		if id == cmdNone && crossProtocol(c.arg(0)) {
			c.stop = true
			return true
		}
		return c.failed("NOAUTH", "Authentication required.")
	}
	if id == cmdNone {
		return c.unknownCommand()
	}
	if a := commands[id].arity; c.args() != a && (a > 0 || c.args() < -a) {
		return c.failed("ERR", "wrong number of arguments for '"+commands[id].name+"' command")
	}
	switch id {
	case cmdGet:
		return c.readOne(replyGet)
	case cmdSet:
		return c.set()
	case cmdStrlen:
		return c.readOne(replyStrlen)
	case cmdDel, cmdUnlink:
		return c.several(replyDel, dataplane.OpDelete, 1)
	case cmdExists:
		return c.several(replyExists, dataplane.OpGet, 1)
	case cmdMGet:
		return c.several(replyMGet, dataplane.OpGet, 1)
	case cmdMSet:
		if c.args()%2 == 0 {
			return c.failed("ERR", "wrong number of arguments for 'mset' command")
		}
		return c.several(replyMSet, dataplane.OpPut, 2)
	case cmdPing:
		if c.args() == 1 {
			return c.literal(litPong)
		}
		return c.ping()
	case cmdHealScope:
		return c.healScope()
	case cmdHealPersist:
		return c.healPersist()
	}
	return c.admin(id)
}

// literal answers with a fixed reply when its turn comes.
func (c *conn) literal(l literal) bool {
	if c.ws.queued() == 0 {
		c.ws.out = append(c.ws.out, literals[l]...)
		c.sendIfLong()
		return true
	}
	if c.crowd() {
		return false
	}
	c.ws.push(replyLiteral, 0).lit = l
	return true
}

// failed answers with an error. Errors are rare, so they wait for what is under
// way instead of taking a place in the queue with their text.
func (c *conn) failed(code, text string) bool {
	if c.ws.queued() > 0 {
		return false
	}
	c.ws.out = appendError(c.ws.out, code, text)
	c.sendIfLong()
	return true
}

// crowd reports whether so much of the connection is under way that the next
// command has to wait.
func (c *conn) crowd() bool {
	return c.ws.queued() >= c.srv.cfg.PipelineMax || c.held > heldBytesMax && c.inFlight > 0
}

// submit hands an op over. False: there is no room, and o is free again.
func (c *conn) submit(o *cmdOp) bool {
	if c.crowded = !c.l.submit(o); c.crowded {
		c.l.ops.release(o)
		return false
	}
	return true
}

func keyFits(k []byte) bool {
	return len(k) >= dataplane.KeyBytesMin && len(k) <= dataplane.KeyBytesMax
}

func (c *conn) badKey(n int) bool {
	return c.failed("ERR", fmt.Sprintf("key of %d bytes, must be %d to %d", n, dataplane.KeyBytesMin, dataplane.KeyBytesMax))
}

// readOne answers from the store if it can, and at once if nothing is to be
// answered before it.
func (c *conn) readOne(kind replyKind) bool {
	key := c.arg(1)
	if !keyFits(key) {
		return c.badKey(len(key))
	}
	l, ws := c.l, c.ws
	if (ws.queued() == 0 || plant.Is(plant.RespAhead)) && kind == replyGet {
		value, done, err := l.open().GetNow(key, l.scratch[:0])
		if done {
			c.value(value, err)
			c.sendIfLong()
			l.keepScratch(value)
			return true
		}
	}
	if c.crowd() {
		return false
	}
	o := l.ops.take(c, dataplane.OpGet, ws.tail)
	r := ws.push(kind, 1)
	if !c.readNow(o, key) {
		l.ops.load(o, key, nil)
		if !c.submit(o) {
			ws.tail-- // not queued after all
			return false
		}
	}
	r.chain(o)
	return true
}

// readNow answers o, which was not loaded, from the store if that can be done
// without the worker.
func (c *conn) readNow(o *cmdOp, key []byte) bool {
	value, done, err := c.l.open().GetNow(key, o.val[:0])
	if done {
		o.op.Value = value
		c.book(o, err)
	}
	return done
}

func (c *conn) set() bool {
	key := c.arg(1)
	if !keyFits(key) {
		return c.badKey(len(key))
	}
	if c.args() > 3 {
		return c.failed("ERR", "SET option '"+printable(upper(c.arg(3)))+"' is not supported: values do not expire and writes are not conditional")
	}
	if c.crowd() {
		return false
	}
	l, ws := c.l, c.ws
	o := l.ops.take(c, dataplane.OpPut, ws.tail)
	o.op.Scope = c.scope
	l.ops.load(o, key, c.arg(2))
	ws.push(replySet, 1)
	if !c.submit(o) {
		ws.tail--
		return false
	}
	return true
}

// several submits one op per key; arguments come in groups of width, key
// first. Keys are checked before the first op, so that a bad one has no effect.
// c.group counts what has its reply's place and is submitted: room is waited for
// between any two.
func (c *conn) several(kind replyKind, op dataplane.OpKind, width int) bool {
	l, ws := c.l, c.ws
	keys := (c.args() - 1) / width
	if c.group == 0 {
		for i := range keys {
			if k := c.arg(1 + i*width); !keyFits(k) {
				return c.badKey(len(k))
			}
		}
		if c.crowd() {
			return false
		}
		ws.push(kind, keys)
		c.group = 1
	}
	// It is the newest reply until all its ops are submitted.
	r := ws.slot(ws.tail - 1)
	for ; c.group <= keys; c.group++ {
		i := c.group - 1
		if c.held > heldBytesMax && c.inFlight > 0 {
			return false
		}
		o := l.ops.take(c, op, ws.tail-1)
		key := c.arg(1 + i*width)
		var value []byte
		switch op {
		case dataplane.OpGet:
			if c.readNow(o, key) {
				break
			}
			l.ops.load(o, key, nil)
			if !c.submit(o) {
				return false
			}
		default:
			if op == dataplane.OpPut {
				value = c.arg(2 + i*width)
			}
			o.op.Scope = c.scope
			l.ops.load(o, key, value)
			if !c.submit(o) {
				return false
			}
		}
		if kind == replyMGet {
			r.chain(o)
		}
	}
	return true
}

func (c *conn) healScope() bool {
	id, err := strconv.ParseUint(string(c.arg(1)), 10, 32)
	if err != nil {
		return c.failed("ERR", "scope id '"+printable(c.arg(1))+"' is not a number in 0..4294967295; 0 ends the scope")
	}
	c.scope = uint32(id)
	return c.literal(litOK)
}

// healPersist waits for the commands before it: what it promises about the
// scope's writes has to include them.
func (c *conn) healPersist() bool {
	id := c.scope
	switch {
	case c.args() > 2:
		return c.failed("ERR", "wrong number of arguments for 'heal.persist' command")
	case c.args() == 2:
		n, err := strconv.ParseUint(string(c.arg(1)), 10, 32)
		if err != nil || n == 0 {
			return c.failed("ERR", "scope id '"+printable(c.arg(1))+"' is not a number in 1..4294967295")
		}
		id = uint32(n)
	case id == 0:
		return c.failed("ERR", "no scope is set on this connection: name one, or begin one with HEAL.SCOPE")
	}
	ws := c.ws
	if ws.queued() > 0 {
		return false
	}
	o := c.l.ops.take(c, dataplane.OpPersist, ws.tail)
	ws.push(replyPersist, 1)
	o.op.Scope = id
	if !c.submit(o) {
		ws.tail--
		return false
	}
	return true
}

// book notes the outcome of an op with its reply.
func (c *conn) book(o *cmdOp, err error) {
	ws, pool := c.ws, &c.l.ops
	r := ws.slot(o.slot)
	r.pending--
	switch {
	case err == nil:
		r.ok++
	case err == dataplane.ErrNotFound:
		r.ok++
	default:
		if r.err == nil {
			r.err = err
		}
		if !notApplied(err) {
			r.unsafe = true
		}
	}
	if o.op.Kind == dataplane.OpGet {
		pool.keepValue(o, o.op.Value) // it may have been grown
	}
	switch r.kind {
	case replyGet, replyStrlen, replyMGet:
		if err == nil {
			r.bytes += len(o.val)
			if r.kind == replyMGet && r.bytes > c.srv.cfg.ReplyBytesMax {
				o.val = o.val[:0] // the reply is an error already: do not pile up values
				pool.trim(o)
			} else {
				o.hold(len(o.val))
			}
		}
		o.op.Err = err
		return // stays in the reply's chain
	case replyDel:
		if err == nil && o.op.Existed {
			r.count++
		}
	case replyExists:
		if err == nil {
			r.count++
		}
	}
	pool.release(o)
}

// write appends the reply of a command whose ops are all done; false if the
// socket is full before all of it was appended.
func (c *conn) write(r *reply) bool {
	ws := c.ws
	switch r.kind {
	case replyLiteral:
		ws.out = append(ws.out, literals[r.lit]...)
	case replyText:
		ws.out = append(ws.out, r.text...)
	case replyGet:
		c.value(r.first.val, r.first.op.Err)
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
			break
		}
		ws.out = append(ws.out, literals[litOK]...)
	case replyMSet:
		if r.err != nil {
			c.writeFailed(r, "MSET")
			break
		}
		ws.out = append(ws.out, literals[litOK]...)
	case replyDel:
		if r.err != nil {
			c.writeFailed(r, "DEL")
			break
		}
		ws.out = appendInt(ws.out, int64(r.count))
	case replyExists:
		if r.err != nil {
			ws.out = appendOpError(ws.out, r.err)
			break
		}
		ws.out = appendInt(ws.out, int64(r.count))
	case replyMGet:
		switch {
		case r.begun:
		case r.err != nil:
			// One error for all: clients do not expect errors among values.
			ws.out = appendOpError(ws.out, r.err)
			return true
		case r.bytes > c.srv.cfg.ReplyBytesMax:
			ws.out = appendError(ws.out, "ERR", fmt.Sprintf("the values together are longer than the limit of %d bytes; ask for fewer keys", c.srv.cfg.ReplyBytesMax))
			return true
		default:
			ws.out = appendArray(ws.out, int(r.total))
			r.begun = true
		}
		for r.first != nil {
			if c.blocked {
				return false
			}
			o := r.unchain()
			c.value(o.val, o.op.Err)
			c.l.ops.release(o)
			c.sendIfLong()
		}
	}
	return true
}

// value appends what a get found.
func (c *conn) value(v []byte, err error) {
	ws := c.ws
	switch err {
	case nil:
		if len(v) < directBytes {
			ws.out = appendBulk(ws.out, v)
			return
		}
		ws.out = appendHead(ws.out, '$', len(v))
		c.send(v)
		ws.out = append(ws.out, '\r', '\n')
	case dataplane.ErrNotFound:
		ws.out = appendNull(ws.out, c.proto)
	default:
		ws.out = appendOpError(ws.out, err)
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
func (c *conn) refuseOver(over overLimit, size int) bool {
	if !c.authed {
		return c.failed("NOAUTH", "Authentication required.")
	}
	switch over {
	case overArgs:
		return c.failed("ERR", fmt.Sprintf("command of %d arguments, at most %d", size, argsMax))
	case overBulk:
		return c.failed("ERR", fmt.Sprintf("value or argument of %d bytes, at most %d", size, bulkBytesMax))
	}
	return c.failed("ERR", fmt.Sprintf("command longer than the limit of %d bytes; send fewer keys at a time", c.srv.cfg.QueryBytesMax))
}

// unknownCommand answers like Redis does, for the sake of clients that look at
// the words.
func (c *conn) unknownCommand() bool {
	if crossProtocol(c.arg(0)) {
		c.srv.stats.protocolErrors.Add(1)
		c.srv.log.Warn("resp: closed: an HTTP request on the Redis port", "client", c.where(c.remote))
		c.stop = true
		return true
	}
	if c.ws.queued() > 0 {
		return false
	}
	text := "unknown command '" + printable(c.arg(0)[:min(128, len(c.arg(0)))]) + "', with args beginning with: "
	for i := 1; i < c.args() && len(text) < 256; i++ {
		a := c.arg(i)
		text += "'" + printable(a[:min(64, len(a))]) + "' "
	}
	return c.failed("ERR", text)
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
