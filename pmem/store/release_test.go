package store

import (
	"math/rand/v2"
	"testing"
)

// What a checkpoint refers to stays until a later one is in force.
func TestReleaseBound(t *testing.T) {
	m := makeStore(t, 16, 4096, 100)
	model, r := map[int]known{}, rand.New(rand.NewPCG(1, 5))
	m.SetReleaseBound(0)
	for m.log.FreeSegments() > 4 {
		m.put(r, model, r.IntN(5), 100, false)
	}
	freed := func() (n int) {
		for range 50 {
			m.SetFlushed(m.Tail())
			n += m.Clean(4096, Upto(m.Tail()), m.Flushed()).FreedSegments
		}
		return n
	}
	if n := freed(); n != 0 || m.clean.waiting == 0 {
		t.Fatalf("%d segments released above the bound, %d wait", n, m.clean.waiting)
	}
	at := m.clean.queue[0].tail
	if pos, waits := m.ReleaseWaits(); !waits || pos != at {
		t.Errorf("waits for %d (%v), want %d", pos, waits, at)
	}
	m.SetReleaseBound(at - 16)
	if n := freed(); n != 0 {
		t.Errorf("%d segments released by an earlier checkpoint", n)
	}
	m.SetReleaseBound(at)
	if n := freed(); n == 0 {
		t.Error("the bound has come to a segment, and it was not released")
	}
	m.SetReleaseBound(^uint64(0))
	freed()
	if _, waits := m.ReleaseWaits(); waits || m.clean.waiting != 0 {
		t.Errorf("without a bound %d segments wait", m.clean.waiting)
	}
	if err := m.compare(model); err != nil {
		t.Error(err)
	}
}
