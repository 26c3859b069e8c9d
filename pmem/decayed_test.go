package pmem

import (
	"encoding/binary"
	"testing"
)

// TestIndexPageAndLogDamaged: a page of a kept index does not verify, and neither
// does the log that it would be made of. The index is made anew of what there is,
// and the pool says that keys may be missing; nothing ends the program.
func TestIndexPageAndLogDamaged(t *testing.T) {
	m := &HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{1}}
	o := FormatOptions{Identity: Identity{Shards: 1}, SizeBytes: dataOffset + 1<<20, SegmentBytes: 64 << 10, MaxKeys: 4000}
	if err := FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	p, err := m.Open(o.Identity)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, p, 1)
	var at [1500]uint64
	for i := range at {
		at[i] = put(p, i, 1, false)
	}
	p.SetStable(p.Store().Tail())
	flush(t, p)
	if p, err = m.Open(o.Identity); err != nil || !p.Recovered().Kept {
		t.Fatalf("%v, %+v", err, p)
	}
	begin(t, p, 2)
	flush(t, p)
	hit := false
	for off := 0; off+8 <= len(m.Index) && !hit; off += 8 {
		if w := binary.NativeEndian.Uint64(m.Index[off:]); w != 0 && w&(1<<48-1) == at[2]>>4 {
			m.Index[off+7] ^= 4
			hit = true
		}
	}
	if !hit {
		t.Fatal("no word of the index leads to the record")
	}
	p.Store().Record(at[3])[9] ^= 1
	if p, err = m.Open(o.Identity); err != nil {
		t.Fatal(err)
	}
	r := p.Recovered()
	t.Log(r.Why)
	if r.Kept || r.Doubtful == "" {
		t.Fatalf("%+v", r)
	}
	begin(t, p, 3)
	put(p, 2, 2, false)
	flush(t, p)
}
