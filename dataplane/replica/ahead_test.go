package replica

import (
	"bytes"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// What is looked at ahead never leads beyond the window, whatever stands there,
// and a stream that goes on elsewhere is looked at from there.
func TestLookAhead(t *testing.T) {
	s := newRig(t, 2, proto.Synchronous).nodes[0].Shard
	image := func(at uint64) []byte {
		img := make([]byte, record.Bytes(3, 100))
		record.Encode(img, &record.Header{Kind: record.Put, Hash: at}, []byte("key"), make([]byte, 100), record.Seed(at, 1))
		return img
	}
	size := uint64(record.Bytes(3, 100))
	const from = 1 << 20
	var w []byte
	for i := range uint64(2 * burstAhead) {
		w = append(w, image(from+i*size)...)
	}
	w = append(w, bytes.Repeat([]byte{0xff}, 4*record.HeaderBytes)...) // a skip mark, and what was there before
	end := from + uint64(len(w))

	var a ahead
	for cursor := uint64(from); cursor < from+2*burstAhead*size; cursor += size {
		s.goOn(&a, w[cursor-from:], cursor)
		if a.low > cursor || cursor >= a.records || a.records > a.keys || a.keys > end {
			t.Fatalf("at %d of %d: records through %d, keys through %d, from %d on", cursor-from, len(w), a.records-from, a.keys-from, a.low-from)
		}
	}
	if a.keys != end {
		t.Errorf("asked through %d of %d", a.keys-from, len(w))
	}
	for _, elsewhere := range []uint64{0, from - size, end + 1<<30} {
		s.goOn(&a, w[:3*size], elsewhere)
		if a.low != elsewhere || a.records != elsewhere+3*size {
			t.Errorf("at %d: from %d through %d", elsewhere, a.low, a.records)
		}
	}
}
