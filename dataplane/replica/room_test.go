package replica

import (
	"math/rand/v2"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// H28, as a property: whatever the coordinators write, whoever asks first and
// whatever the cleaner gives back, what a follower has guaranteed to all of
// them together is free in its log, the deletes' reserve not counted; so no
// entry that its coordinator was allowed to send ever finds the log full.
func TestRoomNeverExceedsFreeSpace(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	stalled, refused, written, low := uint64(0), 0, 0, 0
	for seed := range uint64(rounds) {
		rnd := rand.New(rand.NewPCG(seed, 21))
		z := sizes{ring: 1 << 18, segment: 1 << 15, segments: 40 + rnd.IntN(60), keys: 20_000}
		r := newRigOf(t, 2+rnd.IntN(3), proto.Synchronous, z)
		value := make([]byte, 2000)
		keys := 100 + rnd.IntN(1500)
		for range 400 {
			u := r.nodes[rnd.IntN(len(r.nodes))]
			switch rnd.IntN(4) {
			case 0, 1: // a burst of writes of any sizes
				for range rnd.IntN(60) {
					key := []byte(name("key", rnd.IntN(keys)))
					switch a, _, _ := u.Write(record.Put, u.st.Hash(key), key, value[:rnd.IntN(len(value))], 0, true, NoHandle); a {
					case Taken:
						written++
					case NoRoom, RingFull:
						refused++
					default:
						t.Fatalf("admission %d", a)
					}
				}
			case 2: // somebody takes in some of it
				for range 3 {
					i, j := rnd.IntN(len(r.nodes)), rnd.IntN(len(r.nodes))
					if i != j {
						if _, err := r.stream(i, j); err != nil {
							t.Fatal(err)
						}
						r.marks(j, i)
						r.marks(i, j)
					}
				}
			case 3:
				u.flush()
				u.advance()
				if rnd.IntN(2) == 0 {
					u.st.Clean(1<<rnd.IntN(17), u.CleanBounds(0), u.st.Flushed())
				}
				r.each(r.marks)
			}
			for _, u := range r.nodes {
				u.advance()
				free := u.st.FreeBytes()
				promised := uint64(0)
				for m := u.view.Members().Without(u.self.Node); m != 0; m &= m - 1 {
					st := &u.streams[first(m)]
					promised += st.limit - min(st.limit, st.applied)
				}
				promised += u.limit - min(u.limit, u.out.Tail())
				if promised > free {
					t.Fatalf("seed %d: node %d has promised %d bytes, %d are free", seed, u.self.Node, promised, free)
				}
				if free < 2*uint64(len(r.nodes))*deleteReserve+1<<17 {
					low++
				}
			}
		}
		r.settle()
		for _, u := range r.nodes {
			stalled += u.Counters.StalledNoSpace
		}
	}
	if stalled != 0 {
		t.Errorf("%d entries found no space though there was room for them", stalled)
	}
	if refused == 0 || low == 0 {
		t.Errorf("never short of space: %d writes refused, %d looks at a log that is nearly full", refused, low)
	}
	t.Logf("%d rounds, %d writes, %d refused, %d looks at a log that is nearly full", rounds, written, refused, low)
}

// A full pool refuses puts and takes deletes, at every member, and deletes make
// room again.
func TestDeletesFindRoomInAFullPool(t *testing.T) {
	r := newRigOf(t, 3, proto.Synchronous, sizes{ring: 1 << 18, segment: 1 << 15, segments: 80, keys: 20_000})
	c := r.nodes[0]
	value := make([]byte, 500)
	n := 0
	for full := false; !full; {
		for range 50 {
			key := []byte(name("key", n))
			a, _, _ := c.Write(record.Put, c.st.Hash(key), key, value, 0, true, NoHandle)
			if a == NoRoom {
				full = true
				break
			}
			if a == Taken {
				n++
			}
		}
		r.settle()
		if n > 20_000 {
			t.Fatal("never full")
		}
	}
	for range 20 { // whatever the cleaner can gain, it has
		for _, u := range r.nodes {
			u.st.Clean(1<<20, u.CleanBounds(0), u.st.Flushed())
		}
		r.settle()
	}
	// All deletes are taken, from the reserve until the cleaner catches up.
	for i := range n {
		for tries := 0; ; tries++ {
			if a, _ := c.write(record.Delete, name("key", i), ""); a == Taken {
				break
			} else if tries > 50 {
				t.Fatalf("delete %d of %d: admission %d", i, n, a)
			}
			r.settle()
			for _, u := range r.nodes {
				u.st.Clean(1<<16, u.CleanBounds(0), u.st.Flushed())
			}
			r.settle()
		}
	}
	for range 200 {
		for _, u := range r.nodes {
			u.st.Clean(1<<20, u.CleanBounds(0), u.st.Flushed())
		}
		r.settle()
	}
	if a, _ := c.write(record.Put, "new", string(value)); a != Taken {
		t.Errorf("after all deletes: admission %d, %d bytes free", a, c.st.FreeBytes())
	}
	t.Logf("%d keys until full, all deleted", n)
}
