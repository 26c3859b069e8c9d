package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// Space is guaranteed in bytes, before anybody knows how large the records
// will be that fill it. The first large ones leave the ends of segments empty:
// what was guaranteed must fit all the same, or the follower's streams stand
// still, and the deletes that would make room stand in them (H28). Found by
// `node chaos --seed 2`, round 4, pool-full.
func TestRoomHoldsForTheFirstLargeRecords(t *testing.T) {
	r := newRigOf(t, 4, proto.Eventual, sizes{ring: 8 << 20, segment: 4 << 20, segments: 10, keys: 1 << 20})
	key := func(n int) []byte { return []byte(name("key", n)) }
	small, large := make([]byte, 100), make([]byte, record.ValueBytesMax)
	for n := range 300 {
		r.nodes[n%4].Write(record.Put, r.nodes[0].st.Hash(key(n)), key(n), small, 0, true, NoHandle)
	}
	r.settle()
	written, refused := 0, 0
	for n := 300; refused < len(r.nodes); n++ {
		refused = 0
		for _, c := range r.nodes {
			switch a, _, _ := c.Write(record.Put, c.st.Hash(key(n)), key(n), large, 0, true, NoHandle); a {
			case Taken:
				written++
			case NoRoom:
				refused++
			case RingFull:
			default:
				t.Fatalf("admission %d", a)
			}
		}
		r.settle() // room is for one such record at a time
	}
	if written < 9 {
		t.Fatalf("only %d large records went into 10 segments of 4 MiB", written)
	}
	for _, u := range r.nodes {
		if u.Counters.StalledNoSpace != 0 {
			t.Errorf("node %d: %d entries found no space though there was room for them", u.self.Node, u.Counters.StalledNoSpace)
		}
		if a, _ := u.write(record.Delete, string(key(0)), ""); a != Taken && a != Absent {
			t.Errorf("node %d takes no delete in a full pool: admission %d", u.self.Node, a)
		}
		r.settle()
	}
	t.Logf("%d large records until full", written)
}
