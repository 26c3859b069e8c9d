package simulation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/bench/check"
	"healkv/dataplane"
	"healkv/dataplane/proto"
)

const keysMax = 200

var keyNames = func() (names [keysMax][]byte) {
	for i := range names {
		names[i] = fmt.Appendf(nil, "key-%03d", i)
	}
	return names
}()

var keyHashes = func() (h [keysMax]uint64) {
	for i := range h {
		h[i] = xxh3.HashSeed(keyNames[i], hashSeed)
	}
	return h
}()

func keyNumber(key []byte) (int, bool) {
	if len(key) != 7 || string(key[:4]) != "key-" {
		return 0, false
	}
	return int(key[4]-'0')*100 + int(key[5]-'0')*10 + int(key[6]-'0'), true
}

// client is one session of a process.
type client struct {
	p    *process
	s    *dataplane.Session
	busy bool // its thread stands still inside Submit
	late *op  // what it submitted when its thread stood still: others were answered some time ago
	lags bool // its thread stood still inside Poll: only what is fresh was answered after that
	out  []*op
}

// op is one operation under way.
type op struct {
	dataplane.Op
	c      *client
	key    int
	id     uint64 // of the value; of a delete: what a read of its tombstone is taken to return
	at     int    // in the history
	scope  scopeOf
	writes []wrote // of a PERSIST: the scope's answered writes when it was asked for
	self   proto.Member
	index  int  // in out
	fresh  bool // a get that the session has collected and not looked up yet
}

// stamp names a write.
type stamp struct {
	key int
	ts  proto.TS
}

// wrote is an answered write.
type wrote struct {
	key int
	ts  proto.TS
	at  int
}

// scopeOf names a scope of one life.
type scopeOf struct {
	life  proto.Member
	scope uint32
}

// seen is what a read was given.
type seen struct {
	at  int
	key int
	ts  proto.TS
	id  uint64 // 0: not found
}

func newClient(p *process, i int) *client {
	return &client{p: p, s: p.host.NewSession()}
}

// value is recognisable from its id.
func value(id uint64, n int) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, n+8), id)
	for x := id; len(b) < n; x = x*6364136223846793005 + 1442695040888963407 {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:n]
}

// intact checks what a read returned and gives the value's id.
func (w *world) intact(key int, v []byte) uint64 {
	if len(v) < 8 {
		w.fail("value damaged", "key %d: value of %d bytes", key, len(v))
	}
	id := binary.LittleEndian.Uint64(v)
	x := id
	for at := 8; at < len(v); at += 8 {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], x)
		if string(v[at:min(at+8, len(v))]) != string(b[:min(8, len(v)-at)]) {
			w.fail("value damaged", "key %d: the value of write %d is damaged at byte %d of %d", key, id, at, len(v))
		}
		x = x*6364136223846793005 + 1442695040888963407
	}
	return id
}

// lostClient unwinds a client whose process died while its thread stood still.
type lostClient struct{}

// submit hands one operation of the script to its client.
func (w *world) submit(e *Entry) {
	w.ask(e, 0)
}

// ask gives an operation to its node, mostly to another one if that does not
// serve, or later if none does, as clients do.
func (w *world) ask(e *Entry, tries int) {
	m := w.nodes[e.Node]
	if !w.serves(m) && w.rng.IntN(25) != 0 {
		first := w.rng.IntN(len(w.nodes))
		for i := range w.nodes {
			if m = w.nodes[(first+i)%len(w.nodes)]; w.serves(m) {
				break
			}
		}
		if !w.serves(m) {
			if tries == 20 {
				w.count("operations for nobody")
				return
			}
			w.sim.At(time.Duration(w.rng.Int64N(int64(w.o.Lease))), func() { w.ask(e, tries+1) })
			return
		}
	}
	if !m.up || m.p.Paused() {
		w.count("operations for nobody")
		return
	}
	p := m.p
	c := p.clients[e.Other%len(p.clients)]
	if c.busy || c.s.Outstanding() > 100 {
		return
	}
	o := &op{c: c}
	o.Scope, o.Deadline = uint32(e.B>>32), p.Now()+e.C*1000
	switch e.Do {
	case doGet:
		o.Kind = dataplane.OpGet
	case doPut, doDelete:
		w.ids++
		o.id = w.ids
		o.Kind = dataplane.OpDelete
		if e.Do == doPut {
			o.Kind, o.Value = dataplane.OpPut, value(o.id, max(8, int(uint32(e.B))))
		}
	case doPersist:
		o.Kind = dataplane.OpPersist
	}
	if !c.begin(o, int(e.A)%w.o.Keys) {
		return
	}
	if o.Kind != dataplane.OpGet {
		c.poll(true)
		return
	}
	// Some clients submit many gets before they look for answers, and some look
	// later: the session collects them.
	if w.rng.IntN(6) == 0 {
		for range 1 + w.rng.IntN(8) {
			m := &op{c: c}
			m.Kind, m.Deadline = dataplane.OpGet, o.Deadline
			if !c.begin(m, w.rng.IntN(w.o.Keys)) {
				return
			}
		}
		w.count("bursts of gets")
	}
	if w.rng.IntN(3) != 0 {
		c.poll(true)
		return
	}
	w.count("gets looked for later")
	w.sim.At(time.Duration(w.rng.Int64N(50_000)), c.pollLater)
}

// begin hands an operation on the key to the session. False: the process died
// meanwhile.
func (c *client) begin(o *op, key int) bool {
	w, p := c.p.w, c.p
	o.key, o.at, o.Key = key, len(w.hist), keyNames[key]
	if p.life != nil {
		o.self = p.life.self
	}
	o.scope = scopeOf{o.self, o.Scope}
	w.clock++
	h := check.Op{Kind: check.Read, Key: uint32(key), Client: uint32(p.m.id), Invoke: w.clock}
	switch o.Kind {
	case dataplane.OpGet:
		// Beside an operation that the worker may have it may go there too.
		o.fresh = !slices.ContainsFunc(c.out, func(x *op) bool { return !x.fresh })
	case dataplane.OpPersist:
		h.Outcome = check.Rejected // no part of any register's history
		o.writes = append(o.writes, w.scopes[o.scope]...)
	default:
		h.Kind, h.Value = check.Write, o.id
	}
	if o.Kind != dataplane.OpGet {
		c.stale() // the session may look up what it has collected now
	}
	w.hist = append(w.hist, h)
	w.Result.Ops++
	w.note("op starts", p.m.id, uint64(o.Kind), uint64(o.at))
	o.index = len(c.out)
	c.out = append(c.out, o)
	still := w.stood
	if !c.hand(o) {
		return false
	}
	if w.stood != still {
		c.late = o
		c.stale()
		c.poll(true)
		c.late = nil
	}
	return !p.Dead()
}

func (c *client) stale() {
	for _, o := range c.out {
		o.fresh = false
	}
}

// pollLater ends the time in which a client's thread did something else.
func (c *client) pollLater() {
	w := c.p.w
	switch {
	case c.p.Dead() || w.ended || c.busy || len(c.out) == 0:
	case c.p.Paused():
		w.sim.At(w.o.Lease/20, c.pollLater)
	default:
		c.poll(true)
	}
}

func (w *world) serves(m *machine) bool {
	return m.up && !m.p.Paused() && m.p.life != nil && m.p.life.core.Serving()
}

// hand is Session.Submit. False: the process died in it.
func (c *client) hand(o *op) (ok bool) {
	w := c.p.w
	defer func() {
		w.inClient, c.busy = false, false
		if r := recover(); r != nil {
			if _, lost := r.(lostClient); !lost {
				panic(r)
			}
			ok = false
		}
	}()
	w.inClient, c.busy = true, true
	err := c.s.Submit(&o.Op)
	w.inClient, c.busy = false, false
	if err != nil {
		o.Err = err
		c.ended(o)
	}
	return true
}

// standStill lets a client's thread stand still between its value and the
// check of the lease.
func (w *world) standStill(p *process) {
	if w.calm || w.nested >= 2 || w.rounding != nil || w.rng.IntN(100) != 0 {
		return
	}
	w.nested++
	w.stood++
	kicking := w.kicking
	w.inClient, w.kicking = false, false
	w.count("reads that stood still")
	w.sim.Run(time.Duration(w.rng.Int64N(3 * int64(w.o.Lease))))
	w.nested--
	if p.Dead() {
		panic(lostClient{})
	}
	w.inClient, w.kicking = true, kicking // others have submitted meanwhile
}

// pollAll takes what has ended back.
func (p *process) pollAll() {
	for _, c := range p.clients {
		if !c.busy && len(c.out) > 0 {
			c.poll(false)
		}
	}
}

// poll takes what has ended back, and answers the gets that the session has
// collected. own: from an event of the client, so that its thread may stand still
// in it.
func (c *client) poll(own bool) {
	w := c.p.w
	var done [16]*dataplane.Op
	defer func() { c.lags = false }()
	still := w.stood
	for {
		n, ok := c.take(done[:], own)
		if !ok {
			return
		}
		c.lags = w.stood != still
		for _, d := range done[:n] {
			c.ended(c.find(d))
		}
		if n < len(done) {
			c.stale()
			return
		}
	}
}

// take is Session.Poll. False: the process died in it.
func (c *client) take(done []*dataplane.Op, own bool) (n int, ok bool) {
	w := c.p.w
	defer func() {
		w.inClient, w.kicking, c.busy = false, false, false
		if r := recover(); r != nil {
			if _, lost := r.(lostClient); !lost {
				panic(r)
			}
			ok = false
		}
	}()
	w.inClient, w.kicking, c.busy = own, true, true
	return c.s.Poll(done), true
}

func (c *client) find(d *dataplane.Op) *op {
	for _, o := range c.out {
		if &o.Op == d {
			return o
		}
	}
	c.p.w.fail("operation twice", "node %d: an operation came back that is not under way", c.p.m.id)
	return nil
}

func (c *client) drop(o *op) {
	last := len(c.out) - 1
	c.out[o.index] = c.out[last]
	c.out[o.index].index = o.index
	c.out[last] = nil
	c.out = c.out[:last]
}

// lost ends everything under way when the process dies.
func (c *client) lost() {
	for _, o := range c.out {
		c.p.w.stamped(o)
		if o.Kind == dataplane.OpPut || o.Kind == dataplane.OpDelete {
			c.p.w.count("operations lost with a process")
		}
	}
	c.out = nil
}

// stamped notes a write's timestamp once it has one.
func (w *world) stamped(o *op) {
	if o.TS == 0 || o.Kind != dataplane.OpPut && o.Kind != dataplane.OpDelete {
		return
	}
	k := stamp{o.key, o.TS}
	if was, ok := w.stamps[k]; ok && was != o.id {
		w.fail("timestamp twice", "key %d: TS %v is minted twice, for writes %d and %d", o.key, o.TS, was, o.id)
	}
	w.stamps[k] = o.id
}

// ended notes an operation's outcome.
func (c *client) ended(o *op) {
	w := c.p.w
	c.drop(o)
	w.stamped(o)
	h := &w.hist[o.at]
	w.clock++
	write := o.Kind == dataplane.OpPut || o.Kind == dataplane.OpDelete
	switch {
	case o.Err == nil && o.Kind == dataplane.OpGet:
		w.saw(c, o, w.intact(o.key, o.Value))
		return
	case errors.Is(o.Err, dataplane.ErrNotFound) && o.Kind == dataplane.OpGet:
		w.saw(c, o, 0)
		return
	case o.Err == nil && o.Kind == dataplane.OpPersist:
		w.persists = append(w.persists, o.writes...)
		for _, x := range o.writes {
			a := &w.answered[x.key]
			a.persisted = max(a.persisted, uint64(x.ts))
			w.kept = append(w.kept, check.Persisted{Key: uint32(x.key), Value: w.hist[x.at].Value, Return: w.clock})
		}
		w.count("scopes persisted")
	case o.Err == nil && write && o.TS == 0:
		h.Outcome = check.Rejected // delete of a key that was never written
	case o.Err == nil && write:
		h.Outcome, h.Return = check.Done, w.clock
		w.wroteAt(c.p.m.id)
		a := &w.answered[o.key]
		a.written = max(a.written, uint64(o.TS))
		if o.Scope != 0 {
			w.scopes[o.scope] = append(w.scopes[o.scope], wrote{o.key, o.TS, o.at})
		}
		w.note("op done", c.p.m.id, uint64(o.at), uint64(o.TS))
		w.tracer.answered(lineAnswered, c.p.m.id, o.key, o.TS)
		return
	case errors.Is(o.Err, dataplane.ErrUnknown):
		w.count("operations unknown")
		w.note("op unknown", c.p.m.id, uint64(o.at), 0)
		return
	case errors.Is(o.Err, dataplane.ErrTryAgain):
		w.count("operations rejected: try again")
	case errors.Is(o.Err, dataplane.ErrOverload):
		w.count("operations rejected: overload")
	case errors.Is(o.Err, dataplane.ErrNoRoom):
		w.count("operations rejected: no room")
	case errors.Is(o.Err, dataplane.ErrDamaged) && w.damages:
		w.count("operations refused: damaged")
	case errors.Is(o.Err, dataplane.ErrDeadline):
		w.count("operations rejected: deadline")
	default:
		w.fail("outcome", "node %d: operation %d ends with %v", c.p.m.id, o.at, o.Err)
	}
	if write && o.Err != nil {
		h.Outcome = check.Rejected
		if o.TS != 0 {
			w.fail("rejected but written", "node %d: operation %d ends with %v and has TS %v", c.p.m.id, o.at, o.Err, o.TS)
		}
	} else if h.Outcome == check.Pending {
		h.Outcome = check.Rejected
	}
	w.note("op rejected", c.p.m.id, uint64(o.at), 0)
}

// saw notes what a read was given.
func (w *world) saw(c *client, o *op, id uint64) {
	self := proto.Member{}
	if c.p.life != nil {
		self = c.p.life.self
	}
	// What comes back when the life has ended was answered before.
	if v := &w.newest; c.p.life != nil && (c.late == nil || c.late == o) && (!c.lags || o.fresh) && !(v.Has(self) && v.Live.Has(self.Node)) {
		w.fail("read without a lease", "node %d answers a read (operation %d of %d, late %v, nested %d, TS %v) in life %v; view %d is decided and has live %v", c.p.m.id, o.at, len(w.hist), c.late != nil, w.nested, o.TS, self, v.Epoch, v.Live)
	}
	h := &w.hist[o.at]
	h.Outcome, h.Return = check.Done, w.clock
	if o.TS == 0 && id == 0 {
		o.TS = proto.TS(w.dropped[o.key])
	}
	w.seen = append(w.seen, seen{o.at, o.key, o.TS, id})
	a := &w.answered[o.key]
	a.read = max(a.read, uint64(o.TS))
	w.note("op read", c.p.m.id, uint64(o.at), uint64(o.TS))
	w.tracer.answered(lineRead, c.p.m.id, o.key, o.TS)
}
