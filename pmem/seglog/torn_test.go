package seglog

import (
	"testing"

	"healkv/pmem/record"
)

// TestOlderOfTwoUnflushedHeadersTorn: two segments were begun since the last
// flush, and a power loss left the newer one's header whole and the older one's
// torn. What was durable is there; the rest is a torn end, not damage.
func TestOlderOfTwoUnflushedHeadersTorn(t *testing.T) {
	const segment, count = 64 << 10, 8
	arena := make([]byte, segment*count)
	c := Config{Arena: arena, SegmentBytes: segment, PoolTag: 7, Incarnation: 1}
	l := Format(c)
	value := make([]byte, 1000)
	put := func() uint64 {
		h := record.Header{TS: 1, Kind: record.Put}
		return l.Append(&h, []byte("k"), value)
	}
	put()
	durable := l.Tail()
	for l.Tail()>>16 < durable>>16+2 {
		put()
	}
	place := l.lookup((durable>>16 + 1) << 16)
	clear(arena[place*segment+16 : place*segment+64])
	r, info, err := Recover(c, durable, 0)
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	if info.Tail < durable || info.Tail > (durable>>16+1)<<16 {
		t.Fatalf("tail %d, durable %d", info.Tail, durable)
	}
	t.Logf("durable %d, tail %d, %+v", durable, r.Tail(), info)
}
