package pmem

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/sched"
)

// flusher is the thread that waits for the disk, in the file domain. A flush
// every millisecond or less is too many for Go's scheduler to be asked about
// each: a goroutine that is woken through a channel, and waited for by others
// once it is in its system call, takes as much processor time as the flush.
type flusher struct {
	state atomic.Uint32 // what it sleeps on: flusherIdle
	job   func()        // written before state becomes flusherWork
	ended chan struct{}
}

const (
	flusherIdle = iota
	flusherWork
	flusherEnd

	// flusherName is the thread's, as the kernel shows it.
	flusherName = "hk-flush"
	// flusherShow is how often a thread that is in system calls only calls the Go
	// scheduler: once it has not for 10 ms, the runtime's monitor takes it for one
	// that hangs, and its processor away in each of them.
	flusherShow = 5 * time.Millisecond
)

// fly makes the pool's drains run on a thread of their own.
func (p *Pool) fly() {
	f := &flusher{ended: make(chan struct{})}
	p.flusher = f
	p.later = func(job func()) { // one at a time
		f.job = job
		f.state.Store(flusherWork)
		wakeWord(&f.state)
	}
	go f.run()
}

func (f *flusher) run() {
	defer close(f.ended)
	runtime.LockOSThread()
	_ = os.WriteFile("/proc/thread-self/comm", []byte(flusherName), 0) // it costs only the name that this fails
	// A worker waits for what little it does before the disk and behind it.
	sched.Prompt()
	shown := time.Now()
	for {
		switch f.state.Load() {
		case flusherIdle:
			sleepOnWord(&f.state, flusherIdle)
		case flusherWork:
			// Before the job: whoever waits for its end may post the next one.
			late := plant.Is(plant.FlusherDropsNext)
			if !late && !f.state.CompareAndSwap(flusherWork, flusherIdle) {
				continue
			}
			f.job()
			if late {
				f.state.CompareAndSwap(flusherWork, flusherIdle)
			}
			if now := time.Now(); now.Sub(shown) > flusherShow {
				shown = now
				runtime.Gosched()
			}
		default:
			return
		}
	}
}

// land ends the thread; a drain under way is waited for.
func (p *Pool) land() {
	f := p.flusher
	if f == nil {
		return
	}
	left := f.state.Swap(flusherEnd)
	wakeWord(&f.state)
	if !plant.Is(plant.FlusherAbandoned) {
		<-f.ended
	}
	if left == flusherWork && !plant.Is(plant.FlusherLeaves) {
		f.job()
	}
	p.mu.Lock()
	p.flusher, p.later = nil, nil
	p.mu.Unlock()
}
