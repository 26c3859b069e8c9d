package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// standing is which members of a node's pairs have something to catch up with.
func (u *unit) standing() (unapplied, undurable proto.NodeSet) {
	for _, p := range u.Pairs(nil) {
		if p.Tail > p.Applied {
			unapplied = unapplied.With(p.Member.Node)
		}
		if p.Tail > p.Durable {
			undurable = undurable.With(p.Member.Node)
		}
	}
	return unapplied, undurable
}

func (u *unit) wantStanding(what string, unapplied, undurable proto.NodeSet) {
	u.rig.t.Helper()
	if a, d := u.standing(); a != unapplied || d != undurable {
		u.rig.t.Errorf("%s: node %d sees %v without its entries and %v not flushed, want %v and %v", what, u.self.Node, a, d, unapplied, undurable)
	}
}

// TestPairs: who stands still is seen, at each coordinator, in every model.
func TestPairs(t *testing.T) {
	for _, model := range proto.Models() {
		r := newRig(t, 4, model)
		u := r.nodes[0]
		u.wantStanding("at rest", 0, 0)
		u.put("k", "v")
		u.wantStanding("written", 0b1110, 0b1110)
		// Node 1 takes the entry, node 2 flushes it too, node 3 is cut off.
		for _, n := range []int{1, 2} {
			if _, err := r.stream(0, n); err != nil {
				t.Fatal(err)
			}
			if n == 2 {
				r.nodes[n].flush()
			}
			r.nodes[n].advance()
			r.marks(n, 0)
		}
		u.advance()
		u.wantStanding("taken by two, flushed by one", 0b1000, 0b1010)
		r.settle()
		u.wantStanding("delivered", 0, 0)
		for _, p := range u.Pairs(nil) {
			if p.Tail != u.out.Tail() || p.Tail == 0 || !p.Linked || p.Member != u.view.Member(p.Member.Node) {
				t.Errorf("%v: %+v", model, p)
			}
		}
	}
}

// TestProbe: an idle stream gets an entry that every member acknowledges and
// that leaves nothing behind, in every model; one with something under way gets
// none.
func TestProbe(t *testing.T) {
	for _, model := range proto.Models() {
		r := newRig(t, 3, model)
		u := r.nodes[1]
		tail, logs := u.out.Tail(), [3]uint64{}
		for i, n := range r.nodes {
			logs[i] = n.st.Tail()
		}
		if !u.Probe() || u.Counters.Probes != 1 || u.out.Tail()-tail < record.HeaderBytes {
			t.Fatalf("%v: no probe, %d", model, u.Counters.Probes)
		}
		u.wantStanding("probed", 0b101, 0b101)
		if u.Probe() {
			t.Errorf("%v: a probe while one is under way", model)
		}
		r.settle()
		u.wantStanding("acknowledged", 0, 0)
		for i, n := range r.nodes {
			if n.st.Tail() != logs[i] || n.Outstanding() != 0 || n.StablePos() != n.st.Tail() {
				t.Errorf("%v: node %d: tail %d, was %d, outstanding %d, stable %d", model, i, n.st.Tail(), logs[i], n.Outstanding(), n.StablePos())
			}
		}
		if len(u.answers) != 0 {
			t.Errorf("%v: answered %v", model, u.answers)
		}
		u.put("k", "v")
		if u.Probe() {
			t.Errorf("%v: a probe behind a write", model)
		}
		r.settle()
		r.same("k")
	}
	s := New(proto.Strict.Gates(), newStore(t, usual, 1), 1)
	if s.Probe() || len(s.Pairs(nil)) != 0 {
		t.Error("a probe, or pairs, before the first view")
	}
}

// TestShadowsProbe: a shadow is complained about, and complains, as others do.
func TestShadowsProbe(t *testing.T) {
	r := newRig(t, 3, proto.Strict)
	v := r.view.Next(0b011, 0b100)
	r.view = v
	for i := range r.nodes {
		r.install(i, v)
	}
	r.settle()
	if u := r.nodes[2]; u.Live() || !u.Probe() {
		t.Errorf("no probe by a shadow, live %v", u.Live())
	}
	r.nodes[2].wantStanding("probed", 0b011, 0b011)
	r.settle()
	r.nodes[2].wantStanding("acknowledged", 0, 0)
	if !r.nodes[0].Probe() {
		t.Fatal("no probe")
	}
	r.nodes[0].wantStanding("probed", 0b110, 0b110)
}

func TestPairsAllocateNothing(t *testing.T) {
	r := newRig(t, 3, proto.Strict)
	pairs := make([]proto.Pair, 0, proto.NodesMax)
	if n := testing.AllocsPerRun(100, func() { pairs = r.nodes[0].Pairs(pairs[:0]) }); n != 0 || len(pairs) != 2 {
		t.Errorf("%v allocations, %d pairs", n, len(pairs))
	}
}
