package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// damage flips a bit of the node's record of a key.
func (u *unit) damage(key string, at int) (pos uint64) {
	u.rig.t.Helper()
	var e store.Entry
	u.st.Find(&e, u.st.Hash([]byte(key)), []byte(key))
	if !e.OK {
		u.rig.t.Fatalf("%q is not there", key)
	}
	u.st.Record(e.Pos)[at] ^= 2
	return e.Pos
}

const inTimestamp, inBody = 10, record.HeaderBytes + 1

// A coordinator whose record of a key has lost its timestamp refuses writes: one
// it chose could be older than what the members hold. Where the timestamp
// stands, the write is newer and cures.
func TestDamagedAtTheCoordinator(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	for range 3 {
		r.nodes[0].put("k", "value")
		r.settle()
	}
	c := r.nodes[0]
	c.damage("k", inTimestamp)
	if a, _ := c.write(record.Put, "k", "newer"); a != Hurt {
		t.Fatalf("admission %d over a lost timestamp", a)
	}
	if a, _ := c.write(record.Delete, "k", ""); a != Hurt {
		t.Fatalf("admission %d of a delete over a lost timestamp", a)
	}
	if _, _, st := c.read("k"); st != ReadHurt {
		t.Fatalf("read: %d", st)
	}
	other := r.nodes[1]
	other.damage("k", inBody)
	a, at := other.write(record.Put, "k", "newer")
	if a != Taken || at.Version() != 4 {
		t.Fatalf("admission %d at %v over a damaged value", a, at)
	}
	r.settle()
	other.want("cured", "k", at, "newer", false)
	if got := c.st.TakeDamaged(nil, 10); len(got) != 1 || got[0].Sound() {
		t.Fatalf("queued: %+v", got)
	}
	if c.Counters.Hurt != 2 {
		t.Fatalf("%d refused", c.Counters.Hurt)
	}
}

// A buddy's record equal to the own takes its place if that is damaged.
func TestAdoptedOverDamage(t *testing.T) {
	owner := proto.Member{Node: 0, Incarnation: 1}
	_, f := away(t, func(r *rig) {})
	if a := f.adoptImage(ts(1, 1, 0), "k", "v", owner, false); a != Adopted {
		t.Fatal(a)
	}
	if a := f.adoptImage(ts(1, 1, 0), "k", "v", owner, false); a != AdoptSame {
		t.Fatal(a)
	}
	f.damage("k", inBody)
	if a := f.adoptImage(ts(1, 1, 0), "k", "v", owner, false); a != Adopted {
		t.Fatalf("over the damaged one: %d", a)
	}
	f.want("adopted again", "k", ts(1, 1, 0), "v", false)
}

// A damaged record is not rolled forward into the members' logs.
func TestDamagedIsNotRolledForward(t *testing.T) {
	r := newRig(t, 3, proto.Synchronous)
	r.nodes[2].put("k", "value")
	r.stream(2, 0)
	r.stream(2, 1)
	r.nodes[0].damage("k", inBody)
	r.nodes[2] = nil
	r.view = r.view.Next(r.view.Live.Without(2), 0)
	r.install(0, r.view)
	r.install(1, r.view)
	r.settle()
	if n := r.nodes[0].Counters.ForwardHurt; n != 1 {
		t.Fatalf("%d damaged records met in the roll-forward", n)
	}
	for i := range 2 { // node 1 has rolled it forward
		r.nodes[i].want("rolled forward by the other", "k", ts(1, 1, 2), "value", false)
	}
}
