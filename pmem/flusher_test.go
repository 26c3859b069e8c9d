package pmem

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// A worker hears of a flush's end within the flusher's job, and may post the
// next one before that has returned.
func TestFlusherTakesEveryJob(t *testing.T) {
	var p Pool
	p.fly()
	first, ran := make(chan struct{}), 0
	p.later(func() {
		p.later(func() { ran++ })
		close(first)
	})
	<-first
	for p.flusher.state.Load() != flusherIdle { // until it has taken the second one
		runtime.Gosched()
	}
	if p.land(); ran != 1 {
		t.Errorf("the second job ran %d times", ran)
	}
}

// The end waits for the job under way, and does the one that is left.
func TestFlusherEnds(t *testing.T) {
	var p Pool
	p.fly()
	f := p.flusher
	begun := make(chan struct{})
	var left, over, early atomic.Bool
	p.later(func() {
		close(begun)
		for f.state.Load() != flusherEnd {
			runtime.Gosched()
		}
		for range 10_000 { // time to go too early
			if over.Load() {
				early.Store(true)
				break
			}
			runtime.Gosched()
		}
	})
	<-begun
	p.later(func() { left.Store(true) })
	p.land()
	over.Store(true)
	<-f.ended
	if early.Load() {
		t.Error("the end did not wait for the job under way")
	}
	if !left.Load() {
		t.Error("the job that was left was not done")
	}
}
