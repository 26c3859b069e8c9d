package demo

import (
	"context"
	"fmt"
	"time"

	"healkv/bench/report"
)

const (
	returnAway  = time.Second            // little is missed: what is left is the same every time
	returnAfter = 500 * time.Millisecond // under the whole load again
)

// returns kills one node after the other, lets it come back after a moment and
// notes how long each step took. The load goes on at the others; the median of
// these is the fixed part of a recovery.
func (r *runner) returns(ctx context.Context) (list []report.Return, err error) {
	for i := range r.o.Returns {
		x, err := r.oneReturn(ctx, (r.o.Victim+1+i)%r.o.Nodes)
		if err != nil {
			return nil, err
		}
		list = append(list, *x)
	}
	return list, nil
}

func (r *runner) oneReturn(ctx context.Context, v int) (*report.Return, error) {
	r.collectEvents(ctx, v)
	x := &report.Return{Victim: v, Killed: r.kill(v)}
	if err := sleep(ctx, returnAway); err != nil {
		return nil, err
	}
	at, s, err := r.bringBack(ctx, v, startPatience)
	if err != nil {
		return nil, err
	}
	x.Restarted = at
	r.watchNodes()
	x.Recovery = recoveryOf(s.LastRecovery)
	r.say("node %d killed and back: %.1f ms after its process began to recover", v, float64(x.Recovery.Total)/1e6)
	r.judged(fmt.Sprintf("return of node %d", v), s.LastRecovery, "heal")
	if err := r.startLoad(ctx, []int{v}); err != nil {
		return nil, err
	}
	if err := sleep(ctx, returnAfter); err != nil {
		return nil, err
	}
	r.collectEvents(ctx, v)
	for _, e := range r.nodeEv {
		if e.Node == v && e.At >= x.Restarted {
			x.Events = append(x.Events, e)
		}
	}
	return x, nil
}
