package pmem

import (
	"errors"
	"testing"
)

// A heap medium is opened again as a file is: after a clean end, after a
// process crash with its index, after a power loss without.
func TestHeapMedium(t *testing.T) {
	o := testFormat("", "", DomainMemory)
	o.SegmentBytes, o.MaxKeys = 4096, 100
	o.SizeBytes = dataOffset + 8*4096
	m := &HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{7}}
	if err := FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	for life := range uint64(6) {
		if life == 3 {
			m.BootID[0]++
		}
		p, err := m.Open(o.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if r := p.Recovered(); r.Kept != (life != 0 && life != 3) {
			t.Errorf("life %d: index kept %v: %s", life, r.Kept, r.Why)
		}
		for i := range int(life) {
			check(t, p, i, uint64(i+1), i == 4) // the fourth life left without a flush
		}
		begin(t, p, uint32(life+1))
		p.SetStable(p.log.Tail())
		put(p, int(life), life+1, false)
		if life != 4 {
			p.SetStable(p.log.Tail())
			closePool(t, p, true)
		}
	}
	o.Node++
	if _, err := m.Open(o.Identity); !errors.Is(err, ErrForeign) {
		t.Errorf("another node's: %v", err)
	}
	o.SegmentBytes = 1000
	if err := FormatHeap(o, m); !errors.Is(err, ErrOptions) {
		t.Errorf("segments of 1000 bytes: %v", err)
	}
}
