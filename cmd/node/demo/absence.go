package demo

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"healkv"
	"healkv/bench/report"
)

// absence is one time of: steady, kill, away, back, steady again.
type absence struct {
	steady, away, after time.Duration
	flags               []string // of node serve, for the way back
}

// returned is what came of it, beside what the run was given.
type returned struct {
	steadyEnd int64
	coresUsed float64 // of the machine, in the last second before the return
	status    healkv.Status
}

// absence fills in a run: its victim is killed and comes back under the load
// that goes on at the others.
func (r *runner) absence(ctx context.Context, x *report.Run, a absence) (got returned, err error) {
	v := x.Victim
	x.WallOffset = time.Now().UnixNano() - now()
	x.Marks.Begin = now()
	if err := sleep(ctx, a.steady); err != nil {
		return got, err
	}
	got.steadyEnd = now()
	r.collectEvents(ctx, v) // the last chance to ask it
	var before []uint64
	beside(func() { before = r.acked() })()
	x.Marks.Killed = r.kill(v)
	r.note(report.EventKilled, v, x.Marks.Killed, "SIGKILL")
	r.note(report.EventProcessGone, v, now(), "the kernel has taken the process down")
	const last = time.Second
	if err := sleep(ctx, a.away-last); err != nil {
		return got, err
	}
	busy, at := processorTime(), time.Now()
	if err := sleep(ctx, min(a.away, last)); err != nil {
		return got, err
	}
	got.coresUsed = (processorTime() - busy).Seconds() / time.Since(at).Seconds()
	if x.Marks.Restarted, got.status, err = r.bringBack(ctx, v, startPatience, a.flags...); err != nil {
		return got, err
	}
	r.note(report.EventRestarted, v, x.Marks.Restarted, "")
	r.watchNodes()
	x.Recovery = recoveryOf(got.status.LastRecovery)
	counted := beside(func() { x.Recovery.MissedBytes = r.missed(before, r.acked()).Bytes })
	defer counted()
	if err := r.startLoad(ctx, []int{v}); err != nil {
		return got, err
	}
	if err := sleep(ctx, a.after); err != nil {
		return got, err
	}
	counted()
	x.Marks.End = now()
	x.Interference = r.interference(v)
	for _, i := range r.k.all() {
		r.collectEvents(ctx, i)
	}
	for _, e := range append(r.nodeEv, r.events...) {
		if e.At >= x.Marks.Begin && e.At <= x.Marks.End {
			x.Events = append(x.Events, e)
		}
	}
	return got, nil
}

// besideNice is what the harness's own work has where nodes are measured meanwhile:
// a tenth of their share of a core that both want.
const besideNice = 10

// beside runs fn on a thread of its own with a low priority; the function it
// returns waits for its end. Counting what two million keys have takes a tenth of
// a second, and the nodes' latencies would show it.
func beside(fn func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread goes with its priority
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), besideNice)
		fn()
	}()
	return func() { <-done }
}

// kill ends node v and waits until the kernel has taken it down; at is the
// moment of the signal.
func (r *runner) kill(v int) (at int64) {
	at = r.k.kill(v)
	<-r.k.procs[v].ended
	return at
}

// bringBack starts a node that is away as soon as the others go on without it,
// waits until it serves, and says when its process was started and what its way
// back has cost.
func (r *runner) bringBack(ctx context.Context, v int, usual time.Duration, flags ...string) (at int64, s healkv.Status, err error) {
	if err := r.awaitRemoved(ctx, v); err != nil {
		return 0, s, err
	}
	at = now()
	if err := r.k.start(v, append(r.flags(), flags...)...); err != nil {
		return at, s, err
	}
	wait, cancel := context.WithTimeout(ctx, r.o.patience(usual, 12))
	defer cancel()
	s, err = r.k.recovered(wait, v)
	return at, s, err
}

// processorTime is what all cores of the machine together have worked since it
// was started; 0 where the kernel does not say.
func processorTime() (t time.Duration) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	for i, word := range f {
		ticks, err := strconv.ParseUint(word, 10, 64)
		if i == 0 || i == 4 || i == 5 || i > 7 || err != nil { // idle, waiting for a disk; guests are in the first
			continue
		}
		t += time.Duration(ticks) * time.Second / 100 // USER_HZ
	}
	return t
}

func recoveryOf(l *healkv.RecoveryStatus) report.Recovery {
	return report.Recovery{Kind: l.Kind, Why: l.Why, Buddy: l.Buddy, ToAdmitted: int64(l.ToAdmitted), ToInstalled: int64(l.ToInstalled),
		Transfer: int64(l.Transfer), Finish: int64(l.Finish), Total: int64(l.Total), Bytes: l.Bytes, Records: l.Records, Applied: l.Applied,
		RangeBytes: l.RangeBytes, StoreBytes: l.StoreBytes, Leftovers: l.Leftovers}
}

// judged is a recovery that was to be of such a kind; why it was another is a
// problem of the experiment.
func (r *runner) judged(what string, l *healkv.RecoveryStatus, kind string) {
	if l.Kind != kind {
		why := ""
		if l.Why != "" {
			why = fmt.Sprintf(" (%s)", l.Why)
		}
		r.problem("%s: the node recovered by %q%s, not by %q", what, l.Kind, why, kind)
	}
}
