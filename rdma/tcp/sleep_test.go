package tcp

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"healkv/rdma"
)

func bothKinds() map[string]*tls.Config {
	return map[string]*tls.Config{"plain": nil, "tls": mutual()}
}

// bounce answers each watermark with the same until last, sleeping without a
// timeout in between, as a worker does.
func bounce(e *Endpoint, peer int, first bool, last uint64) {
	var in, out rdma.Marks
	if first {
		out.Visible = 1
		e.PublishMarks(peer, &out)
		e.WakePeers()
	}
	look := func() bool {
		e.Poll()
		e.Marks(peer, &in)
		if first {
			return in.Visible == out.Visible
		}
		return in.Visible > out.Visible
	}
	for {
		if !look() {
			e.PrepareSleep()
			if !look() {
				e.Sleep(-1)
				continue
			}
			e.CancelSleep()
		}
		if first && in.Visible >= last {
			return
		}
		if out.Visible = in.Visible; first {
			out.Visible++
		}
		e.PublishMarks(peer, &out)
		e.WakePeers()
		if !first && in.Visible >= last {
			return
		}
	}
}

// Two workers that sleep without a timeout wake each other with what they send:
// a lost wake-up stops both.
func TestNoWakeUpIsLost(t *testing.T) {
	rounds := uint64(20_000)
	if raceEnabled || testing.Short() {
		rounds = 3_000
	}
	for name, c := range bothKinds() {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, c)
			a, b := n.end(0, 1), n.end(1, 1)
			n.pair(a, b)
			done := make(chan struct{}, 2)
			for i, e := range []*Endpoint{a, b} {
				go func() {
					bounce(e, 1-i, i == 0, rounds)
					done <- struct{}{}
				}()
			}
			for range 2 {
				select {
				case <-done:
				case <-time.After(3 * patience):
					t.Fatal("lost wake-up")
				}
			}
			if a.Stats().Sleeps == 0 || b.Stats().Sleeps == 0 {
				t.Error("nobody slept")
			}
			t.Logf("%d round trips, %d and %d sleeps", rounds, a.Stats().Sleeps, b.Stats().Sleeps)
		})
	}
}

// Wake from other goroutines against a worker that does nothing but sleep.
func TestWakeFromAnywhere(t *testing.T) {
	n := newNetwork(t, nil)
	e := n.end(0, 1)
	const rounds = 3000
	var wakers sync.WaitGroup
	asleep, awake := make(chan struct{}), make(chan struct{})
	go func() {
		for range rounds {
			e.PrepareSleep()
			asleep <- struct{}{}
			e.Poll() // drains the eventfd: the wake-up must not be lost with it
			e.Sleep(-1)
			awake <- struct{}{}
		}
	}()
	for i := range rounds {
		<-asleep
		for range 1 + i%3 {
			wakers.Go(e.Wake)
		}
		select {
		case <-awake:
		case <-time.After(patience):
			t.Fatalf("round %d: lost wake-up", i)
		}
	}
	// What the last ones left behind does not end a sleep that begins after
	// them.
	wakers.Wait()
	const nap = 20 * time.Millisecond
	began := time.Now()
	e.PrepareSleep()
	e.Poll()
	e.Sleep(nap)
	if d := time.Since(began); d < nap {
		t.Errorf("a sleep of %v took %v", nap, d)
	}
	t.Logf("%d sleeps, %d system calls to wake", rounds, e.Stats().SelfWakes)
}
