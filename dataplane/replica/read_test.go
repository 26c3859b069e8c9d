package replica

import (
	"fmt"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/rdma"
)

func (u *unit) waits(key string) (h Handle) {
	u.rig.t.Helper()
	h = u.handles
	if _, _, st := u.read(key); st != ReadWaits {
		u.rig.t.Fatalf("read of %q: state %d, want waiting", key, st)
	}
	return h
}

// answerOf is the value that was given to a read.
func (u *unit) answerOf(h Handle) (string, bool) {
	for _, a := range u.answers {
		if a.Handle == h && a.Pos != 0 {
			img := u.st.Record(a.Pos)
			if record.TS(img) != uint64(a.TS) {
				u.rig.t.Errorf("answer with %v names a record of %v", a.TS, proto.TS(record.TS(img)))
			}
			return string(record.Value(img)), true
		}
	}
	return "", false
}

func TestReadCells(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	c, f := r.nodes[0], r.nodes[1]
	if _, _, st := c.read("k"); st != ReadMissing {
		t.Errorf("unknown key: %d", st)
	}
	c.put("k", "v1")
	own := c.waits("k")
	r.stream(0, 1)
	there := f.waits("k")
	f.advance()
	if _, ok := f.answerOf(there); ok {
		t.Error("answered before VAL")
	}
	r.settle()
	for _, x := range []struct {
		u *unit
		h Handle
	}{{c, own}, {f, there}} {
		if v, ok := x.u.answerOf(x.h); !ok || v != "v1" {
			t.Errorf("node %d: read gave %q, %v", x.u.self.Node, v, ok)
		}
		if v, _, st := x.u.read("k"); st != ReadNow || v != "v1" {
			t.Errorf("node %d: %q, state %d", x.u.self.Node, v, st)
		}
	}
	// Cancelled: no answer comes, and only once it can be cancelled.
	c.put("k", "v2")
	h := c.waits("k")
	hash := c.st.Hash([]byte("k"))
	if !c.Cancel(hash, h) || c.Cancel(hash, h) {
		t.Error("cancel")
	}
	r.settle()
	if _, ok := c.answerOf(h); ok {
		t.Error("a cancelled read was answered")
	}
	// More than there is room for: busy, and after it all are answered.
	c.put("k", "v3")
	waiting := 0
	for {
		_, _, st := c.read("k")
		if st == ReadBusy {
			break
		}
		waiting++
	}
	n := len(c.answers)
	r.settle()
	if got := len(c.answers) - n - 1; got != waiting || waiting != 64 {
		t.Errorf("%d of %d waiting reads answered", got, waiting)
	}
}

// H26: a key that is written again before every VAL does not starve its
// readers: a read is answered with the first entry that becomes visible.
func TestHotKeyDoesNotStarveItsReaders(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	c, f := r.nodes[0], r.nodes[1]
	c.put("hot", "v0")
	r.stream(0, 1)
	for i := range 50 {
		h := f.waits("hot")
		want := fmt.Sprint("v", i)
		// The next write is applied everywhere before the VAL of this one comes.
		r.stream(0, 2)
		for _, u := range r.nodes {
			u.flush()
			u.advance()
		}
		r.marks(1, 0)
		r.marks(2, 0)
		c.advance()
		c.put("hot", fmt.Sprint("v", i+1))
		r.stream(0, 1)
		if x, _ := f.find("hot"); !x.Locked {
			t.Fatal("the key is not hot")
		}
		r.marks(0, 1)
		f.advance()
		if v, ok := f.answerOf(h); !ok || v != want {
			t.Fatalf("round %d: read gave %q, %v; want %q", i, v, ok, want)
		}
	}
}

// A read that waits is never answered with a write that its own client
// submitted after it, though that one becomes visible first.
func TestWaitingReadGivesWhatItFound(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	f := r.nodes[1]
	r.nodes[0].put("k", "from 0")
	end := r.nodes[0].out.Tail()
	r.stream(0, 1)
	h := f.waits("k")
	mine := f.put("k", "mine, submitted after the read")
	if mine <= ts(1, 1, 0) {
		t.Fatalf("%v", mine)
	}
	r.stream(0, 2)
	r.stream(1, 0)
	r.stream(1, 2)
	for _, u := range r.nodes { // node 0 hears nothing of the others
		u.flush()
		u.advance()
	}
	r.marks(0, 1)
	r.marks(2, 1)
	var stale rdma.Marks // node 0's line says nothing of its own stream yet
	r.nodes[0].OutMarks(1, &stale)
	if stale.Visible >= end {
		t.Fatal("the first write is visible already")
	}
	f.advance()
	f.want("the later write", "k", mine, "mine, submitted after the read", false)
	if v, ok := f.answerOf(h); !ok || v != "from 0" {
		t.Errorf("read gave %q, %v; want what it found", v, ok)
	}
	r.settle()
	r.same("k")
}

// Two keys with one hash bucket: a VAL answers the readers of its key only.
func TestWaitingReadsOfTwoKeysInOneBucket(t *testing.T) {
	r := newRig(t, 2, proto.Synchronous)
	c := r.nodes[0]
	bucket := func(k string) uint64 { return c.st.Hash([]byte(k)) % waiterBuckets }
	a, b := "a", ""
	for i := 0; b == ""; i++ {
		if k := name("b", i); bucket(k) == bucket(a) {
			b = k
		}
	}
	c.put(a, "of a")
	c.put(b, "of b")
	ha, hb, ha2 := c.waits(a), c.waits(b), c.waits(a)
	r.settle()
	for h, want := range map[Handle]string{ha: "of a", hb: "of b", ha2: "of a"} {
		if v, ok := c.answerOf(h); !ok || v != want {
			t.Errorf("read %d: %q, %v; want %q", h, v, ok, want)
		}
	}
	if c.waiters.count != 0 {
		t.Errorf("%d still wait", c.waiters.count)
	}
}

// Deletes: whether there was a value, and what is read afterwards.
func TestDelete(t *testing.T) {
	r := newRig(t, 3, proto.Strict)
	c := r.nodes[0]
	existed := func(u *unit, key string) bool {
		t.Helper()
		k := []byte(key)
		a, _, e := u.Write(record.Delete, u.st.Hash(k), k, nil, 0, true, NoHandle)
		if a != Taken && a != Absent {
			t.Fatalf("delete: admission %d", a)
		}
		return e
	}
	c.put("k", "v")
	r.settle()
	if !existed(r.nodes[1], "k") {
		t.Error("a key with a value did not exist")
	}
	r.settle()
	if existed(r.nodes[2], "k") {
		t.Error("a deleted key existed")
	}
	if existed(c, "never written") {
		t.Error("a key that was never written existed")
	}
	r.settle()
	for _, u := range r.nodes {
		if x, ok := u.find("k"); !ok || x.Value != "" || x.Locked {
			t.Errorf("node %d: %+v, known %v", u.self.Node, x, ok)
		}
		if _, ok := u.find("never written"); ok {
			t.Errorf("node %d keeps a tombstone of a key that was never there", u.self.Node)
		}
	}
}
