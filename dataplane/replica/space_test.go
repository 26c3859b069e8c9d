package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// A shadow's stable position stays until its promotion, and all that it takes
// in comes to lie above. What supersedes itself there is cleaned, or a shadow
// under writes would have room for its pool's size of them; after a crash all
// that is left of it is to be settled, as if nothing had been moved.
func TestShadowCleansAboveItsStablePosition(t *testing.T) {
	z := sizes{ring: 1 << 18, segment: 1 << 15, segments: 80, keys: 20_000}
	r := newRigOf(t, 3, proto.Synchronous, z)
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
	r.settle()
	c, s := r.nodes[0], r.nodes[2]
	value := make([]byte, 1000)
	wrote, freed, moved := 0, 0, 0
	key := func(i int) []byte { return []byte(name("key", i)) }
	for i := 0; wrote < 4*z.segment*z.segments; i++ {
		k := key(i % 300)
		if i%50 == 0 {
			k = key(1000 + i/50%100) // seldom written: it is moved
		}
		switch a, _, _ := c.Write(record.Put, c.st.Hash(k), k, value, 0, true, NoHandle); a {
		case Taken:
			wrote += record.Bytes(len(k), len(value))
		case NoRoom, RingFull:
		default:
			t.Fatalf("admission %d", a)
		}
		if i%20 != 0 {
			continue
		}
		r.settle()
		for _, u := range r.nodes {
			for range 4 {
				x := u.st.Clean(1<<16, u.CleanBounds(0), u.st.Flushed())
				if u == s {
					freed, moved = freed+x.FreedSegments, moved+x.MovedRecords
				}
				u.flush()
			}
			u.advance()
		}
		if i > 1_000_000 {
			t.Fatalf("%d bytes written, %d segments freed at the shadow: it has no room", wrote, freed)
		}
	}
	if s.StablePos() != 0 || freed == 0 || moved == 0 {
		t.Errorf("stable %d, %d segments freed, %d records moved", s.StablePos(), freed, moved)
	}
	seen := 0
	err := s.st.Log().Scan(0, s.st.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
		if seen++; h.Flags&record.FlagRelocated != 0 && h.Kind != record.Marker {
			t.Errorf("the record at %d says that it is durable everywhere", pos)
		}
		return !t.Failed()
	})
	if err != nil || seen == 0 {
		t.Errorf("%d records in the log: %v", seen, err)
	}
	t.Logf("%d bytes written, %d segments freed and %d records moved at the shadow", wrote, freed, moved)
}
