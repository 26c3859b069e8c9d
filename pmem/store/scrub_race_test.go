package store

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// The scrubber goes round while the worker writes, cleans and frees, and finds
// nothing that is not damaged.
func TestScrubBesideTheWorker(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	m := makeStore(t, 16, 4096, 1000)
	model := map[int]known{}
	m.put(r, model, 1, 60, false)
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		x := m.NewScrubber()
		defer x.Close()
		for !stop.Load() {
			if _, err := x.Step(2000); err != nil {
				t.Error(err)
				return
			}
		}
	})
	freed := 0
	for m.Scrubbed().Laps < 20 || freed < 50 {
		if m.Fits(400) {
			m.put(r, model, r.IntN(40), 20+r.IntN(150), r.IntN(9) == 0)
		}
		m.SetFlushed(m.Tail())
		res := m.Clean(2048, Upto(m.Tail()), m.Flushed())
		if res.Err != nil {
			t.Error(res.Err)
			break
		}
		freed += res.FreedSegments
	}
	stop.Store(true)
	done.Wait()
	if c := m.Scrubbed(); c.Hurt != 0 || c.Headers != 0 || m.Damage().Found != 0 {
		t.Fatalf("%+v, %+v", c, m.Damage())
	}
	t.Logf("%+v, %d segments freed meanwhile", m.Scrubbed(), freed)
}
