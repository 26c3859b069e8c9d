package rejoin_test

import (
	"encoding/binary"
	"fmt"

	"healkv/bench/check"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

type opKind uint8

const (
	opGet opKind = iota
	opPut
	opDelete
	opPersist
)

// op is one client operation; its place in the history is hist[at].
type op struct {
	kind   opKind
	key    int
	value  uint64 // unique; of a delete: what a read of its tombstone is taken to return
	bytes  int
	scope  uint32
	at     int
	name   []byte
	hash   uint64
	writes []wrote // of a PERSIST: the scope's answered writes when it was asked for
	gen    int     // direct reads: the lease under which the value was read
	ts     proto.TS
	result uint64
}

// wrote is an answered write.
type wrote struct {
	key int
	ts  proto.TS
}

type stamp struct {
	key int
	ts  proto.TS
}

func keyName(k int) []byte { return fmt.Appendf(nil, "key-%03d", k) }

// valueBytes is recognisable from its id.
func valueBytes(id uint64, n int) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, n+8), id)
	for x := id; len(b) < n; x = x*6364136223846793005 + 1442695040888963407 {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:n]
}

func (w *world) valueID(key int, v []byte) uint64 {
	if len(v) < 8 {
		w.fail("key %d: value of %d bytes", key, len(v))
	}
	id := binary.LittleEndian.Uint64(v)
	if string(valueBytes(id, len(v))) != string(v) {
		w.fail("key %d: the value of write %d is damaged", key, id)
	}
	return id
}

// submit gives a node one random operation.
func (w *world) submit(n *node) {
	if len(n.queue) >= 16 {
		return
	}
	o := &op{key: w.rng.IntN(w.o.keys)}
	if w.rng.IntN(2) == 0 {
		o.key = w.rng.IntN(3)
	}
	switch r := w.rng.IntN(100); {
	case r < w.o.reads:
		o.kind = opGet
	case r < w.o.reads+8:
		o.kind = opDelete
	case r < w.o.reads+14 && w.o.model == proto.Scope:
		o.kind, o.key, o.scope = opPersist, 0, 1+uint32(w.rng.IntN(2))
	default:
		o.kind, o.bytes = opPut, 8+w.o.valueMin+w.rng.IntN(w.o.valueMax-w.o.valueMin)
	}
	w.start(n, o)
}

func (w *world) start(n *node, o *op) {
	o.name = keyName(o.key)
	o.hash = n.d.st.Hash(o.name)
	o.at = len(w.hist)
	w.clock++
	h := check.Op{Kind: check.Read, Key: uint32(o.key), Client: uint32(n.id), Invoke: w.clock}
	switch o.kind {
	case opPut, opDelete:
		w.values++
		o.value = w.values
		h.Kind, h.Value = check.Write, o.value
		if w.o.model == proto.Scope && w.rng.IntN(2) == 0 {
			o.scope = 1 + uint32(w.rng.IntN(2))
		}
	case opPersist:
		h.Kind, h.Outcome = check.Read, check.Rejected // no part of any register's history
		o.writes = append(o.writes, w.scoped[n.id][o.scope]...)
	}
	w.hist = append(w.hist, h)
	n.queue = append(n.queue, o)
}

// clients starts what is queued, as Worker.clients: in order, and what finds
// no space stays at the head.
func (n *node) clients(leased bool) {
	w := n.w
	for len(n.queue) > 0 {
		h := 0
		for h < handlesMax && n.ops[h] != nil {
			h++
		}
		if h == handlesMax {
			return
		}
		o := n.queue[0]
		if !n.startOp(o, leased, replica.Handle(h)) {
			return
		}
		n.queue = n.queue[1:]
		w.event(evStart, n.id, uint64(o.kind), uint64(o.at))
	}
}

// startOp is Worker.start; false: it waits for space.
func (n *node) startOp(o *op, leased bool, h replica.Handle) bool {
	w := n.w
	var a replica.Admission
	var ts proto.TS
	switch o.kind {
	case opGet:
		pos, ts, state := n.rep.Read(o.hash, o.name, leased, h)
		switch state {
		case replica.ReadNow:
			n.endRead(o, n.value(o, pos, ts), ts)
		case replica.ReadMissing:
			n.endRead(o, w.nothing(o.key), proto.TS(w.dropped[o.key]))
		case replica.ReadWaits:
			n.hold(o, h)
		default:
			w.rejected(o)
		}
		return true
	case opPersist:
		a = n.rep.Persist(o.scope, leased, h)
	case opPut:
		a, ts, _ = n.rep.Write(record.Put, o.hash, o.name, valueBytes(o.value, o.bytes), o.scope, leased, h)
	case opDelete:
		a, ts, _ = n.rep.Write(record.Delete, o.hash, o.name, nil, o.scope, leased, h)
	}
	switch a {
	case replica.Taken:
		if o.kind != opPersist {
			k := stamp{o.key, ts}
			if was, ok := w.written[k]; ok {
				w.fail("key %d: TS %v is minted twice, for writes %d and %d", o.key, ts, was, o.value)
			}
			w.written[k] = o.value
		}
		n.noRoom = 0
		n.hold(o, h)
	case replica.RingFull:
		return false
	case replica.NoRoom:
		if n.noRoom++; n.noRoom < 20 {
			return false
		}
		n.noRoom = 0
		w.rejected(o)
	default:
		w.rejected(o)
	}
	return true
}

func (n *node) hold(o *op, h replica.Handle) {
	n.ops[h] = o
	n.held++
}

// value is what the record at pos stands for.
func (n *node) value(o *op, pos uint64, ts proto.TS) uint64 {
	w := n.w
	img := n.d.st.Record(pos)
	if string(record.Key(img)) != string(o.name) || proto.TS(record.TS(img)) != ts {
		w.fail("node %d: the record at %d is of key %q, TS %v; read: %q, %v", n.id, pos, record.Key(img), proto.TS(record.TS(img)), o.name, ts)
	}
	if record.KindOf(img) == record.Delete {
		return w.stamped(o.key, ts)
	}
	id := w.valueID(o.key, record.Value(img))
	if id != w.stamped(o.key, ts) {
		w.fail("node %d: key %d, TS %v has the value of write %d, it was written by %d (I2)", n.id, o.key, ts, id, w.stamped(o.key, ts))
	}
	return id
}

func (w *world) stamped(key int, ts proto.TS) uint64 {
	id, ok := w.written[stamp{key, ts}]
	if !ok {
		w.fail("key %d: nobody wrote TS %v", key, ts)
	}
	return id
}

// nothing is what the history has where a key is not known: its beginning, or
// the write of a tombstone that was dropped.
func (w *world) nothing(key int) uint64 {
	if ts := w.dropped[key]; ts != 0 {
		return w.stamped(key, proto.TS(ts))
	}
	return check.Initial
}

// answer takes the replica's completions; the lease is looked at after the
// reads have their values.
func (n *node) answer() {
	w := n.w
	for _, c := range n.rep.Done() {
		if c.Handle >= handlesMax || n.ops[c.Handle] == nil {
			w.fail("node %d: completion of handle %d, which nobody holds", n.id, c.Handle)
		}
		o := n.ops[c.Handle]
		n.ops[c.Handle] = nil
		n.held--
		switch o.kind {
		case opGet:
			n.endRead(o, n.value(o, c.Pos, c.TS), c.TS)
		case opPersist:
			w.persisted = append(w.persisted, o.writes...)
			w.count("scopes persisted")
		default:
			n.done(o, c.TS)
		}
	}
}

func (n *node) endRead(o *op, value uint64, ts proto.TS) {
	if !n.leased {
		n.w.count("reads stopped by the lease check")
		n.w.rejected(o)
		return
	}
	n.w.sawTS(o.key, ts)
	n.w.returned(o, value)
}

func (w *world) sawTS(key int, ts proto.TS) {
	a := &w.answeredTS[key]
	a.read = max(a.read, uint64(ts))
}

func (n *node) done(o *op, ts proto.TS) {
	w := n.w
	w.returned(o, o.value)
	for len(w.acked) <= o.key {
		w.acked = append(w.acked, 0)
	}
	w.acked[o.key] = max(w.acked[o.key], uint64(ts))
	a := &w.answeredTS[o.key]
	a.written = max(a.written, uint64(ts))
	if o.scope != 0 {
		w.scoped[n.id][o.scope] = append(w.scoped[n.id][o.scope], wrote{o.key, ts})
	}
}

func (w *world) returned(o *op, value uint64) {
	w.clock++
	h := &w.hist[o.at]
	h.Outcome, h.Return, h.Value = check.Done, w.clock, value
	w.event(evDone, 0, uint64(o.at), value)
}

func (w *world) rejected(o *op) {
	w.hist[o.at].Outcome = check.Rejected
	w.count("operations rejected")
	w.event(evRejected, 0, uint64(o.at), 0)
}

// unanswered leaves a write that has reached the log as unknown.
func (w *world) unanswered(o *op) {
	if o.kind == opPut || o.kind == opDelete {
		w.count("operations unknown")
	}
	w.event(evUnknown, 0, uint64(o.at), 0)
}

// readDirect is a session's read without the worker, in two halves: the value,
// and later the check of the lease (H12).
func (w *world) readDirect(n *node) {
	if !n.serving || !n.leased || n.rep == nil {
		return
	}
	k := w.rng.IntN(w.o.keys)
	if w.rng.IntN(2) == 0 {
		k = w.rng.IntN(3)
	}
	o := &op{kind: opGet, key: k}
	w.start(n, o)
	n.queue = n.queue[:len(n.queue)-1]
	value, ts, state := n.reader.Get(o.hash, o.name, nil)
	switch state {
	case store.Found:
		if o.result = w.valueID(k, value); o.result != w.stamped(k, proto.TS(ts)) {
			w.fail("node %d: key %d, TS %d has the value of write %d (I2)", n.id, k, ts, o.result)
		}
	case store.Deleted:
		o.result = w.stamped(k, proto.TS(ts))
	case store.Missing:
		o.result = w.nothing(k)
	case store.Locked:
		n.queue = append(n.queue, o)
		return
	default:
		w.fail("node %d: direct read: %v", n.id, state)
	}
	o.gen, o.ts = n.leaseGen, proto.TS(ts)
	w.direct = append(w.direct, directRead{n.id, n.self, o})
	w.count("direct reads")
}

type directRead struct {
	n    proto.NodeID
	self proto.Member
	o    *op
}

// endDirect is the second half of the oldest direct read.
func (w *world) endDirect() {
	if len(w.direct) == 0 || !w.calm && len(w.direct) < 12 && w.rng.IntN(8) != 0 { // a thread can stand still here
		return
	}
	d := w.direct[0]
	w.direct = w.direct[1:]
	n := w.running(d.self)
	if n == nil || !n.serving || !n.leased || n.leaseGen != d.o.gen {
		w.count("reads stopped by the lease check")
		w.rejected(d.o)
		return
	}
	w.sawTS(d.o.key, d.o.ts)
	w.returned(d.o, d.o.result)
}

// expire answers one operation under way by its deadline: a read is taken
// back; a write is unknown, its slot stays taken until it is through.
func (w *world) expire(n *node) {
	if n.rep == nil {
		return
	}
	h := w.rng.IntN(handlesMax)
	o := n.ops[h]
	if o == nil || o.kind != opGet {
		return
	}
	if !n.rep.Cancel(o.hash, replica.Handle(h)) {
		w.fail("node %d: a waiting read cannot be taken back", n.id)
	}
	n.ops[h] = nil
	n.held--
	w.count("reads taken back")
	w.rejected(o)
}
