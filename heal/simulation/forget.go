package simulation

import (
	"slices"

	"healkv/pmem/store"
)

// forget has all running nodes forget what those miss who are away, as soon as
// somebody is, the running ones have his absence in their markers, and none later
// than until: he compares digests when he comes back.
func (w *world) forget(until int64) {
	switch {
	case w.ended || w.calm:
		return
	case w.sim.Now() > until:
		w.count("forgotten: nobody was away")
		return
	case !w.missed():
		w.sim.At(w.o.Lease/8, func() { w.forget(until) })
		return
	}
	w.took(doForget)
	for _, m := range w.nodes {
		if p := m.p; m.up && p.life != nil && p.life.entered {
			p.Go(func() {
				for _, d := range p.life.drivers {
					d.w.Do(func() {
						if through, err := d.w.ForgetRanges(); err == nil {
							w.note("forgets", m.id, uint64(d.shard), uint64(through))
						}
					})
				}
			})
			p.poke()
		}
	}
}

// missed: somebody is away who was live, and whoever is live knows.
func (w *world) missed() bool {
	v, away := &w.newest, false
	for _, n := range (v.Configured &^ v.Members()).Nodes(nil) {
		away = away || v.LiveUntil[n] > 0
	}
	for _, n := range v.Live.Nodes(nil) {
		if l := w.nodes[n].p.life; !w.running(int(n)) || l.heal.Installed().Epoch != v.Epoch {
			return false
		}
	}
	return away && v.Live != 0
}

// digests counts what a recovery by digests came to. Nobody may hold a settled
// record of a key that its buddy does not have; a tombstone that only one of them
// has dropped is none.
func (w *world) digests(l *life) {
	r := l.heal.Recovery()
	if r.Kind != "digest" {
		return
	}
	k := &w.Result.Marks
	k.Add("ranges that differed", int(r.Ranges))
	k.Add("records fetched after comparing", int(r.Records))
	if l.doubtful() && r.Buried != 0 { // what it has may be what a tombstone that it lost had deleted
		k.Add("records buried in doubtful pools", int(r.Buried))
		r.Buried = 0
	}
	if r.Buried != 0 || r.Unlike != 0 {
		w.fail("digests", "node %d buried %d records, and %d have one timestamp and two values", l.self.Node, r.Buried, r.Unlike)
	}
}

// sums: every node's digests are those of its records, and all nodes' are equal,
// but for tombstones that one has dropped and another has not.
func (w *world) sums() {
	first := make([][]store.Sum, w.o.Shards)
	for i, m := range w.nodes {
		for shard, p := range m.p.life.pools {
			st := p.Store()
			if !st.DigestReady() {
				w.count("digests not complete at the end")
				for st.DigestWalk() {
				}
			}
			sums, want := make([]store.Sum, store.DigestRanges), make([]store.Sum, store.DigestRanges)
			st.Digest(sums)
			if err := st.ListHashes(0, ^uint64(0), nil, func(x *store.Listed) bool {
				want[x.Hash/(1<<64/store.DigestRanges)].Add(x.Sum())
				return true
			}); err != nil {
				w.fail("digests", "node %d, shard %d: %v", i, shard, err)
			}
			if !slices.Equal(sums, want) {
				w.fail("digests", "node %d, shard %d: the sums are not those of its records", i, shard)
			}
			if first[shard] == nil {
				first[shard] = sums
			} else if !slices.EqualFunc(sums, first[shard], func(a, b store.Sum) bool { return a.Values == b.Values }) {
				w.fail("digests", "node %d, shard %d: its sums are not node 0's", i, shard)
			}
			w.count("digests judged")
		}
	}
}

// compared takes what a life's comparisons came to. Nothing ever diverges here, so
// nothing may be called so, whatever is under way.
func (w *world) compared(l *life) {
	c := l.heal.Compared()
	k := &w.Result.Marks
	k.Add("shards compared", int(c.Rounds))
	k.Add("ranges looked at key by key", int(c.Looked))
	if c.Divergent != 0 || c.Recounts != 0 {
		w.fail("digests", "%v found what live nodes hold to diverge: %+v", l.self, c)
	}
}
