package seglog

import (
	"testing"

	"healkv/pmem/record"
)

// A power loss left a hole: what stands behind it, whole as it is, was never
// acknowledged. Its segments go, in the arena too, and their numbers are not
// used again, or a record of them would verify at its old position.
func TestSegmentsBehindTheEndAreDropped(t *testing.T) {
	c := config(8, 1024, 1)
	l := Format(c)
	value := make([]byte, 300)
	put := func(l *Log) uint64 {
		h := record.Header{TS: 1, Kind: record.Put}
		return l.Append(&h, []byte("k"), value)
	}
	durable := put(l)
	var last uint64
	for range 9 {
		last = put(l)
	}
	// The second record is lost.
	at, _ := l.ArenaOffset(durable)
	clear(c.Arena[at+int64(record.Bytes(1, 300)):][:record.HeaderBytes])
	r, info, err := Recover(c, 0, 0)
	if err != nil || info.Dropped < 2 || info.Records != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	headers := 0
	for i := range r.segs {
		if h := readSegmentHeader(r.place(i), i, c.PoolTag, c.SegmentBytes); h.state != headerFree {
			headers++
		}
	}
	if headers != info.Segments {
		t.Errorf("%d segment headers stand in the arena, %d segments are live", headers, info.Segments)
	}
	if pos := put(r); pos>>r.shift <= last>>r.shift {
		t.Errorf("appended at %d after records up to %d were dropped", pos, last)
	}
}
