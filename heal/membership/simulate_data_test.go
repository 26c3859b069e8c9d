package membership

import (
	"time"

	"healkv/dataplane/proto"
)

// The data path of the simulation: streams that move or stand still. What must
// hold of it:
//
//	V6  In calm, with links of the data path that stay cut: no two members stay
//	    in one view over such a link for longer than standMax; who is out has a
//	    cut link to a member; and all who are in are live and hold leases.
//	V7  Nobody is removed over complaints unless something was wrong with it or
//	    its links lately.

// standMax is how long two members stay together over a cut link: the patience
// once for those who write, and once more for the probes of the others, the
// lease that has to run out, and the time between.
func (w *world) standMax() int64 { return int64(6 * w.lease) }

// streams is what a node knows of its followers.
type streams struct {
	tail uint64
	ends []int64 // when each of the newest entries was published
	of   [proto.NodesMax]follower
}

type follower struct {
	life             proto.Member
	applied, durable uint64
}

// publish adds an entry.
func (x *streams) publish(now int64) {
	x.tail++
	if x.ends = append(x.ends, now); len(x.ends) > 256 {
		x.ends = append(x.ends[:0], x.ends[128:]...)
	}
}

// before is the end of what was published by then.
func (x *streams) before(then int64) uint64 {
	tail := x.tail
	for i := len(x.ends) - 1; i >= 0 && x.ends[i] > then; i-- {
		tail--
	}
	return tail
}

// moves reports whether entries of m and acknowledgements of f arrive.
func (w *world) moves(m, f *machine) bool {
	return f.up() && !f.p.Paused() && !f.stuck && f.s != nil && f.s.self == f.life && f.s.known.View.Has(m.life) && !w.parted(m.id, f.id)
}

// parted reports whether the data path between two nodes is cut in any
// direction: one carries the entries, the other one the acknowledgements.
func (w *world) parted(a, b proto.NodeID) bool { return w.data[a][b] || w.data[b][a] }

// watch is Config.Watch: what was written before has arrived by now, where it
// can, and there may be more.
func (m *machine) watch() (pairs []proto.Pair) {
	w := m.w
	for m.stuck { // so does the worker that is asked
		m.p.Wait(w.lease / 20)
	}
	if m.s == nil || !m.s.known.View.Has(m.life) {
		return nil
	}
	v := &m.s.known.View
	for _, n := range v.Members().Without(m.id).Nodes(nil) {
		f := &m.streams.of[n]
		if f.life != v.Member(n) {
			*f = follower{v.Member(n), m.streams.tail, m.streams.tail}
		}
		if o := w.nodes[n]; w.moves(m, o) && o.life == f.life && o.still != 1 {
			f.applied = m.streams.tail
			if o.still != 2 {
				f.durable = max(f.durable, m.streams.before(w.sim.Now()-max(o.late, m.late)))
			}
		}
		p := proto.Pair{Member: f.life, Tail: m.streams.tail, Applied: f.applied, Durable: f.durable, Linked: true}
		if m.lies {
			p.Tail, p.Applied, p.Durable = 1, 0, 0
		}
		pairs = append(pairs, p)
	}
	if m.busy && !w.quiet {
		m.streams.publish(w.sim.Now())
	}
	return pairs
}

// probe is Config.Probe.
func (m *machine) probe() {
	for _, n := range m.s.known.View.Members().Without(m.id).Nodes(nil) {
		if f := &m.streams.of[n]; min(f.applied, f.durable) < m.streams.tail {
			return
		}
	}
	m.streams.publish(m.w.sim.Now())
	m.w.mark("idle stream probed")
}

// reaches reports whether a node can connect to all members.
func (m *machine) reaches(v *proto.View) bool {
	for _, n := range v.Members().Without(m.id).Nodes(nil) {
		if m.w.parted(m.id, n) {
			return false
		}
	}
	return true
}

// touch notes that something happens, or is over, that may make streams of a
// node stand still.
func (w *world) touch(nodes ...*machine) {
	for _, m := range nodes {
		m.touched = w.sim.Now()
	}
}

// disturbed reports whether something is wrong with a node, or was lately.
func (w *world) disturbed(m *machine) bool {
	if m.still != 0 || m.late != 0 || m.lies || m.stuck || m.up() && m.p.Paused() || w.control > 0 || w.sim.Now()-m.touched < int64(6*w.lease) {
		return true
	}
	for _, o := range w.nodes {
		if o != m && w.parted(m.id, o.id) {
			return true
		}
	}
	return false
}

// removed looks at a member that left the view because others wanted it to.
func (w *world) removed(m *machine, x proto.Member) {
	if w.calm {
		w.gone = w.gone.With(m.id)
	}
	for _, o := range w.nodes {
		if o.s == nil || o.s.accuses != x {
			continue
		}
		w.mark("member removed over complaints")
		w.say("%v removed over complaints", x)
		if !w.disturbed(m) && !w.check.wildRun {
			w.fail("V7: %v was removed over complaints, and nothing was wrong with it", x)
		}
		return
	}
}

// keepCuts cuts links of the data path for the time of calm.
func (w *world) keepCuts() {
	for range 1 + w.rnd(2) {
		a, b := w.some(), w.some()
		if a == b {
			continue
		}
		w.data[a.id][b.id] = true
		if w.rnd(2) == 0 {
			w.data[b.id][a.id] = true
		}
		w.touch(a, b)
		a.busy = true // else nobody misses it
		w.say("data link from %d to %d stays cut", a.id, b.id)
		w.mark("data link cut through calm")
	}
}

// parting is the members that a view must not have together, and those it must
// have: nobody, if it is as it should be.
func (w *world) parting(v *proto.View) (together, missing proto.NodeSet) {
	runs := func(m *machine) bool { return v.Members().Has(m.id) && m.life == v.Member(m.id) }
	for _, a := range w.nodes {
		blocked := false
		for _, b := range w.nodes {
			if a == b || !w.parted(a.id, b.id) || !runs(b) {
				continue
			}
			blocked = true
			if runs(a) {
				together = together.With(a.id).With(b.id)
			}
		}
		if !blocked && !v.Live.Has(a.id) {
			missing = missing.With(a.id)
		}
	}
	return together, missing
}

// standing is V6, after an event in calm.
func (w *world) standing() {
	v := &w.check.newest.View
	together, _ := w.parting(v)
	if together == 0 || v.Live == 0 {
		w.together = 0
		return
	}
	if w.together == 0 || w.inEpoch != v.Epoch {
		w.together, w.inEpoch = w.sim.Now(), v.Epoch
	}
	if d := w.sim.Now() - w.together; d > w.standMax() {
		w.fail("V6: %v stay members of epoch %d over cut links for %v: %s", together.Nodes(nil), v.Epoch, time.Duration(d), w.status())
	}
}

var dataFaults = []fault{
	{"data link cut", func(w *world) func() {
		a, b := w.some(), w.some()
		w.data[a.id][b.id] = true // one way
		if w.rnd(2) == 0 {
			w.data[b.id][a.id] = true
		}
		w.touch(a, b)
		return func() {
			w.data[a.id][b.id], w.data[b.id][a.id] = false, false
			w.touch(a, b)
		}
	}},
	{"stands still for all", func(w *world) func() {
		m := w.some()
		m.still = 1 + w.rnd(2)
		return func() { m.still = 0; w.touch(m) }
	}},
	{"accuses everybody", func(w *world) func() {
		m := w.some()
		m.lies = true
		return func() { m.lies = false; w.touch(m) }
	}},
}
