package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"healkv"
	"healkv/bench/report"
	"healkv/bench/workload"
	"healkv/cmd/node/local"
)

// ChaosOptions of a run that kills nodes in every phase under load.
type ChaosOptions struct {
	Options
	Rounds int // of each phase
	Seed   uint64
}

// Phases in which Chaos kills.
const (
	PhaseSteady     = "steady"      // all live
	PhaseTwice      = "twice"       // the same node again, as soon as it is back
	PhaseViewChange = "view-change" // a second node while the first one's removal is under way
	PhaseShadow     = "transfer"    // the recovering node in the middle of a transfer
	PhaseBuddy      = "buddy"       // its buddy in the middle of a transfer
	PhasePromotion  = "promotion"   // the recovering node between transfer and promotion
	PhasePaused     = "paused"      // not killed: stopped for longer than its lease, then it goes on
	PhaseAll        = "all"         // every node at once: cold start
)

// chaosPhases in the order of a round.
var chaosPhases = []string{PhaseSteady, PhaseTwice, PhaseViewChange, PhaseShadow, PhaseBuddy, PhasePromotion, PhasePaused, PhaseAll}

// slowBudget makes a full copy last long enough to be met in the middle.
var slowBudget = []string{"--recovery", "full", "--recovery-budget", "4KiB"}

// Chaos keeps a cluster under load, kills nodes in every phase, brings them
// back, and verifies in the end as the demo does. It returns how often it
// killed in each phase; a kill whose phase was over by then is tried again and
// not counted.
func Chaos(ctx context.Context, o ChaosOptions, c *local.Cluster, out io.Writer) (kills map[string]int, v *report.Verification, err error) {
	spec, err := workload.New(o.Workload, workload.Options{Keys: o.Keys})
	if err != nil {
		return nil, nil, err
	}
	files := filepath.Join(o.Out, "data")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, nil, err
	}
	r := &runner{o: o.Options, k: newCluster(c, o.Program), spec: spec, files: files, started: time.Now(),
		windows: map[int][]string{}, life: make([]int, o.Nodes), seen: map[int]map[healkv.Event]bool{}}
	defer r.k.client.CloseIdleConnections()
	x := &chaos{runner: r, rng: rand.New(rand.NewPCG(o.Seed, 0xc4a05)), kills: map[string]int{}}
	v, err = x.run(ctx, o.Rounds)
	if stopErr := r.k.stop(); err == nil {
		err = stopErr
	}
	for _, p := range slices.Sorted(maps.Keys(x.kills)) {
		fmt.Fprintf(out, "%-12s %d kills\n", p, x.kills[p])
	}
	return x.kills, v, err
}

type chaos struct {
	*runner
	rng   *rand.Rand
	kills map[string]int
}

func (x *chaos) run(ctx context.Context, rounds int) (*report.Verification, error) {
	for i := range x.o.Nodes {
		if err := x.k.start(i, benchFlag); err != nil {
			return nil, err
		}
	}
	if err := x.allServe(ctx); err != nil {
		return nil, err
	}
	if err := x.load(ctx); err != nil {
		return nil, err
	}
	if err := x.startLoad(ctx, x.k.all()); err != nil {
		return nil, err
	}
	for n := range rounds {
		for _, p := range chaosPhases {
			for x.kills[p] <= n {
				if err := x.kill(ctx, p); err != nil {
					return nil, fmt.Errorf("phase %s, round %d: %w", p, n, err)
				}
			}
		}
	}
	if err := sleep(ctx, time.Second); err != nil {
		return nil, err
	}
	if err := x.stopLoad(ctx, x.k.all()); err != nil {
		return nil, err
	}
	v, err := x.verify(ctx)
	if err == nil {
		v.Problems = append(v.Problems, x.problems...)
		v.OK = v.OK && len(x.problems) == 0
	}
	return v, err
}

func (x *chaos) allServe(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return x.k.awaitServing(wait, x.k.all())
}

// back restarts nodes, waits until all serve, and starts their generators.
func (x *chaos) back(ctx context.Context, nodes ...int) error {
	for _, i := range nodes {
		if err := x.k.start(i, benchFlag); err != nil {
			return err
		}
	}
	if err := x.allServe(ctx); err != nil {
		return err
	}
	return x.startLoad(ctx, nodes)
}

// fell kills a node and waits until the kernel has taken it down.
func (x *chaos) fell(i int) {
	x.k.kill(i)
	<-x.k.procs[i].ended
}

func (x *chaos) pause(ctx context.Context, max time.Duration) error {
	return sleep(ctx, time.Duration(x.rng.Int64N(int64(max))))
}

// kill does one kill of a phase and brings everybody back.
func (x *chaos) kill(ctx context.Context, phase string) error {
	a := x.rng.IntN(x.o.Nodes)
	b := (a + 1 + x.rng.IntN(x.o.Nodes-1)) % x.o.Nodes
	if err := x.pause(ctx, 200*time.Millisecond); err != nil {
		return err
	}
	switch phase {
	case PhaseSteady:
		x.fell(a)
		x.kills[phase]++
		if err := x.pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		return x.back(ctx, a)
	case PhaseTwice:
		x.fell(a)
		if err := x.k.start(a, benchFlag); err != nil {
			return err
		}
		if err := x.allServe(ctx); err != nil {
			return err
		}
		x.fell(a)
		x.kills[phase]++
		return x.back(ctx, a)
	case PhasePaused:
		p := x.k.procs[a].cmd.Process
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
		err := x.awaitRemoved(ctx, a)
		if err := errors.Join(err, p.Signal(syscall.SIGCONT)); err != nil {
			return err
		}
		x.kills[phase]++
		// It is live again only in a new life; its generators go on in it.
		return x.awaitNewLife(ctx, a)
	case PhaseAll:
		for _, i := range x.k.all() {
			x.k.kill(i)
		}
		for _, i := range x.k.all() {
			<-x.k.procs[i].ended
		}
		x.kills[phase]++
		return x.back(ctx, x.k.all()...)
	case PhaseViewChange:
		x.fell(a)
		if err := x.pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		x.fell(b)
		x.kills[phase]++
		return x.back(ctx, a, b)
	}
	return x.killRecovering(ctx, phase, a)
}

// awaitRemoved waits until the others have a view without node a: its lease
// has run out.
func (x *chaos) awaitRemoved(ctx context.Context, a int) error {
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	other := (a + 1) % x.o.Nodes
	for {
		s, err := x.k.status(wait, other)
		if err == nil && !slices.Contains(s.Live, a) {
			return nil
		}
		if err := sleep(wait, 5*time.Millisecond); err != nil {
			return fmt.Errorf("node %d was paused and is still live at node %d (live %v): %w", a, other, s.Live, err)
		}
	}
}

// awaitNewLife waits until a node that was paused has noticed that the others
// went on without it, and serves again.
func (x *chaos) awaitNewLife(ctx context.Context, a int) error {
	wait, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		s, err := x.k.status(wait, a)
		fenced := err == nil && slices.ContainsFunc(s.Events, func(e healkv.Event) bool { return e.Name == "fenced" })
		if fenced && s.Role == "live" && s.Serving {
			return nil
		}
		if err := sleep(wait, 5*time.Millisecond); err != nil {
			return fmt.Errorf("node %d did not begin another life after a pause: role %q, fenced %v: %w", a, s.Role, fenced, err)
		}
	}
}

// killRecovering lets node a come back slowly and kills it, or its buddy, when
// its events say that it has come to the phase.
func (x *chaos) killRecovering(ctx context.Context, phase string, a int) error {
	x.fell(a)
	if err := x.pause(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	flags := append([]string{benchFlag}, slowBudget...)
	want := "transfer_begun"
	if phase == PhasePromotion {
		flags, want = []string{benchFlag}, "transfer_done"
	}
	if err := x.k.start(a, flags...); err != nil {
		return err
	}
	s, err := x.awaitEvent(ctx, a, want)
	if err != nil {
		return err
	}
	buddy := x.buddyOf(s)
	if x.over(s) {
		return x.back1(ctx, a) // too late: it was faster; not counted
	}
	if phase == PhaseBuddy {
		if buddy < 0 || buddy == a {
			return fmt.Errorf("node %d names no buddy: %+v", a, s.Events)
		}
		if err := x.pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		x.fell(buddy)
		if now, err := x.k.status(ctx, a); err == nil && !x.over(now) {
			x.kills[phase]++
		}
		if err := x.k.start(buddy, benchFlag); err != nil {
			return err
		}
		if err := x.allServe(ctx); err != nil {
			return err
		}
		return x.startLoad(ctx, []int{a, buddy})
	}
	x.fell(a)
	if !x.wasLive(ctx, a, s) {
		x.kills[phase]++
	}
	return x.back(ctx, a)
}

// back1 waits for a node that is on its way already.
func (x *chaos) back1(ctx context.Context, a int) error {
	if err := x.allServe(ctx); err != nil {
		return err
	}
	return x.startLoad(ctx, []int{a})
}

// over says whether the recovery had ended when the status was taken.
func (x *chaos) over(s healkv.Status) bool { return s.Role == "live" }

// wasLive asks the others whether the killed life had become live.
func (x *chaos) wasLive(ctx context.Context, a int, s healkv.Status) bool {
	for _, i := range x.k.all() {
		if i == a {
			continue
		}
		t, err := x.k.status(ctx, i)
		if err != nil {
			continue
		}
		for _, e := range t.Events {
			if e.Name == "view_installed" && e.Epoch > s.Epoch && len(s.Events) > 0 && e.At > s.Events[0].At {
				var live, rest string
				if n, _ := fmt.Sscanf(e.Detail, "live [%s", &rest); n == 1 {
					live = e.Detail
				}
				if listed(live, a) {
					return true
				}
			}
		}
		return false
	}
	return true
}

// listed says whether node a is in "live [0 1 2], shadow [3]".
func listed(detail string, a int) bool {
	var inside bool
	n, digits := 0, false
	for _, c := range detail {
		switch {
		case c == '[':
			inside = true
		case inside && c >= '0' && c <= '9':
			n, digits = n*10+int(c-'0'), true
		case inside && (c == ' ' || c == ']'):
			if digits && n == a {
				return true
			}
			n, digits = 0, false
			if c == ']' {
				return false
			}
		}
	}
	return false
}

// awaitEvent asks a starting node until it reports the event in its present
// life, or is live.
func (x *chaos) awaitEvent(ctx context.Context, i int, name string) (healkv.Status, error) {
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		s, err := x.k.status(wait, i)
		if err == nil && (x.over(s) || slices.ContainsFunc(s.Events, func(e healkv.Event) bool { return e.Name == name })) {
			return s, nil
		}
		select {
		case <-wait.Done():
			return s, fmt.Errorf("node %d did not come to %q: role %q, %v", i, name, s.Role, err)
		case <-x.k.procs[i].ended:
			return s, fmt.Errorf("node %d ended: %v; its log is %s", i, x.k.procs[i].cmd.ProcessState, x.k.local.LogPath(i))
		default:
		}
	}
}

func (x *chaos) buddyOf(s healkv.Status) int {
	for _, e := range slices.Backward(s.Events) {
		var b int
		if e.Name == "transfer_begun" {
			if n, _ := fmt.Sscanf(e.Detail, "buddy %d", &b); n == 1 {
				return b
			}
		}
	}
	return -1
}
