package flowsim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"healkv/dataplane/flow"
)

// script is a little of everything; what it prints is the order of events.
func script(seed uint64) string {
	s := New(seed)
	var out strings.Builder
	say := func(format string, args ...any) {
		fmt.Fprintf(&out, "%8d "+format+"\n", append([]any{s.Now()}, args...)...)
	}
	p, q := s.NewProcess(0, 0), s.NewProcess(time.Second, 100_000)
	token := make(chan struct{}, 1)
	for i := range 3 {
		p.Go(func() {
			for range 4 {
				d := time.Duration(p.Random() % 50)
				got := p.Wait(d, token)
				say("p%d waited %d: %d", i, d, got)
			}
		})
	}
	q.Go(func() {
		g := flow.NewGroup(q)
		var mu sync.Mutex
		sum := 0
		for i := range 5 {
			g.Go(func() {
				q.Wait(time.Duration(i * 10))
				mu.Lock()
				sum += i
				mu.Unlock()
			})
		}
		g.Wait()
		say("q sum %d", sum)
		ctx, cancel := q.Timeout(context.Background(), 100)
		defer cancel()
		say("q %v", flow.Sleep(q, ctx, time.Hour))
		say("q %v", context.Cause(ctx))
		for {
			q.Wait(1000)
		}
	})
	s.At(30, func() { flow.Signal(token); p.Run() })
	s.At(2000, func() { say("kill"); q.Kill() })
	s.Run(10_000)
	say("%v; %v", p, q)
	return out.String()
}

func TestSameSeedSameOrder(t *testing.T) {
	differ := false
	for seed := range uint64(50) {
		a, b := script(seed), script(seed)
		if a != b {
			t.Fatalf("seed %d:\n%s\nthen\n%s", seed, a, b)
		}
		if !strings.Contains(a, "q sum 10") || !strings.Contains(a, "context canceled") || !strings.Contains(a, "deadline exceeded") ||
			strings.Count(a, "waited") != 12 || !strings.Contains(a, "0 tasks, clock 10001, rate 0 ppm, paused false, dead false; 0 tasks") {
			t.Fatal(a)
		}
		differ = differ || a != script(seed+1)
	}
	if !differ {
		t.Fatal("the seed changes nothing")
	}
}

func TestClocks(t *testing.T) {
	s := New(1)
	p := s.NewProcess(0, 100_000) // a tenth fast
	var at int64
	p.Go(func() {
		p.Wait(110 * time.Microsecond)
		at = s.Now()
	})
	s.Run(time.Millisecond)
	if at < 100_000 || at > 100_010 {
		t.Fatalf("a fast clock's 110 µs ended after %d ns", at)
	}
	from := s.Now()
	p.Go(func() {
		p.Wait(time.Second)
		at = s.Now()
	})
	s.Run(time.Millisecond)
	p.SetClock(time.Second, 0)
	s.Run(time.Millisecond)
	if at < from || at > from+2_000_000 {
		t.Fatalf("a jump does not end a wait: %d after %d", at, from)
	}
	from = s.Now()
	p.Go(func() {
		p.Wait(time.Millisecond)
		at = s.Now()
	})
	s.Run(time.Microsecond)
	p.SetClock(0, -500_000) // half as fast: the event comes before the deadline
	s.Run(10 * time.Millisecond)
	if d := at - from; d < 1_990_000 || d > 2_010_000 {
		t.Fatalf("a millisecond at half the rate took %d ns", d)
	}
}

func TestPauseAndKillUnwind(t *testing.T) {
	s := New(1)
	p := s.NewProcess(0, 0)
	ran, unwound := 0, 0
	for range 10 {
		p.Go(func() {
			defer func() { unwound++ }()
			for {
				ran++
				p.Wait(time.Microsecond)
			}
		})
	}
	s.Run(10 * time.Microsecond)
	before := ran
	if p.Pause(); before == 0 {
		t.Fatal("nothing ran")
	}
	s.Run(time.Millisecond)
	if ran != before {
		t.Fatal("a paused process ran")
	}
	p.Resume()
	s.Run(time.Microsecond)
	if ran == before {
		t.Fatal("a resumed process does not run")
	}
	p.Kill()
	p.Kill()
	before = ran
	s.Run(time.Millisecond)
	if unwound != 10 || ran != before || p.Tasks() != 0 {
		t.Fatalf("%d of 10 unwound, ran %d after death", unwound, ran-before)
	}
}

func BenchmarkSwitch(b *testing.B) {
	s := New(1)
	p := s.NewProcess(0, 0)
	p.Go(func() {
		for {
			p.Wait(1)
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		s.Step()
	}
}
