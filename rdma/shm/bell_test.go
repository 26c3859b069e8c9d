package shm

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/rdma"
)

// Ringing the bell of somebody awake makes no system call; of a sleeper, one
// for all that is published until it has woken.
func TestSystemCallsOfWaking(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
		pairUp(t, a, b)
		a.Feed(1, 0)
		var m rdma.Marks
		news := func() {
			m.Visible++
			a.PublishMarks(1, &m)
			a.WakePeers()
			b.Wake()
		}
		for range 1000 {
			news()
		}
		if a.Counters().Wakes != 0 || b.Counters().SelfWakes != 0 {
			t.Fatalf("system calls for an awake peer: %+v %+v", a.Counters(), b.Counters())
		}
		b.PrepareSleep()
		a.WakePeers() // nothing was published
		if a.Counters().Wakes != 0 {
			t.Fatal("woken without news")
		}
		for range 1000 {
			news()
		}
		b.Sleep(-1)
		for range 1000 {
			news()
		}
		if got := a.Counters().Wakes + b.Counters().SelfWakes; got != 1 {
			t.Fatalf("%d system calls for one sleep, want 1", got)
		}
		b.PrepareSleep()
		b.CancelSleep()
		news()
		if got := a.Counters().Wakes + b.Counters().SelfWakes; got != 1 {
			t.Fatal("system call after CancelSleep")
		}
	})
}

// S4: a waker that was killed between any two of its steps leaves a bell that
// the next one rings.
func TestKilledWaker(t *testing.T) {
	steps := []func(b *bellLine){
		func(b *bellLine) { b.sleeping.Load() },
		func(b *bellLine) { b.rung.Load() },
		func(b *bellLine) { b.word.Add(1) },
	}
	for killed := range len(steps) + 1 {
		for _, early := range []bool{true, false} {
			var line bellLine
			s := sleeper{line: &line}
			s.prepare()
			if early {
				for _, step := range steps[:killed] {
					step(&line)
				}
			}
			done := make(chan struct{})
			go func() { s.sleep(-1); close(done) }()
			if !early {
				for _, step := range steps[:killed] {
					step(&line)
				}
			}
			line.ring()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatalf("killed after %d steps: still asleep", killed)
			}
		}
	}
}

func TestSleepTimeouts(t *testing.T) {
	e := newEnd(t, runDir(t), 0, 1)
	for _, d := range []time.Duration{0, time.Microsecond, 3 * time.Millisecond, 30 * time.Millisecond} {
		e.PrepareSleep()
		start := time.Now()
		e.Sleep(d)
		if got := time.Since(start); got < d || got > d+5*time.Second {
			t.Errorf("slept %v, want %v", got, d)
		}
	}
	e.PrepareSleep()
	e.Wake()
	start := time.Now()
	e.Sleep(time.Hour)
	if time.Since(start) > time.Minute {
		t.Error("Wake before Sleep did not end it")
	}
}

// Many goroutines hand work over and Wake; the worker sleeps without timeout.
// Close in the middle of it harms nobody.
func TestWakeFromManyGoroutines(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		e := newEnd(t, d, 0, 1)
		const wakers, each = 8, 5000
		var given, stop atomic.Int64
		var wg sync.WaitGroup
		for range wakers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range each {
					given.Add(1)
					e.Wake()
				}
				for stop.Load() == 0 { // into Close and beyond it
					e.Wake()
				}
				for range 100 {
					e.Wake()
				}
			}()
		}
		taken := int64(0)
		for taken < wakers*each {
			if n := given.Swap(0); n > 0 {
				taken += n
				continue
			}
			e.PrepareSleep()
			if given.Load() > 0 {
				e.CancelSleep()
				continue
			}
			e.Sleep(-1)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		stop.Store(1)
		wg.Wait()
		t.Logf("%d handed over", taken)
	})
}

// Rings without news come between PrepareSleep and Sleep; the ring that comes
// with the news must still end the sleep (S3).
//
// How many news there are depends on the machine: with one processor for both
// goroutines each hand-over waits until the runtime notices that the sleeper's
// thread is in the kernel, 0.1 ms and more. So the time is bounded, and what
// must not fail to come is each single wake-up.
func TestRingsWithoutNews(t *testing.T) {
	e := newEnd(t, runDir(t), 0, 1)
	const least, over = 200, -1
	n, within, spin := int64(200_000), 8*time.Second, 1024
	if raceEnabled || testing.Short() {
		n, within = 50_000, 2*time.Second
	}
	if runtime.GOMAXPROCS(0) == 1 {
		spin = 1 // nothing happens while we look
	}
	var news, seen atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := int64(0); last != over; {
			if now := news.Load(); now != last {
				last = now
				seen.Store(now)
				continue
			}
			e.PrepareSleep()
			if news.Load() != last {
				e.CancelSleep()
				continue
			}
			e.Sleep(-1)
		}
	}()
	tell := func(what, rings int64) {
		for range rings {
			e.Wake()
		}
		news.Store(what)
		e.Wake()
		began := time.Now()
		for spins := 1; seen.Load() != what; spins++ {
			if spins%spin == 0 {
				runtime.Gosched()
				if time.Since(began) > 30*time.Second {
					t.Fatalf("lost the wake-up for news %d", what)
				}
			}
		}
	}
	told, began := int64(0), time.Now()
	for told < n && (told < least || time.Since(began) < within) {
		told++
		tell(told, told%4)
	}
	tell(over, 0)
	<-done
	sleeps := e.Counters().Sleeps
	t.Logf("%d news, %d sleeps in %v", told, sleeps, time.Since(began).Round(time.Millisecond))
	if sleeps == 0 {
		t.Error("nobody slept")
	}
}
