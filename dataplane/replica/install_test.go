package replica

import (
	"fmt"
	"slices"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/rdma/ring"
)

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no assert tripped", what)
		}
	}()
	f()
}

// What an install must not be given (R4).
func TestInstallRefusesWrongViews(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	u := r.nodes[1]
	same := r.view
	panics(t, "the same view again", func() { u.Install(&same) })
	without := r.view.Next(r.view.Live.Without(1), 0)
	panics(t, "a view without this node", func() { u.Install(&without) })
	other := r.view.Next(r.view.Live, 0)
	other.Incarnation[1] = 2
	panics(t, "a view with another life of this node", func() { u.Install(&other) })
}

// A member goes: what was visible stays as it is, what was locked is rolled
// forward by those who have it, with its timestamp and value, in every model.
func TestInstallWithAMemberGone(t *testing.T) {
	for _, model := range proto.Models() {
		r := newRig(t, 3, model)
		gone := r.nodes[2]
		visible := gone.put("visible", "v1")
		r.settle()
		everywhere := gone.put("everywhere", "v2")
		only := gone.put("only at 0", "v3")
		beaten := gone.put("beaten", "v4")
		r.stream(2, 0)
		end := gone.mirrorEnd(everywhere)
		// Node 1 has the first of them only.
		m := r.nodes[1].mirrors[2]
		if !m.SetLimit(end) {
			t.Fatal("limit")
		}
		r.nodes[1].OnStream(2, m, 1<<20)
		winner := r.nodes[0].put("beaten", "v5")
		if winner <= beaten {
			t.Fatalf("%v, %v", winner, beaten)
		}
		r.nodes[2] = nil
		v := r.view.Next(r.view.Live.Without(2), 0)
		r.view = v
		r.install(0, v)
		if r.nodes[0].ForwardPending() == 0 {
			t.Errorf("%v: nothing to roll forward", model)
		}
		r.install(1, v)
		r.settle()
		for key, want := range map[string]proto.TS{"visible": visible, "everywhere": everywhere, "only at 0": only, "beaten": winner} {
			r.same(key)
			if x, _ := r.nodes[1].find(key); x.TS != want {
				t.Errorf("%v: %s is %v, want %v", model, key, x.TS, want)
			}
		}
		if x, _ := r.nodes[0].find("visible"); x.Owner.Node != 2 {
			t.Errorf("%v: a visible record was rolled forward by %v", model, x.Owner)
		}
		if n := r.nodes[0].Counters.RolledForward; n != 2 {
			t.Errorf("%v: node 0 rolled %d records forward, want 2", model, n)
		}
	}
}

// mirrorEnd is the stream position after the entry with the timestamp.
func (u *unit) mirrorEnd(ts proto.TS) uint64 {
	for i := u.queue.head; i < u.queue.tail; i++ {
		if o := u.queue.at(i); o.ts == ts {
			return o.seq
		}
	}
	u.rig.t.Fatalf("no entry of %v", ts)
	return 0
}

// A write under way is counted anew for the members of the new view: neither
// lost nor sent twice, and answered once.
func TestOwnWritesAcrossAnInstall(t *testing.T) {
	for _, model := range proto.Models() {
		r := newRig(t, 3, model)
		c := r.nodes[0]
		w := c.put("k", "v")
		r.stream(0, 1)
		r.nodes[1].flush()
		r.nodes[1].advance()
		r.marks(1, 0)
		c.flush()
		c.advance()
		if len(c.answers) != 0 {
			t.Fatalf("%v: answered without node 2", model)
		}
		tail := c.out.Tail()
		r.nodes[2] = nil
		r.view = r.view.Next(r.view.Live.Without(2), 0)
		r.install(0, r.view)
		c.advance()
		if len(c.answers) != 1 || c.answers[0].TS != w {
			t.Errorf("%v: answers %+v, want %v", model, c.answers, w)
		}
		if c.out.Tail() != tail {
			t.Errorf("%v: sent again", model)
		}
		c.want("at the coordinator", "k", w, "v", false)
	}
}

// H6, H18: a shadow is fed from visible on, what is not visible it acknowledges
// like everybody else, and nothing steps back.
func TestShadowIsFedFromVisible(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	c := r.nodes[0]
	c.put("before", "v")
	r.settle()
	r.nodes[2] = nil
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, r.view)
	r.install(1, r.view)
	r.settle()
	visible := c.visible
	under := c.put("under way", "v")
	v := r.view.Next(r.view.Live, proto.NodeSet(0).With(2))
	v.Incarnation[2] = 2
	r.view = v
	r.nodes[2] = newUnit(r, proto.Member{Node: 2, Incarnation: 2})
	for i := range r.nodes {
		r.install(i, v)
	}
	if c.FeedFrom(2) != visible || c.out.Reclaimed() > visible {
		t.Fatalf("fed from %d, reclaimed through %d, visible %d", c.FeedFrom(2), c.out.Reclaimed(), visible)
	}
	// Without the shadow's acknowledgement the write does not end.
	r.stream(0, 1)
	r.nodes[1].flush()
	r.nodes[1].advance()
	r.marks(1, 0)
	c.flush()
	c.advance()
	if n := len(c.answers); n != 1 { // of "before"
		t.Fatalf("%d answers while the shadow has not applied", n)
	}
	r.settle()
	if n := len(c.answers); n != 2 {
		t.Errorf("%d answers", n)
	}
	r.nodes[2].want("at the shadow", "under way", under, "v", false)
	if _, ok := r.nodes[2].find("before"); ok {
		t.Error("the shadow got what was visible before it came: that is its buddy's to give")
	}
	// Promotion: stable position held until all have settled (settling).
	s := r.nodes[2]
	if s.StablePos() != 0 {
		t.Errorf("a shadow's stable position moved to %d", s.StablePos())
	}
	promoted := r.view.Next(r.view.Live.With(2), 0)
	r.view = promoted
	r.install(2, promoted)
	s.flush()
	s.advance()
	if s.StablePos() != 0 {
		t.Errorf("promoted, others not settled: stable position %d", s.StablePos())
	}
	r.install(0, promoted)
	r.install(1, promoted)
	r.settle()
	if s.StablePos() == 0 {
		t.Error("all settled: the stable position does not move")
	}
}

// H16, H20: when a member goes, the stable position stays until every live
// member has flushed through its install; and it never passes the flushed mark.
func TestSettling(t *testing.T) {
	r := newRig(t, 4, proto.Eventual)
	u := r.nodes[0]
	r.nodes[3].put("k", "v")
	r.settle()
	was := u.StablePos()
	r.nodes[3] = nil
	r.view = r.view.Next(r.view.Live.Without(3), 0)
	for i := range 3 {
		r.install(i, r.view)
	}
	step := func(what string) {
		t.Helper()
		r.each(r.marks)
		u.advance()
		if u.StablePos() != was {
			t.Errorf("%s: stable position moved from %d to %d", what, was, u.StablePos())
		}
	}
	step("installed, nobody has flushed")
	u.flush()
	u.advance()
	step("this node has flushed")
	r.nodes[1].flush()
	r.nodes[1].advance()
	step("one other has flushed")
	if u.Settled() != true || r.nodes[2].Settled() {
		t.Error("settled")
	}
	r.nodes[2].flush()
	r.nodes[2].advance()
	r.each(r.marks)
	u.advance()
	if u.StablePos() <= was || u.StablePos() > u.st.Flushed() {
		t.Errorf("all settled: stable position %d, was %d, flushed %d", u.StablePos(), was, u.st.Flushed())
	}
}

// Markers: where an absent node's missed range begins, for every node and
// through any number of later views; what is given up first when space is
// short.
func TestMissedRanges(t *testing.T) {
	r := newRig(t, 5, proto.Synchronous)
	u := r.nodes[0]
	write := func(n int) {
		for i := range n {
			u.put(name("k", i), "some value")
		}
		r.settle()
	}
	drop := func(n proto.NodeID) {
		r.nodes[n] = nil
		r.view = r.view.Next(r.view.Live.Without(n), 0)
		for i, x := range r.nodes {
			if x != nil {
				r.install(i, r.view)
			}
		}
		r.settle()
	}
	write(10)
	before4 := u.StablePos()
	drop(4) // last live in view 1
	write(20)
	before3 := u.StablePos()
	drop(3) // last live in view 2
	write(10)
	for range 3 { // views in which nothing happens do not move anything
		r.view = r.view.Next(r.view.Live, 0)
		for i, x := range r.nodes {
			if x != nil {
				r.install(i, r.view)
			}
		}
		r.settle()
		write(3)
	}
	for _, c := range []struct {
		until proto.Epoch
		pos   uint64
		ok    bool
	}{{0, 0, false}, {1, before4, true}, {2, before3, true}} {
		if pos, ok := u.MissedFrom(c.until); pos != c.pos || ok != c.ok {
			t.Errorf("last live in view %d: missed from %d (%v), want %d (%v)", c.until, pos, ok, c.pos, c.ok)
		}
	}
	// What older pools have given up is no range any more.
	for lost, want := range map[proto.Epoch]uint64{0: before4, 2: before3, 3: ^uint64(0)} {
		if b := u.CleanBounds(lost); b.Missed != want || b.Below != u.StablePos() || b.Stable != u.StablePos() {
			t.Errorf("lost through view %d: bounds %+v, want ranges from %d, stable is %d", lost, b, want, u.StablePos())
		}
	}
	// The newest marker record says it all to a node that opens the log again.
	img := u.st.Record(u.st.LastMarker())
	list, err := decodeMarkers(record.Value(img))
	if err != nil || !slices.Equal(list, u.markers) {
		t.Errorf("the marker says %v, %v; want %v", list, err, u.markers)
	}
	if len(list) > 3 {
		t.Errorf("%d markers kept for two absent nodes", len(list))
	}
	// Its next life does not know yet who is away: the cleaner rests.
	next := New(u.gates, u.st, 16)
	self := u.self
	self.Incarnation++
	if err := next.Begin(self, ring.NewOut(make([]byte, 4096)), u.StablePos(), record.Value(img)); err != nil {
		t.Fatal(err)
	}
	if b := next.CleanBounds(0); b.Below != 0 {
		t.Errorf("bounds %+v before the first view of a life, want none", b)
	}
	v := r.view.Next(r.view.Live.Without(self.Node), r.view.Shadow.With(self.Node))
	v.Incarnation[self.Node] = self.Incarnation
	next.Install(&v)
	if b := next.CleanBounds(0); b.Missed != before4 || b.Below == 0 {
		t.Errorf("bounds %+v after it, want ranges from %d", b, before4)
	}
}

func FuzzDecodeMarkers(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeMarkers(nil, []marker{{1, 16}, {2, 4096}}))
	f.Add(make([]byte, 24))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeMarkers(b)
		if err != nil {
			return
		}
		if again := encodeMarkers(nil, list); string(again) != string(b) {
			t.Fatalf("%x became %x", b, again)
		}
		for i := 1; i < len(list); i++ {
			if list[i].epoch <= list[i-1].epoch {
				t.Fatalf("views out of order: %v", list)
			}
		}
	})
}

// The table of adoption: what the shadow has × what its buddy offers
// (protocol.md, "Rejoin of f", 4).
func TestAdoptCells(t *testing.T) {
	base := ts(1, 5, 0)
	cells := 0
	for _, own := range []string{"missing", "older", "equal, locked, own leftover", "equal, locked, from a stream", "equal, readable", "newer"} {
		for _, owner := range []string{"live", "gone"} {
			for _, locked := range []bool{false, true} {
				what := fmt.Sprintf("own %s, owner %s, buddy's locked %v", own, owner, locked)
				r := newRig(t, 3, proto.Synchronous)
				f := r.nodes[2]
				put := func(ts proto.TS, lock bool, stream bool) {
					value := "v"
					if ts != base {
						value = "other"
					}
					if stream {
						r.nodes[0].entry(ts, "k", value, nil)
						r.stream(0, 2)
						return
					}
					f.adoptImage(ts, "k", value, proto.Member{Node: 0, Incarnation: 1}, lock)
				}
				switch own {
				case "older":
					put(base-16, false, false)
				case "equal, locked, own leftover":
					put(base, true, false)
				case "equal, locked, from a stream":
					put(base, true, true)
				case "equal, readable":
					put(base, false, false)
				case "newer":
					put(base+16, true, true)
				}
				pending := f.ForwardPending()
				who := proto.Member{Node: 0, Incarnation: 1}
				if owner == "gone" {
					who = proto.Member{Node: 9, Incarnation: 4}
				}
				got := f.adoptImage(base, "k", "v", who, locked)
				wantWhat, wantTS, wantValue, wantLocked, wantPending := Adopted, base, "v", locked, 0
				if locked && owner == "gone" {
					wantPending = 1 // H7: nobody else will finish it
				}
				switch own {
				case "equal, locked, own leftover":
					wantWhat, wantPending = AdoptSame, 0 // visibility is taken over
				case "equal, locked, from a stream":
					wantWhat, wantLocked, wantPending = AdoptSame, true, 0 // the stream decides
				case "equal, readable":
					wantWhat, wantLocked, wantPending = AdoptSame, false, 0
				case "newer":
					wantWhat, wantTS, wantValue, wantLocked, wantPending = AdoptOld, base+16, "other", true, 0
				}
				if got != wantWhat || f.ForwardPending()-pending != wantPending {
					t.Errorf("%s: %d, %d to roll forward; want %d, %d", what, got, f.ForwardPending()-pending, wantWhat, wantPending)
				}
				f.want(what, "k", wantTS, wantValue, wantLocked)
				cells++
			}
		}
	}
	t.Logf("%d cells", cells)
}

// adoptImage offers a record as a buddy does.
func (u *unit) adoptImage(ts proto.TS, key, value string, owner proto.Member, locked bool) Adoption {
	return u.adoptHashed(u.st.Hash([]byte(key)), ts, key, value, owner, locked)
}

func (u *unit) adoptHashed(hash uint64, ts proto.TS, key, value string, owner proto.Member, locked bool) Adoption {
	img := make([]byte, record.Bytes(len(key), len(value)))
	h := record.Header{Hash: hash, TS: uint64(ts), Seq: 80, OwnerNode: uint8(owner.Node), OwnerIncarnation: uint32(owner.Incarnation), Epoch: 1, Kind: record.Put}
	record.Encode(img, &h, []byte(key), []byte(value), 0)
	return u.Adopt(img, locked)
}

// A record that is hashed with another seed is not adopted under another hash:
// its key would be in another shard, or nowhere.
func TestAdoptOfAnotherSeed(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	f, key := r.nodes[2], "k"
	owner := proto.Member{Node: 0, Incarnation: 1}
	hash := f.st.Hash([]byte(key))
	before := f.st.Tail()
	if got := f.adoptHashed(hash+1, ts(1, 5, 0), key, "v", owner, true); got != AdoptSeed {
		t.Errorf("adopted with another hash: %d, want %d", got, AdoptSeed)
	}
	if _, ok := f.find(key); ok || f.st.Tail() != before || f.ForwardPending() != 0 {
		t.Errorf("found %v, tail from %d to %d, %d to roll forward", ok, before, f.st.Tail(), f.ForwardPending())
	}
	if got := f.adoptHashed(hash, ts(1, 5, 0), key, "v", owner, false); got != Adopted {
		t.Errorf("with the right one: %d", got)
	}
	f.want("after the right one", key, ts(1, 5, 0), "v", false)
}

// H13: a leftover that nobody else knows is rolled forward, never back; one
// that was settled by the buddy's record is not.
func TestLeftovers(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	f := r.nodes[2]
	for _, k := range []string{"nobody's", "settled", "superseded"} {
		f.adoptImage(ts(1, 5, 0), k, "v", f.self, true)
		f.forward.reset() // as found by Open, not by adoption
	}
	at := map[string]uint64{}
	for k := range map[string]bool{"nobody's": true, "settled": true, "superseded": true} {
		x, _ := f.find(k)
		at[k] = x.pos
	}
	f.adoptImage(ts(1, 5, 0), "settled", "v", proto.Member{Node: 0, Incarnation: 1}, false)
	f.adoptImage(ts(1, 6, 0), "superseded", "newer", proto.Member{Node: 0, Incarnation: 1}, false)
	for k, want := range map[string]bool{"nobody's": true, "settled": false, "superseded": false} {
		if got := f.Leftover(f.st.Hash([]byte(k)), at[k]); got != want {
			t.Errorf("%s: pending %v, want %v", k, got, want)
		}
	}
	r.settle()
	for i := range 3 {
		r.nodes[i].want("rolled forward", "nobody's", ts(1, 5, 0), "v", false)
	}
	if f.Counters.RolledForward != 1 {
		t.Errorf("%d rolled forward, want 1", f.Counters.RolledForward)
	}
}

// H30: roll-forward into a full ring is a cursor: it stops, applying goes on,
// and it ends when there is room, ahead of client writes.
func TestRollForwardIsACursor(t *testing.T) {
	small := usual
	small.ring = 1 << 12
	r := newRigOf(t, 3, proto.Synchronous, small)
	f := r.nodes[0]
	gone := r.nodes[2]
	n := 0
	for {
		if a, _ := gone.write(record.Put, name("k", n), "0123456789012345678901234567890123456789"); a != Taken {
			break
		}
		n++
	}
	r.stream(2, 0)
	filled := 0
	for {
		if a, _ := f.write(record.Put, name("own", filled), "0123456789"); a != Taken {
			break
		}
		filled++
	}
	r.nodes[2] = nil
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, r.view)
	r.install(1, r.view)
	if f.ForwardPending() != n || f.RollForward(1000) != 0 || f.ForwardPending() != n {
		t.Fatalf("%d of %d pending after a try with a full ring", f.ForwardPending(), n)
	}
	r.nodes[1].put("meanwhile", "v") // applying needs no space in the own ring
	if got, err := r.stream(1, 0); got == 0 || err != nil {
		t.Fatalf("applied %d bytes, %v", got, err)
	}
	r.settle()
	if f.ForwardPending() != 0 || int(f.Counters.RolledForward) != n {
		t.Errorf("%d pending, %d rolled forward of %d", f.ForwardPending(), f.Counters.RolledForward, n)
	}
	for i := range n {
		r.same(name("k", i))
	}
	if len(f.answers) != filled {
		t.Errorf("%d answers of %d writes", len(f.answers), filled)
	}
	t.Logf("%d records through a ring of %d bytes", n, small.ring)
}
