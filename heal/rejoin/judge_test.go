package rejoin_test

import (
	"healkv/bench/check"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// checkHas: a live node that runs has, for every key, nothing older than what
// was ever answered to a client, be it read or written (I3); with durable, in
// flushed records what the model's row calls durable then (I4, I5).
func (w *world) checkHas(n *node, durable bool) {
	g := w.o.model.Gates()
	var flushed []uint64
	if durable && (g.Answer == proto.Durable || g.Read == proto.Durable) {
		flushed = make([]uint64, w.o.keys)
		err := n.d.log.Scan(0, n.d.log.Flushed(), func(_ uint64, h *record.Header, img []byte) bool {
			if h.Kind != record.Marker {
				k := keyNumber(record.Key(img))
				flushed[k] = max(flushed[k], h.TS)
			}
			return true
		})
		if err != nil {
			w.fail("node %d: %v", n.id, err)
		}
	}
	for k := range w.answeredTS {
		a := &w.answeredTS[k]
		name := keyName(k)
		_, ts, _ := n.reader.Get(n.d.st.Hash(name), name, nil)
		if ts == 0 {
			ts = w.dropped[k]
		}
		if flushed != nil && flushed[k] == 0 {
			flushed[k] = w.dropped[k]
		}
		if ts < max(a.written, a.read) {
			w.fail("node %d is live and has key %d with TS %v; answered were a write with %v and a read with %v (I3)", n.id, k, proto.TS(ts),
				proto.TS(a.written), proto.TS(a.read))
		}
		if flushed == nil {
			continue
		}
		if g.Answer == proto.Durable && flushed[k] < a.written || g.Read == proto.Durable && flushed[k] < a.read {
			w.fail("node %d is live and has flushed key %d only with TS %v; answered were a write with %v and a read with %v (I4, I5)", n.id, k,
				proto.TS(flushed[k]), proto.TS(a.written), proto.TS(a.read))
		}
	}
	w.count("live nodes checked")
}

// checkLive looks at a node if the register has it live.
func (w *world) checkLive(n *node, durable bool) {
	if n.rep != nil && w.running(n.self) == n && w.reg.Has(n.self) && w.reg.Live.Has(n.id) && n.installed.Epoch != 0 {
		w.checkHas(n, durable)
	}
}

func keyNumber(key []byte) int { return int(key[4]-'0')*100 + int(key[5]-'0')*10 + int(key[6]-'0') }

// answered is the newest TS of a key that clients were given.
type answered struct{ written, read uint64 }

// lossyCold notes a cold start of nodes that all lost power: what a model does
// not promise may be gone.
func (w *world) lossyCold(e proto.Epoch) {
	w.count("cold starts after power losses of all")
	w.clock++
	w.lossyAt = w.clock
	g := w.o.model.Gates()
	for k := range w.answeredTS {
		a := &w.answeredTS[k]
		if g.Answer != proto.Durable {
			a.written = 0
		}
		if g.Read != proto.Durable {
			a.read = 0
		}
	}
	w.event(evFault, 0, 99, uint64(e))
}

// judge looks at what is left after the calm.
func (w *world) judge() {
	for _, n := range w.nodes {
		for k := range w.o.keys {
			w.start(n, &op{kind: opGet, key: k})
		}
	}
	for round := 0; ; round++ {
		left := 0
		for _, n := range w.nodes {
			n.turn()
			left += len(n.queue) + n.held
		}
		if left == 0 {
			break
		}
		if round > 1000 {
			w.fail("the final reads do not end")
		}
	}
	w.same()
	if st := w.net.Stats(); st.EarlyReclaims != 0 {
		w.fail("%d times ring space was reused that a peer still needed", st.EarlyReclaims)
	}
	if w.damaged == 0 && w.counters.BadEntries > 0 {
		w.fail("%d bad entries without damage", w.counters.BadEntries)
	}
	w.acknowledged()
	w.linearizable()
}

// same: all nodes hold the same records, all readable.
func (w *world) same() {
	type is struct {
		ts    proto.TS
		value uint64
	}
	var first []is
	for i, n := range w.nodes {
		has := make([]is, w.o.keys)
		for k := range has {
			if ts := proto.TS(w.dropped[k]); ts != 0 {
				has[k] = is{ts: ts, value: w.stamped(k, ts)}
			}
		}
		keys := 0
		err := n.d.st.ForEach(n.reader, func(pos uint64, locked bool, img []byte) bool {
			k := keyNumber(record.Key(img))
			if locked {
				w.fail("node %d: key %d is locked at the end", n.id, k)
			}
			x := is{ts: proto.TS(record.TS(img)), value: w.stamped(k, proto.TS(record.TS(img)))}
			if record.KindOf(img) == record.Put && w.valueID(k, record.Value(img)) != x.value {
				w.fail("node %d: key %d, TS %v has another write's value (I2)", n.id, k, x.ts)
			}
			has[k] = x
			keys++
			return true
		})
		if err != nil {
			w.fail("node %d: %v", n.id, err)
		}
		if i == 0 {
			first = has
		}
		for k := range has {
			if has[k] != first[k] {
				w.fail("key %d: node %d has TS %v, node 0 has %v", k, n.id, has[k].ts, first[k].ts)
			}
		}
	}
}

// acknowledged: what was answered as done is there, as far as the model
// promises it.
func (w *world) acknowledged() {
	d := w.nodes[0].d
	at := func(key int) uint64 {
		_, ts, _ := w.nodes[0].reader.Get(d.st.Hash(keyName(key)), keyName(key), nil)
		if ts == 0 {
			ts = w.dropped[key]
		}
		return ts
	}
	if w.lossyAt == 0 || w.o.model.Gates().Answer == proto.Durable {
		r := check.Acks(w.acked, func(id uint64) uint64 { return at(int(id)) })
		if !r.OK() {
			w.fail("acknowledged writes are lost: %v", r.Losses)
		}
		w.add("acknowledged keys compared", int(r.Compared))
	}
	for _, x := range w.persisted {
		if uint64(x.ts) > at(x.key) {
			w.fail("key %d: TS %v was persisted with its scope, the nodes have %v", x.key, x.ts, proto.TS(at(x.key)))
		}
	}
}

// linearizable checks the whole history, less what the model gives up when all
// live members lose power at once: of an answered write that was not durable
// it is unknown whether it happened, of a read of what was not durable nothing
// is promised.
func (w *world) linearizable() {
	g := w.o.model.Gates()
	for i := range w.hist {
		o := &w.hist[i]
		if w.lossyAt == 0 || o.Outcome != check.Done || o.Return > w.lossyAt {
			continue
		}
		if o.Kind == check.Write && g.Answer != proto.Durable || o.Kind == check.Read && g.Read != proto.Durable {
			o.Outcome = check.Pending
		}
	}
	r := check.Registers(w.hist)
	w.add("operations compared", r.Compared())
	w.add("operations", r.Ops)
	if !r.OK() {
		w.fail("not linearizable: %v", r.Violations[0])
	}
}
