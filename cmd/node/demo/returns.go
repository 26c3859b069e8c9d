package demo

import (
	"context"
	"time"

	"healkv"
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
	x := &report.Return{Victim: v, Killed: r.k.kill(v)}
	<-r.k.procs[v].ended
	if err := sleep(ctx, returnAway); err != nil {
		return nil, err
	}
	if err := r.awaitRemoved(ctx, v); err != nil {
		return nil, err
	}
	x.Restarted = now()
	if err := r.k.start(v, benchFlag); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, r.o.patience(startPatience, 12))
	defer cancel()
	s, err := r.k.recovered(wait, v)
	if err != nil {
		return nil, err
	}
	r.watchNodes()
	x.Recovery = recoveryOf(s.LastRecovery)
	r.say("node %d killed and back: %.1f ms after its process began to recover", v, float64(x.Recovery.Total)/1e6)
	if x.Recovery.Kind != "heal" {
		r.problem("return of node %d: it recovered by %q (%s), not by \"heal\"", v, x.Recovery.Kind, x.Recovery.Why)
	}
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

func recoveryOf(l *healkv.RecoveryStatus) report.Recovery {
	return report.Recovery{Kind: l.Kind, Why: l.Why, Buddy: l.Buddy, ToAdmitted: int64(l.ToAdmitted), ToInstalled: int64(l.ToInstalled),
		Transfer: int64(l.Transfer), Finish: int64(l.Finish), Total: int64(l.Total), Bytes: l.Bytes, Records: l.Records, Applied: l.Applied,
		RangeBytes: l.RangeBytes, StoreBytes: l.StoreBytes, Leftovers: l.Leftovers}
}
