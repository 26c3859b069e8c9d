package replica

import (
	"errors"
	"testing"

	"healkv/dataplane/proto"
	"healkv/rdma"
)

// Watermarks of a peer: only of a member, only growing, never beyond what was
// sent; VAL only from a view that is installed here too (H3).
func TestMarksCells(t *testing.T) {
	const never = 1 << 40
	type cell struct {
		name     string
		m        rdma.Marks // from node 0, whose one entry ends at 80
		visible  uint64     // node 1 knows afterwards
		stable   uint64
		unlocked bool
	}
	end := uint64(80)
	cells := []cell{
		{"nothing yet", rdma.Marks{Epoch: 1}, 0, 0, false},
		{"of the present view", rdma.Marks{Epoch: 1, Visible: end, Stable: end}, end, end, true},
		{"visible, not stable", rdma.Marks{Epoch: 1, Visible: end}, end, 0, true},
		{"of an older view", rdma.Marks{Epoch: 0, Visible: end, Stable: end}, end, end, true},
		{"of a view to come", rdma.Marks{Epoch: 2, Visible: end, Stable: end}, 0, 0, false},
		{"short of the entry", rdma.Marks{Epoch: 1, Visible: end - 16, Stable: end - 16}, end - 16, end - 16, false},
		{"beyond what has arrived", rdma.Marks{Epoch: 1, Visible: never, Stable: never}, never, never, true},
	}
	for _, c := range cells {
		r := newRig(t, 3, proto.Synchronous)
		f := r.nodes[1]
		_, e := r.nodes[0].entry(ts(1, 1, 0), "k", "v", nil)
		if e != end {
			t.Fatalf("the entry ends at %d, want %d", e, end)
		}
		r.stream(0, 1)
		f.flush()
		f.advance()
		if err := f.OnMarks(0, &c.m); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		f.advance()
		st := &f.streams[0]
		if st.visible != c.visible || st.stable != c.stable {
			t.Errorf("%s: visible %d stable %d, want %d %d", c.name, st.visible, st.stable, c.visible, c.stable)
		}
		x, _ := f.find("k")
		if x.Locked == c.unlocked {
			t.Errorf("%s: locked %v", c.name, x.Locked)
		}
		if c.stable < end && f.StablePos() > x.pos {
			t.Errorf("%s: stable position %d passed the entry at %d", c.name, f.StablePos(), x.pos)
		}
		if c.stable >= end && f.StablePos() <= x.pos {
			t.Errorf("%s: stable position %d stays at %d though the entry is stable", c.name, f.StablePos(), x.pos)
		}
	}
	t.Logf("%d cells", len(cells))
}

// R2: nothing a peer says later takes back what it said.
func TestMarksNeverStepBack(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	c := r.nodes[0]
	for i := range 5 {
		c.put(name("k", i), "v")
	}
	tail := c.out.Tail()
	high := rdma.Marks{Epoch: 1, Applied: tail, Durable: tail - 80, Room: 1 << 20, Settled: 1, Flushed: 1 << 30}
	for _, m := range []rdma.Marks{high, {}, {Epoch: 1, Applied: 80, Durable: 16, Room: 5, Flushed: 1}} {
		if err := c.OnMarks(1, &m); err != nil {
			t.Fatal(err)
		}
		p := &c.peers[1]
		if p.applied != high.Applied || p.durable != high.Durable || p.room < high.Room || p.settled != 1 || p.flushed != high.Flushed {
			t.Errorf("after %+v: %+v", m, *p)
		}
	}
}

// An acknowledgement of what was never sent is refused as a whole.
func TestImpossibleMarks(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	c := r.nodes[0]
	c.put("k", "v")
	was := c.peers[1]
	for _, m := range []rdma.Marks{{Applied: c.out.Tail() + 1}, {Durable: c.out.Tail() + 16}, {Applied: ^uint64(0), Durable: ^uint64(0)}} {
		if err := c.OnMarks(1, &m); !errors.Is(err, ErrMarks) {
			t.Errorf("%+v: %v", m, err)
		}
	}
	if c.peers[1] != was {
		t.Errorf("took effect: %+v, was %+v", c.peers[1], was)
	}
}

// Marks of a node that is no member, or that is gone, count for nothing.
func TestMarksOfANonMember(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	c := r.nodes[0]
	v2 := r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, v2)
	c.put("k", "v")
	for _, n := range []proto.NodeID{2, 9} {
		m := rdma.Marks{Epoch: 2, Visible: 400, Stable: 400, Applied: c.out.Tail(), Durable: c.out.Tail(), Room: 1 << 30, Settled: 2, Flushed: 99}
		was := c.peers[n]
		if err := c.OnMarks(n, &m); err != nil {
			t.Fatal(err)
		}
		if c.peers[n] != was || c.streams[n].visible != 0 {
			t.Errorf("node %d: %+v, stream %+v", n, c.peers[n], c.streams[n].visible)
		}
	}
}

// VAL against what became of the record meanwhile: it unlocks only the very
// append it names.
func TestVALCells(t *testing.T) {
	// Superseded before the VAL: the newer record stays locked, and the VAL of
	// the older one leaves it alone.
	r := newRig(t, 3, proto.Synchronous)
	f := r.nodes[1]
	_, end := r.nodes[0].entry(ts(1, 1, 0), "k", "old", nil)
	r.stream(0, 1)
	r.nodes[2].entry(ts(1, 1, 2), "k", "new", nil)
	r.stream(2, 1)
	f.OnMarks(0, &rdma.Marks{Epoch: 1, Visible: end, Stable: end})
	f.advance()
	f.want("VAL of a superseded record", "k", ts(1, 1, 2), "new", true)
	f.OnMarks(2, &rdma.Marks{Epoch: 1, Visible: end, Stable: end})
	f.advance()
	f.want("VAL of the newest", "k", ts(1, 1, 2), "new", false)

	// Unlocked, then superseded: the VAL a second time changes nothing.
	r.nodes[0].entry(ts(1, 2, 0), "k", "newer", nil)
	r.stream(0, 1)
	f.OnMarks(2, &rdma.Marks{Epoch: 1, Visible: end, Stable: end})
	f.advance()
	f.want("VAL once more", "k", ts(1, 2, 0), "newer", true)

	// A VAL that runs ahead of its entries works when they come: in order.
	r = newRig(t, 3, proto.Synchronous)
	f = r.nodes[1]
	f.OnMarks(0, &rdma.Marks{Epoch: 1, Visible: 160})
	f.Fed(0, 0)
	f.OnMarks(0, &rdma.Marks{Epoch: 1, Visible: 160})
	r.nodes[0].entry(ts(1, 1, 0), "a", "v", nil)
	r.nodes[0].entry(ts(1, 1, 0), "b", "v", nil)
	r.nodes[0].entry(ts(1, 1, 0), "c", "v", nil)
	r.stream(0, 1)
	f.advance()
	f.want("first", "a", ts(1, 1, 0), "v", false)
	f.want("second", "b", ts(1, 1, 0), "v", false)
	f.want("third, above visible", "c", ts(1, 1, 0), "v", true)

	// A replay by another coordinator while the old VAL is still out: only the
	// new owner's VAL unlocks.
	r = newRig(t, 3, proto.Synchronous)
	f = r.nodes[1]
	_, end = r.nodes[0].entry(ts(1, 1, 0), "k", "v", nil)
	r.stream(0, 1)
	_, again := r.nodes[2].entry(ts(1, 1, 0), "k", "v", nil)
	r.stream(2, 1)
	f.OnMarks(0, &rdma.Marks{Epoch: 1, Visible: end})
	f.advance()
	f.want("VAL of the first append", "k", ts(1, 1, 0), "v", true)
	f.OnMarks(2, &rdma.Marks{Epoch: 1, Visible: again})
	f.advance()
	f.want("VAL of the replay", "k", ts(1, 1, 0), "v", false)
}
