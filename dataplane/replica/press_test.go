package replica

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// One coordinator writes, the others are idle and keep what they were
// guaranteed. Its writes must find room as long as there is something to clean,
// and when nothing is left to guarantee, space must count as short: else a full
// pool refuses writes for ever beside space that a missed range holds. Found by
// redis-benchmark -t mset against the third of six nodes.
func TestIdleCoordinatorsDoNotStarveTheOther(t *testing.T) {
	const segment, segments = 2 << 20, 40
	r := newRigOf(t, 4, proto.Eventual, sizes{ring: 32 << 20, segment: segment, segments: segments, keys: 1 << 16})
	c := r.nodes[0]
	key, value := []byte("one key"), make([]byte, 60<<10)
	written, cleaned := 0, 0
	for ; written < 4*segments*segment; written += len(value) {
		a, _, _ := c.Write(record.Put, c.st.Hash(key), key, value, 0, true, NoHandle)
		if a != Taken {
			t.Fatalf("admission %d after %d MiB; sure are %d KiB", a, written>>20, c.st.SureBytes()>>10)
		}
		r.settle()
		for _, u := range r.nodes {
			if u.st.WantsCleaning() {
				cleaned += u.st.Clean(256<<10, u.CleanBounds(0), u.st.Flushed()).FreedSegments
			}
		}
	}
	if cleaned == 0 {
		t.Fatal("nothing was cleaned")
	}
	t.Logf("%d MiB written into %d MiB, %d segments cleaned", written>>20, segments*segment>>20, cleaned)

	// Nobody cleans, as below a missed range: space must be called short before
	// the writes end.
	for k := 0; !c.st.SpaceShort(); k++ {
		a, _, _ := c.Write(record.Put, c.st.Hash(key), key, value, 0, true, NoHandle)
		if a != Taken || k > segments*segment/len(value) {
			t.Fatalf("admission %d of write %d, and space is not short: sure are %d KiB", a, k, c.st.SureBytes()>>10)
		}
		r.settle()
	}
}
