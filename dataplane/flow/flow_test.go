package flow

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestWait(t *testing.T) {
	closed, token := make(chan struct{}), make(chan struct{}, 1)
	close(closed)
	Signal(token)
	Signal(token)
	for n := range 6 { // nil channels before it, and more than three
		on := make([]<-chan struct{}, n, n+1)
		if got := Real.Wait(-1, append(on, closed)...); got != n {
			t.Errorf("closed channel %d: %d", n, got)
		}
		if got := Real.Wait(0, on...); got != -1 {
			t.Errorf("%d nil channels: %d", n, got)
		}
	}
	if got := Real.Wait(-1, nil, token); got != 1 {
		t.Errorf("token: %d", got)
	}
	if got := Real.Wait(time.Microsecond, token); got != -1 {
		t.Errorf("a token was there twice: %d", got)
	}
}

func TestGroupAndTimeout(t *testing.T) {
	g := NewGroup(Real)
	var sum atomic.Int64
	for i := range 100 {
		g.Go(func() { sum.Add(int64(i)) })
	}
	g.Wait()
	if sum.Load() != 4950 {
		t.Fatalf("sum %d", sum.Load())
	}
	ctx, cancel := Real.Timeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := Sleep(Real, ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	a, b := Real.Now(), Real.Now()
	if x, y := Real.Random(), Real.Random(); a <= 0 || b < a || x == y {
		t.Fatalf("clock %d, then %d; source %d, then %d", a, b, x, y)
	}
}
