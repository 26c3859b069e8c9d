package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// Cures that simulations meet too seldom to miss them: one situation each.

// away makes a group of three in which node 2 has gone and come back as a
// shadow in its second life; nobody has fed it yet.
func away(t *testing.T, before func(r *rig)) (r *rig, shadow *unit) {
	r = newRig(t, 3, proto.Synchronous)
	before(r)
	r.settle()
	r.nodes[2] = nil
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, r.view)
	r.install(1, r.view)
	r.settle()
	v := r.view.Next(r.view.Live, proto.NodeSet(0).With(2))
	v.Incarnation[2] = 2
	r.view = v
	r.nodes[2] = newUnit(r, proto.Member{Node: 2, Incarnation: 2})
	for i := range r.nodes {
		r.install(i, v)
	}
	return r, r.nodes[2]
}

// H7: what lies below the position from which its owner feeds the shadow was
// visible then. The buddy may not know; nothing would bring and unlock it.
func TestAdoptedBelowTheFeed(t *testing.T) {
	owner := proto.Member{Node: 0, Incarnation: 1}
	for _, first := range []string{"fed", "adopted"} {
		r, f := away(t, func(r *rig) { r.nodes[0].put("k", "v") })
		if from := r.nodes[0].FeedFrom(2); from < 80 {
			t.Fatalf("fed from %d", from)
		}
		if first == "fed" {
			r.stream(0, 2)
		}
		if a := f.adoptImage(ts(1, 1, 0), "k", "v", owner, true); a != Adopted {
			t.Fatalf("%s first: %d", first, a)
		}
		f.want(first+" first, then adopted", "k", ts(1, 1, 0), "v", first == "adopted")
		r.stream(0, 2)
		f.want(first+" first, in the end", "k", ts(1, 1, 0), "v", false)
		if n := f.ForwardPending(); n != 0 {
			t.Errorf("%s first: %d to roll forward", first, n)
		}
	}
}

// What a gone member had called visible is not rolled forward: it is taken in
// with the old view, even if it came with the last line before the cut.
func TestVisibleOfAGoneMember(t *testing.T) {
	r := newRig(t, 3, proto.Eventual)
	u, gone := r.nodes[0], r.nodes[2]
	w := gone.put("k", "v")
	for _, to := range []int{0, 1} {
		r.stream(2, to)
		r.nodes[to].advance()
		r.marks(to, 2)
	}
	gone.advance()
	r.marks(2, 0)
	u.want("before the cut", "k", w, "v", true)
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.nodes[2] = nil
	r.install(0, r.view)
	u.want("after it", "k", w, "v", false)
	if n := u.ForwardPending(); n != 0 {
		t.Errorf("%d to roll forward", n)
	}
}

// R5: what waits for its roll-forward is in no stream that could hold the
// stable position; it stays below all the same.
func TestStableWaitsForTheRollForward(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	u := r.nodes[0]
	r.nodes[2].put("k", "v")
	r.stream(2, 0)
	r.stream(2, 1)
	x, _ := u.find("k")
	r.nodes[2] = nil
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, r.view)
	r.install(1, r.view)
	for range 5 { // everything but the cursor
		r.each(r.marks)
		for _, u := range r.nodes[:2] {
			u.flush()
			u.advance()
		}
	}
	if !u.allSettled() || u.ForwardPending() != 1 {
		t.Fatalf("settled %v, %d to roll forward", u.allSettled(), u.ForwardPending())
	}
	if u.StablePos() > x.pos {
		t.Errorf("stable position %d passed the locked record at %d", u.StablePos(), x.pos)
	}
	r.settle()
	if u.StablePos() <= x.pos {
		t.Errorf("the stable position stays at %d", u.StablePos())
	}
}

// H10: a recovered node's first marker is where its predecessor was stable,
// not where it ended: a node that was away longer misses from there.
func TestFirstMarkerCarriesTheRestoredPosition(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	u := &unit{rig: r, Shard: New(r.model.Gates(), newStore(t, usual, 1), 64), mem: make([]byte, usual.ring)}
	u.out = ring.NewOut(u.mem)
	var first, tail uint64
	for i := range 3 {
		h := record.Header{Kind: record.Marker}
		pos := u.st.AppendMarker(&h, encodeMarkers(nil, []marker{{proto.Epoch(i + 1), 0}}))
		if i == 0 {
			first = pos
		}
	}
	if tail = u.st.Tail(); tail <= first {
		t.Fatal("nothing was appended")
	}
	if err := u.Begin(proto.Member{Node: 0, Incarnation: 2}, u.out, first, nil); err != nil {
		t.Fatal(err)
	}
	v := r.view.Next(0, proto.NodeSet(0).With(0))
	v.Live, v.Incarnation[0] = v.Live.With(1), 2
	u.Install(&v)
	list, err := decodeMarkers(record.Value(u.st.Record(u.st.LastMarker())))
	if err != nil || len(list) != 1 || list[0] != (marker{v.Epoch, first}) {
		t.Errorf("the first marker says %v (%v), want position %d", list, err, first)
	}
}

// H19: how far a gone life had flushed is remembered until its next one asks.
func TestFlushedOfAGoneLifeIsRemembered(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	r.nodes[2].put("k", "v")
	r.settle()
	flushed := r.nodes[2].st.Flushed()
	r.nodes[2] = nil
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, r.view)
	if saw := r.nodes[0].SawFlushed(proto.Member{Node: 2, Incarnation: 1}); saw != flushed || saw == 0 {
		t.Errorf("saw it flush through %d, it flushed through %d", saw, flushed)
	}
	if saw := r.nodes[0].SawFlushed(proto.Member{Node: 2, Incarnation: 2}); saw != 0 {
		t.Errorf("saw another life flush through %d", saw)
	}
}

// H18: ring space between visible and applied is kept, since a shadow that
// comes now is fed from visible.
func TestRingIsKeptFromVisibleOn(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	u := r.nodes[0]
	u.put("k", "v")
	if err := u.OnMarks(1, &rdma.Marks{Epoch: 1, Applied: u.out.Tail()}); err != nil {
		t.Fatal(err)
	}
	u.advance()
	if u.out.Reclaimed() > u.visible || u.visible >= u.out.Tail() {
		t.Errorf("reclaimed through %d, visible %d, tail %d", u.out.Reclaimed(), u.visible, u.out.Tail())
	}
}

// H20: nothing is called stable that this node has not flushed, whatever the
// others say.
func TestStableIsFlushed(t *testing.T) {
	r := newRig(t, 3, proto.Eventual)
	u := r.nodes[0]
	r.nodes[1].put("k", "v")
	r.settle()
	// A replay of an older write of node 1: it loses and is appended nowhere, so
	// only the tail, with a marker that is not flushed, stands above.
	r.view = r.view.Next(r.view.Live, 0)
	r.install(0, r.view)
	u.advance()
	if u.StablePos() > u.st.Flushed() {
		t.Errorf("stable position %d, flushed %d", u.StablePos(), u.st.Flushed())
	}
}

// A waiting read is answered by its own key's entries, not by those of another
// key with the same hash, and not by an older one.
func TestWaitingReadOfAnotherKey(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	u := r.nodes[0]
	w := u.put("a", "v")
	x, _ := u.find("a")
	hash := u.st.Hash([]byte("a"))
	for i, k := range []string{"b", "a", "a"} {
		older := uint64(0)
		if i == 1 {
			older = 16 // waits for something newer
		}
		if !u.waiters.add(waiter{hash: hash, ts: uint64(w) + older, pos: x.pos, key: []byte(k), handle: Handle(100 + i)}) {
			t.Fatal("no place")
		}
	}
	u.wake(hash, x.pos)
	if d := u.Done(); len(d) != 1 || d[0].Handle != 102 {
		t.Errorf("answered: %+v", d)
	}
	for i, want := range []bool{true, true, false} {
		if got := u.Cancel(hash, Handle(100+i)); got != want {
			t.Errorf("read %d still waits: %v", i, got)
		}
	}
}

// The cleaner stays below the stable position: what lies above is named by
// streams, cursors and leftovers.
func TestCleanerStaysBelowStable(t *testing.T) {
	r := newRig(t, 2, proto.Eventual)
	u := r.nodes[0]
	u.put("k", "v")
	u.flush()
	u.advance()
	if b := u.CleanBounds(0).Below; b > u.StablePos() || u.StablePos() >= u.st.Tail() {
		t.Errorf("bound %d, stable position %d, tail %d", b, u.StablePos(), u.st.Tail())
	}
}

// H28: one coordinator uses its room up while the others do nothing. What they
// were promised is still theirs.
func TestRoomOfIdleCoordinators(t *testing.T) {
	z := usual
	z.ring, z.segments = 1<<20, 96
	r := newRigOf(t, 4, proto.Eventual, z)
	u := r.nodes[0]
	value := string(make([]byte, 2000))
	written := 0
	for i := 0; ; i++ {
		a, _ := r.nodes[1].write(record.Put, name("k", i%4000), value)
		if a == NoRoom {
			break
		}
		if a != Taken && a != RingFull {
			t.Fatalf("write %d: %d", i, a)
		}
		written++
		r.settle()
		promised := u.limit - min(u.limit, u.out.Tail())
		for n := range u.streams {
			if st := &u.streams[n]; st.in {
				promised += st.limit - min(st.limit, st.applied)
			}
		}
		const reserve = 2 * 4 * deleteReserve
		if sure := u.st.SureBytes(); promised+reserve > sure {
			t.Fatalf("after %d writes of one coordinator %d bytes are promised, %d are free for certain, %d of them reserved", written, promised, sure, reserve)
		}
	}
	if written < 50 {
		t.Errorf("only %d writes", written)
	}
}

// A record adopted locked is in no span until its owner's stream brings it,
// and a member that has settled the view may still lack it: the stable position
// stays below it. Else a shadow that was promoted and began a new life was a
// buddy from too late a position (found by the simulation).
func TestStableWaitsForLentRecords(t *testing.T) {
	r := newRig(t, 3, proto.Strict)
	r.settle()
	f := r.nodes[2]
	before := f.StablePos()
	if a := f.adoptImage(ts(1, 7, 0), "k", "v", proto.Member{Node: 0, Incarnation: 1}, true); a != Adopted || len(f.lent) != 1 {
		t.Fatalf("adopted %v, %d lent", a, len(f.lent))
	}
	x, _ := f.find("k")
	for range 5 {
		r.each(r.marks)
		for _, u := range r.nodes {
			u.flush()
			u.advance()
		}
	}
	if p := f.StablePos(); p < before || p > x.pos {
		t.Errorf("stable position %d, want at least %d and not above the lent record at %d", p, before, x.pos)
	}
	// The stream brings it, and everybody has it.
	r.nodes[0].entry(ts(1, 7, 0), "k", "v", nil)
	r.settle()
	if p := f.StablePos(); p <= x.pos || len(f.lent) != 0 {
		t.Errorf("the stable position stays at %d, %d lent", p, len(f.lent))
	}
}
