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

// After a failed flush nothing is known about what was in flight. One copy of
// the superblock stays as it was, whatever is asked of the pool afterwards (P3).
func TestFailedFlushLeavesACopy(t *testing.T) {
	for _, inFlight := range []bool{false, true} {
		o := testFormat("", "", DomainMemory)
		o.SegmentBytes, o.MaxKeys = 4096, 100
		o.SizeBytes = dataOffset + 8*4096
		var media [2 * superBytes]byte
		m := &HeapMedium{BootID: [16]byte{1}}
		if err := FormatHeap(o, m); err != nil {
			t.Fatal(err)
		}
		if inFlight {
			m.SuperEvery = 1
		}
		fails := errors.New("input/output error")
		var answer error
		m.Watch = func(r *Region) {
			r.SetSyncHook(func() error {
				if answer == nil {
					copy(media[:], m.Pool)
				}
				return answer
			})
		}
		p, err := m.Open(o.Identity)
		if err != nil {
			t.Fatal(err)
		}
		begin(t, p, 1)
		put(p, 1, 1, false)
		flush(t, p)
		put(p, 1, 2, false)
		answer = fails
		for range 3 {
			if err := p.Flush(); !errors.Is(err, ErrFlush) {
				t.Fatal(err)
			}
			if err := p.WriteSuperblock(func(*Super) {}); !errors.Is(err, ErrFlush) {
				t.Fatal(err)
			}
		}
		same := 0
		for i := range 2 {
			if string(media[i*superBytes:(i+1)*superBytes]) == string(m.Pool[i*superBytes:(i+1)*superBytes]) {
				same++
			}
		}
		if same != 1 {
			t.Errorf("in flight %v: %d copies are as on the medium, want one", inFlight, same)
		}
		if s, _, err := readSuper(m.Pool, nil); err != nil || !s.FailedFlush {
			t.Errorf("in flight %v: %+v, %v", inFlight, s, err)
		}
	}
}

// What the last process of this boot wrote to the superblock and did not drain
// is made durable before the open relies on it (H21).
func TestOpenFlushesTheSuperblockFirst(t *testing.T) {
	o := testFormat("", "", DomainMemory)
	o.SegmentBytes, o.MaxKeys = 4096, 100
	o.SizeBytes = dataOffset + 8*4096
	m := &HeapMedium{BootID: [16]byte{1}}
	if err := FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	p, err := m.Open(o.Identity)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, p, 1)
	put(p, 1, 1, false)
	before := string(m.Pool)
	drained := false
	m.Watch = func(r *Region) {
		flushed := 0
		r.SetFlushHook(func(off, n int) {
			if off < SuperBytes {
				flushed += n
			}
		})
		r.SetSyncHook(func() error {
			if !drained && (flushed != SuperBytes || string(m.Pool) != before) {
				t.Errorf("the first drain: %d bytes of superblock flushed, pool changed %v", flushed, string(m.Pool) != before)
			}
			drained = true
			return nil
		})
	}
	if _, err := m.Open(o.Identity); err != nil || !drained {
		t.Fatal(err, drained)
	}
}
