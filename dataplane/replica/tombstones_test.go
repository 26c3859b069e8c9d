package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// When a tombstone may go (protocol.md, "Tombstones"): each condition alone
// keeps it.
func TestDropBelow(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	u := r.nodes[0]
	u.put("k", "v")
	r.settle()
	if a, _ := u.write(record.Delete, "k", ""); a != Taken {
		t.Fatal(a)
	}
	r.settle()
	want := func(what string, ok bool) {
		t.Helper()
		limit := uint64(0)
		if ok {
			limit = uint64(proto.MakeTS(r.view.Epoch, 0, 0))
		}
		if got := u.CleanBounds(0).Drop; got != limit {
			t.Errorf("%s: tombstones below %#x may go, want %#x", what, got, limit)
		}
	}
	next := func(v proto.View) {
		r.view = v
		for i, x := range r.nodes {
			if x != nil {
				r.install(i, r.view)
			}
		}
		r.settle()
	}
	barriers := func(nodes ...int) {
		for _, i := range nodes {
			r.nodes[i].Barrier()
		}
		r.settle()
	}
	want("no barrier", false)
	barriers(0, 1)
	want("one member has not said that it is done", false)
	barriers(2)
	want("all have", true)
	if x, ok := u.find("k"); !ok || uint64(x.TS) < u.CleanBounds(0).Drop {
		t.Error("the tombstone of this view is below what may go")
	}
	next(r.view.Next(r.view.Live, 0))
	want("the barriers were of the last view", false)
	barriers(0, 1, 2)
	want("in the next view", true)
	if x, ok := u.find("k"); !ok || uint64(x.TS) >= u.CleanBounds(0).Drop {
		t.Error("the tombstone of the last view is not below what may go")
	}
	// Who still has to roll forward says nothing, and drops nothing.
	u.forward.push(pending{1, 1 << 40})
	want("with a roll-forward to do", false)
	was := u.out.Tail()
	u.barrier = 0
	if u.Barrier(); u.out.Tail() != was {
		t.Error("a barrier before the roll-forward is done")
	}
	u.forward.pop()
	// A member away.
	gone := r.nodes[2]
	r.nodes[2] = nil
	next(r.view.Next(r.view.Live.Without(2), 0))
	barriers(0, 1)
	u.streams[1].barrier = r.view.Epoch // as if it had said so: it does not with a member away
	want("with a member away", false)
	_ = gone
}
