package pmem

import (
	"testing"

	"healkv/pmem/record"
)

// Where missed ranges begin stands in the newest marker: without it nobody may
// be served one, and the pool is doubtful.
func TestDamagedMarker(t *testing.T) {
	for _, at := range []int{9, record.HeaderBytes + 2, -1} { // header, body, body and another record's header
		for _, boot := range []byte{1, 2} {
			m := &HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{1}}
			o := FormatOptions{Identity: Identity{Shards: 1}, SizeBytes: dataOffset + 64<<10, SegmentBytes: 8 << 10, MaxKeys: 100}
			if err := FormatHeap(o, m); err != nil {
				t.Fatal(err)
			}
			p, err := m.Open(o.Identity)
			if err != nil {
				t.Fatal(err)
			}
			begin(t, p, 1)
			put(p, 1, 1, false)
			first := appendMarker(p, 4)
			second := p.Store().Tail()
			put(p, 2, 1, false)
			newest := appendMarker(p, 5)
			put(p, 3, 1, false)
			p.SetStable(p.Store().Tail())
			flush(t, p)
			if err := p.WriteSuperblock(func(s *Super) { s.ViewEpoch = 5 }); err != nil {
				t.Fatal(err)
			}
			if at < 0 {
				p.Store().Record(second)[9] ^= 1
				p.Store().Record(newest)[record.HeaderBytes+2] ^= 1
			} else {
				p.Store().Record(newest)[at] ^= 1
			}
			m.BootID = [16]byte{boot}
			if p, err = m.Open(o.Identity); err != nil {
				t.Fatal(err)
			}
			r := p.Recovered()
			if r.Doubtful == "" || r.LostThrough != 6 || r.LastMarker == newest {
				t.Fatalf("byte %d, boot %d: %+v; markers at %d, %d", at, boot, r, first, newest)
			}
			begin(t, p, 2)
			if s := p.Super(); s.LostThrough != 6 {
				t.Fatalf("written: lost through %d", s.LostThrough)
			}
			m.BootID = [16]byte{3} // that life ended before the pool was compared
			if p, err = m.Open(o.Identity); err != nil {
				t.Fatal(err)
			}
			if r := p.Recovered(); r.Doubtful == "" || r.LostThrough != 6 {
				t.Fatalf("byte %d, boot %d, opened again: %+v", at, boot, r)
			}
		}
	}
}

func appendMarker(p *Pool, epoch uint32) uint64 {
	h := record.Header{Kind: record.Marker, Epoch: epoch, Seq: p.Store().Tail()}
	return p.Store().AppendMarker(&h, []byte("where views begin"))
}
