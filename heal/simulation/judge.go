package simulation

import (
	"cmp"
	"math"
	"slices"

	"healkv/bench/check"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// answered is the newest timestamp of a key that clients were given, and that
// was persisted with a scope.
type answered struct{ written, read, persisted uint64 }

// newest is the timestamp below which nobody may serve the key (I3); what was
// persisted with its scope is of it also when the rest is given up (I6).
func (a *answered) newest() uint64 { return max(a.written, a.read, a.persisted) }

// durable is what of it every live member must have flushed (I4, I5, I6).
func (a *answered) durable(g *proto.Gates) uint64 {
	ts := a.persisted
	if g.Answer == proto.Durable {
		ts = max(ts, a.written)
	}
	if g.Read == proto.Durable {
		ts = max(ts, a.read)
	}
	return ts
}

// sawView notes a view that somebody has learned to be decided.
func (w *world) sawView(p *process, v *proto.View) {
	x := *v
	x.Issued = [proto.NodesMax]proto.Incarnation{} // changes within an epoch
	for len(w.views) <= int(v.Epoch) {
		w.views = append(w.views, proto.View{})
	}
	if o := &w.views[v.Epoch]; o.Epoch == 0 {
		*o = x
		w.note("view decided", p.m.id, uint64(v.Epoch), uint64(v.Live)<<16|uint64(v.Shadow))
		for _, m := range w.nodes {
			// Who is promoted has everything, also if it died before it heard of it.
			if n := proto.NodeID(m.id); m.blank && v.Live.Has(n) && v.Incarnation[n] > m.blankSince {
				m.blank = false
			}
		}
	} else if *o != x {
		w.fail("two views", "epoch %d is %+v and %+v", v.Epoch, *o, x)
	}
	if v.Epoch <= w.newest.Epoch {
		return
	}
	if v.Epoch > w.newest.Epoch+1 && w.newest.Epoch != 0 {
		w.count("views that came before one that was never seen")
	}
	if v.Epoch == 1 && v.Live != v.Configured {
		w.count("first views with nodes missing")
	}
	w.newest = *v
	w.guarded &= v.Live
	w.tracer.sawView()
	if v.Cold {
		w.cold(v)
	}
	w.found()
	for _, m := range w.nodes {
		if !m.up || m.p.life == nil {
			continue
		}
		self := m.p.life.self
		if !(v.Has(self) && v.Live.Has(self.Node)) && m.p.life.core.Serving() {
			w.fail("two that serve", "view %d is decided with live %v; life %v is not in it and still serves with %v of its lease left", v.Epoch, v.Live, self, m.p.members.Lease().Until()-m.p.Now())
		}
	}
}

// cold notes a cold start. Of nodes that have all lost what was not flushed
// what the model does not promise may be gone.
func (w *world) cold(v *proto.View) {
	w.count("cold starts")
	if !w.forced(v) {
		return
	}
	for _, n := range v.Shadow.Nodes(nil) {
		if !w.nodes[n].lossy {
			return
		}
	}
	w.count("cold starts after power losses of all")
	w.histories() // as far as they go
	w.clock++
	w.lossyAt = w.clock
	w.losses = append(w.losses, check.PowerLoss{At: w.clock})
	g := w.o.Model.Gates()
	for k := range w.answered {
		a := &w.answered[k]
		if g.Answer != proto.Durable {
			a.written = a.persisted
		}
		if g.Read != proto.Durable {
			a.read = a.persisted
		}
	}
	w.note("lossy cold start", 0, uint64(v.Epoch), 0)
}

// checkNode: a node that may serve has for every key nothing older than what
// was ever answered to a client (I3) or persisted with its scope (I6).
func (w *world) checkNode(m *machine) {
	if !m.up || m.p.Dead() || m.p.life == nil || !m.p.life.entered || !w.running(m.id) || !m.p.life.core.Serving() {
		return
	}
	l := m.p.life
	var e store.Entry
	for k := range w.answered {
		a := &w.answered[k]
		ts := a.newest()
		if ts == 0 || w.unreadable(l.pools[w.shardOfKey(k)].Store(), k) {
			continue
		}
		w.find(l.pools, &e, k)
		if e.TS < ts {
			w.fail("older than answered", "node %d serves and has key %d with TS %v; answered were a write with %v and a read with %v, persisted was %v (I3, I6)", m.id, k, proto.TS(e.TS),
				proto.TS(a.written), proto.TS(a.read), proto.TS(a.persisted))
		}
	}
	w.count("live nodes checked")
}

// checkTurn looks at a worker after its turn.
func (d *driver) checkTurn() {
	r, st := d.w.Replica(), d.w.Pool().Store()
	if s := r.StablePos(); s < d.stable || s > st.Flushed() && s > d.stable {
		d.p.w.fail("stable position", "node %d, shard %d: stable position %d after %d, flushed %d (I8)", d.p.m.id, d.shard, s, d.stable, st.Flushed())
	} else {
		d.stable = s
	}
}

// crashing notes what a pool must have when it is opened again.
func (w *world) crashing(m *machine, power int) {
	l := m.p.life
	if l == nil || !l.entered {
		return
	}
	live := w.running(m.id)
	for i, d := range m.pools {
		p := l.pools[i]
		if power < 0 {
			d.want = w.holds(p, i, "a process crash")
			continue
		}
		if d.image == nil {
			d.want = nil
			continue
		}
		d.want = &wanted{why: "a power loss, flushed", least: flushedTS(p)}
		if !live {
			continue
		}
		g := w.o.Model.Gates()
		for k := range w.answered {
			if w.shardOfKey(k) != i {
				continue
			}
			if d.want.least[k] == 0 {
				d.want.least[k] = w.dropped[k]
			}
			if ts := w.answered[k].durable(g); ts > d.want.least[k] && !d.wasHit {
				w.fail("answered, not durable", "node %d is live and has flushed key %d only with TS %v; answered as durable was %v (I4, I5, I6)", m.id, k, proto.TS(d.want.least[k]), proto.TS(ts))
			}
		}
	}
}

// closing is crashing for the end of a life in order.
func (w *world) closing(m *machine, l *life) {
	if l.failed != nil {
		return
	}
	for i, d := range m.pools {
		d.want = w.holds(l.pools[i], i, "the end of a life")
	}
}

// holds is everything a pool has.
func (w *world) holds(p *pmem.Pool, shard int, why string) *wanted {
	if p.Region().Failed() != nil {
		return nil
	}
	x := &wanted{why: why, least: map[int]uint64{}, exact: true, pool: p}
	st := p.Store()
	st.Index().Words(func(word index.Word) bool {
		img := st.Record(word.Pos())
		if w.damages && !st.Whole(word.Pos()) {
			return true
		}
		if k, ok := keyNumber(record.Key(img)); ok {
			x.least[k] = record.TS(img)
		}
		return true
	})
	for k := range w.o.Keys {
		if w.damages && w.shardOfKey(k) == shard && w.unreadable(st, k) {
			x.unknown = append(x.unknown, k)
		}
	}
	return x
}

func (w *world) shardOfKey(k int) int {
	return w.shardOf(keyHashes[k])
}

// opened compares what a life finds in its pools with what must be there.
func (w *world) opened(m *machine, l *life) {
	for i, d := range m.pools {
		p := l.pools[i]
		r := p.Recovered()
		if r.FailedFlush {
			w.count("opened after a failed flush")
			d.want = nil
		}
		switch {
		case r.Kept:
			w.count("index kept")
		case r.Restored:
			w.count("index of a checkpoint")
			if n := p.Store().Index().Damaged(); n > 0 && d.copyOf == nil && !d.ckptHit {
				w.fail("checkpoint", "node %d, shard %d: %d pages of the checkpoint in force are not whole: %s", m.id, i, n, r.How())
			}
		default:
			w.count("index rebuilt")
		}
		if !r.Complete {
			w.count("opened an incomplete pool")
		}
		if d.want == nil {
			continue
		}
		want := d.want
		d.want = nil
		var e store.Entry
		for k := range w.o.Keys {
			ts, ok := want.least[k]
			if !ok {
				ts = w.dropped[k]
			}
			if !ok && !want.exact || w.shardOfKey(k) != i || slices.Contains(want.unknown, k) || w.unreadable(p.Store(), k) {
				continue
			}
			w.find(l.pools, &e, k)
			if !e.OK && w.dropped[k] >= ts {
				continue // a checkpoint knows of the drop, the log alone does not
			}
			if e.TS < ts && w.toldOf(d, p) {
				continue
			}
			if e.TS < ts || want.exact && e.TS != ts {
				w.fail("lost in the pool", "node %d, shard %d: after %s key %d has TS %v, it must have %v; %s", m.id, i, want.why, k, proto.TS(e.TS), proto.TS(ts), r.Why)
			}
		}
		if d.wasHit = d.damaged(); !d.wasHit {
			d.hitTo = 0
		}
		w.count("pools compared: " + want.why)
	}
}

// objection is one more judge, of a test that needs runs that fail.
var objection func(*world)

// judge looks at what is left after the calm.
func (w *world) judge() {
	switch {
	case w.heldUp:
	case w.givenUp:
		w.idle()
	default:
		w.same()
		w.persisted()
	}
	for _, m := range w.nodes {
		if l := m.p.life; l != nil {
			l.end()
		}
		if m.up {
			m.p.count()
		}
	}
	hist := w.histories()
	w.durability()
	w.Result.Small = small(hist)
	st := w.net.Stats()
	if st.EarlyReclaims != 0 {
		w.fail("ring reused", "%d times ring space was reused that a peer still needed (H18)", st.EarlyReclaims)
	}
	k, c := &w.Result.Marks, &w.counters
	for _, x := range []struct {
		name string
		n    uint64
	}{{"writes", c.Writes}, {"superseded INVs", c.Superseded}, {"replays (equal TS)", c.Confirmed}, {"entries that waited for their view", c.WaitedForView},
		{"locked reads", c.LockedReads}, {"records adopted", c.Adopted}, {"records adopted locked", c.AdoptedLocked}, {"adoptions skipped", c.AdoptSkipped},
		{"rolled forward", c.RolledForward}, {"ring full", c.RingFull}, {"room refused", c.NoRoom}, {"bad entries refused", c.BadEntries}, {"stalled for space", c.StalledNoSpace},
		{"stream bytes corrupted", st.Corrupted}, {"stream bytes cut short", st.Truncated}, {"watermark lines torn", st.Torn}} {
		k.Add(x.name, int(x.n))
	}
	k.Add("views", int(w.newest.Epoch))
	if objection != nil {
		objection(w)
	}
}

// same: all nodes hold the same records, all readable (I9).
func (w *world) same() {
	type is struct {
		ts    uint64
		id    uint64
		known bool
	}
	var first []is
	w.sums()
	for i, m := range w.nodes {
		has := make([]is, w.o.Keys)
		for k := range has { // where nothing is known
			has[k] = is{ts: w.dropped[k], known: w.dropped[k] != 0}
		}
		for shard, p := range m.p.life.pools {
			st := p.Store()
			st.Index().Words(func(word index.Word) bool {
				img := st.Record(word.Pos())
				k, ok := keyNumber(record.Key(img))
				if !ok || w.shardOfKey(k) != shard {
					w.fail("foreign key", "node %d, shard %d has %q", i, shard, record.Key(img))
				}
				if word.Locked() {
					w.fail("locked at the end", "node %d: key %d with TS %v, owner %d.%d at %d", i, k, proto.TS(record.TS(img)), record.OwnerNode(img), record.OwnerIncarnation(img), word.Pos())
				}
				x := is{ts: record.TS(img), known: true}
				if record.KindOf(img) == record.Put {
					x.id = w.intact(k, record.Value(img))
					if id, ok := w.stamps[stamp{k, proto.TS(x.ts)}]; ok && id != x.id {
						w.fail("another value", "node %d: key %d, TS %v has the value of write %d, it was written by %d (I2)", i, k, proto.TS(x.ts), x.id, id)
					}
				}
				has[k] = x
				return true
			})
		}
		if i == 0 {
			first = has
			continue
		}
		for k := range has {
			if has[k] != first[k] {
				w.fail("nodes differ", "key %d: node %d has TS %v (write %d), node 0 has %v (write %d) (I9)", k, i, proto.TS(has[k].ts), has[k].id, proto.TS(first[k].ts), first[k].id)
			}
		}
	}
	for k := range first {
		a := &w.answered[k]
		if ts := a.newest(); first[k].ts < ts {
			w.fail("older than answered", "all nodes have key %d with TS %v; answered was %v", k, proto.TS(first[k].ts), proto.TS(ts))
		}
	}
}

func (w *world) persisted() {
	var e store.Entry
	for _, x := range w.persists {
		w.find(w.nodes[0].p.life.pools, &e, x.key)
		if uint64(x.ts) > e.TS {
			w.fail("persisted and lost", "key %d: TS %v was persisted with its scope, the nodes have %v (I6)", x.key, x.ts, proto.TS(e.TS))
		}
	}
	w.Result.Marks.Add("persisted writes compared", len(w.persists))
}

// histories checks what clients saw so far, less what the model gave up when
// all live members lost power at once: of an answered write that was not
// durable it is unknown whether it happened, of a read of what was not durable
// nothing is promised. Before such a moment it is called too. It gives the
// history as it was judged.
func (w *world) histories() []check.Op {
	for _, m := range w.nodes {
		if m.up {
			for _, c := range m.p.clients {
				for _, o := range c.out {
					w.stamped(o)
				}
			}
		}
	}
	for _, s := range w.seen {
		h := &w.hist[s.at]
		id, ok := w.stamps[stamp{s.key, s.ts}]
		switch {
		case s.ts == 0 && s.id == 0:
			h.Value = check.Initial
		case !ok:
			w.fail("nobody wrote it", "key %d: a read returned TS %v, write %d", s.key, s.ts, s.id)
		case s.id != 0 && s.id != id:
			w.fail("another value", "key %d: a read returned TS %v with the value of write %d, it was written by %d (I2)", s.key, s.ts, s.id, id)
		default:
			h.Value = id
		}
	}
	g := w.o.Model.Gates()
	hist := slices.Clone(w.hist)
	for i := range hist {
		o := &hist[i]
		if o.Outcome != check.Done || o.Return > w.lossyAt {
			continue
		}
		if o.Kind == check.Write && g.Answer != proto.Durable || o.Kind == check.Read && g.Read != proto.Durable {
			o.Outcome = check.Pending
		}
	}
	r := check.Registers(hist)
	if !r.OK() {
		w.fail("not linearizable", "%v", r.Violations[0])
	}
	return hist
}

// durability checks the whole history, cut into eras by the power losses of
// all: each is linearizable by itself, and begins with one value of before that
// is not older than what the model promised, or a PERSIST. It compares every
// answer; those are the operations that count as compared.
func (w *world) durability() {
	r := check.Durable(check.PromiseOf(w.o.Model), w.hist, w.kept, w.losses)
	if !r.OK() {
		w.fail("not durable", "%v: %v", w.o.Model, r.Violations[0])
	}
	w.Result.Compared = r.Compared()
	k := &w.Result.Marks
	k.Add("power losses of all judged by what clients saw", r.Losses)
	k.Add("values promised at a power loss of all", r.Promised)
	k.Add("values read after a power loss of all", r.Survived)
	k.Add("newer ones that were not promised and are gone", r.Gone)
}

// A history is small if it has at most smallOps operations, of which at most
// smallOpen are open at a time: a search then visits at most 2 to the smallOpen
// sets for each of them.
const (
	smallKeys = 3
	smallOps  = 200
	smallOpen = 10
)

// small picks some keys' histories, cut off where they stop being small, for
// the other opinion that tests have: an exhaustive search. hist is sorted by
// key, as it was judged.
func small(hist []check.Op) (found [][]check.Op) {
	for len(hist) > 0 && len(found) < smallKeys {
		n := 1
		for n < len(hist) && hist[n].Key == hist[0].Key {
			n++
		}
		if h := cutOff(hist[:n]); len(h) >= 10 {
			found = append(found, h)
		}
		hist = hist[n:]
	}
	return found
}

// cutOff gives the part of one key's history before some moment: what had
// returned by then, and writes that had not but were read. The part of a
// linearizable history is linearizable.
func cutOff(ops []check.Op) []check.Op {
	read := map[uint64]bool{}
	for _, o := range ops {
		if o.Kind == check.Read && o.Outcome == check.Done {
			read[o.Value] = true
		}
	}
	all := make([]check.Op, 0, len(ops))
	for _, o := range ops {
		// What nobody answered and nobody read may never have been.
		if o.Outcome == check.Done || o.Outcome == check.Pending && o.Kind == check.Write && read[o.Value] {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b check.Op) int { return cmp.Compare(a.Invoke, b.Invoke) })
	var open []int64 // when they return
	end := int64(math.MaxInt64)
	for i, o := range all {
		open = slices.DeleteFunc(open, func(at int64) bool { return at < o.Invoke })
		if len(open) == smallOpen || i == smallOps {
			end, all = o.Invoke, all[:i]
			break
		}
		if o.Outcome != check.Done {
			open = append(open, math.MaxInt64)
		} else {
			open = append(open, o.Return)
		}
	}
	out := all[:0]
	for _, o := range all {
		if o.Outcome == check.Done && o.Return >= end {
			if o.Kind == check.Read {
				continue // it had no answer yet
			}
			o.Outcome = check.Pending
		}
		out = append(out, o)
	}
	return out
}
