package demo

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// slowOne lets a node run for one millisecond of ten, for two leases: slow, and
// never silent for long.
func (x *chaos) slowOne(ctx context.Context, f *ChaosFault) (bool, error) {
	a := x.some(1)[0]
	d := 2 * x.lease()
	f.says("node %d for %v", a, d)
	x.halted[a] = true // calm lets it go on whatever happens here
	for began := time.Now(); time.Since(began) < d; {
		if err := x.signal(syscall.SIGSTOP, a); err != nil {
			return false, err
		}
		if err := sleep(ctx, 9*time.Millisecond); err != nil {
			return false, err
		}
		if err := x.signal(syscall.SIGCONT, a); err != nil {
			return false, err
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return false, err
		}
	}
	x.halted[a] = false
	return true, nil
}

// killShadow kills a node every time it has been admitted, several times in a
// row. The others must go on all the while, and take it in the last time.
func (x *chaos) killShadow(ctx context.Context, f *ChaosFault) (bool, error) {
	a, times, met := x.some(1)[0], 3+x.rng.IntN(3), 0
	for range times {
		s, over, err := x.comeback(ctx, a, "admitted", slowBudget...)
		if err != nil {
			return false, err
		}
		x.fell(a)
		if !over && !x.wasLive(ctx, a, s) {
			met++
		}
	}
	f.says("node %d, %d times of %d", a, met, times)
	return met >= 2, nil
}

// killAtStep lets a node come back and kills it, its buddy or a third node when
// it has reached a step.
func killAtStep(step, whose string) func(x *chaos, ctx context.Context, f *ChaosFault) (bool, error) {
	return func(x *chaos, ctx context.Context, f *ChaosFault) (bool, error) {
		n := x.some(2)
		a, victim := n[0], n[0]
		var flags []string
		if step == "admitted" || step == "all_installed" || step == "transfer_begun" {
			flags = slowBudget // else it is over before anybody can look
		}
		s, over, err := x.comeback(ctx, a, step, flags...)
		if err != nil {
			return false, err
		}
		switch whose {
		case "another":
			victim = n[1]
		case "buddy":
			if victim = buddyOf(s); victim < 0 {
				return false, nil
			}
		}
		f.says("node %d at %s, node %d dies", a, step, victim)
		x.fell(victim)
		return step == "promoted" || !over, nil
	}
}

// loseMajority kills so many that the rest cannot decide anything, and leaves
// them so for two leases.
func (x *chaos) loseMajority(ctx context.Context, f *ChaosFault) (bool, error) {
	n := x.some(x.o.Nodes)[:x.o.Nodes/2+1]
	f.says("nodes %v", n)
	x.fell(n...)
	return true, sleep(ctx, 2*x.lease())
}

// rolling stops every node as its operator would, one after the other.
func (x *chaos) rolling(ctx context.Context, f *ChaosFault) (bool, error) {
	for _, a := range x.some(x.o.Nodes) {
		if err := x.leave(ctx, a); err != nil {
			return false, err
		}
		if err := x.calm(ctx, nil); err != nil {
			return false, fmt.Errorf("after node %d: %w", a, err)
		}
	}
	f.says("all %d", x.o.Nodes)
	return true, nil
}
