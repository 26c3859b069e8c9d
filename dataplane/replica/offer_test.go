package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// A coordinator that dies between Offer and Keep leaves a record with those who had
// its stream by then, with all of them or with some, and none in its own log: they
// roll it forward.
func TestOfferedByWhoDied(t *testing.T) {
	for _, heard := range []int{0, 1, 2} {
		r := newRig(t, 3, proto.Synchronous)
		gone := r.nodes[0]
		old := gone.put("k", "old")
		r.settle()
		key := []byte("k")
		a, w, existed := gone.Offer(record.Put, gone.st.Hash(key), key, []byte("new"), 0, true, 99)
		if a != Taken || !existed || w <= old {
			t.Fatalf("offered: %d, %v after %v, existed %v", a, w, old, existed)
		}
		gone.want("what the owner died with", "k", old, "old", false)
		for to := 1; to <= heard; to++ {
			if n, err := r.stream(0, to); n == 0 || err != nil {
				t.Fatalf("%d bytes to %d, %v", n, to, err)
			}
			r.nodes[to].want("offered", "k", w, "new", true)
		}
		r.nodes[0] = nil
		r.view = r.view.Next(r.view.Live.Without(0), 0)
		r.install(1, r.view)
		r.install(2, r.view)
		r.settle()
		r.same("k")
		if heard > 0 {
			r.nodes[2].want("rolled forward", "k", w, "new", false)
		} else {
			r.nodes[2].want("heard by nobody", "k", old, "old", false)
		}
	}
}

// Nothing may come between the two.
func TestOfferThenKeep(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	u := r.nodes[0]
	key := []byte("k")
	a, w, _ := u.Offer(record.Put, u.st.Hash(key), key, []byte("v"), 0, true, 0)
	if a != Taken {
		t.Fatal(a)
	}
	if n, err := r.stream(0, 1); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	u.Keep()
	u.want("kept", "k", w, "v", true)
	r.settle()
	r.same("k")
	defer func() {
		if recover() == nil {
			t.Error("a second entry between Offer and Keep went unnoticed")
		}
	}()
	u.Offer(record.Put, u.st.Hash(key), key, []byte("v2"), 0, true, 1)
	u.out.Next(64)
	u.Keep()
}
