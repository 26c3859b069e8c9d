package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"healkv/bench/report"
	"healkv/cmd/node/local"
)

// CostOptions of an experiment on what recoveries cost the nodes that live on.
type CostOptions struct {
	Options
	Window int           // operations in flight per node in a closed loop
	Runs   int           // at saturation; the median counts
	Time   time.Duration // of each of these
	Share  float64       // of the saturation that an open loop offers
	Offer  float64       // accesses a second that it offers instead; 0: the share
	Heals  int           // ways back at that rate
	Fulls  int           // by full copy; 0: none
	Budget uint64        // of the cluster, bytes per millisecond; 0: no limit

	Budgets   []uint64 // of the sweep at saturation; none: no sweep
	Sweeps    int      // ways back with each
	SweepAway time.Duration

	// Spare makes the cluster that leaves a core idle; nil: there is none.
	Spare      func() (*local.Cluster, func(), error)
	SpareKeys  uint64
	SpareNodes int
	SpareRate  float64
	Spares     int // ways back there
	SpareAway  time.Duration
}

const (
	costWarm   = 2 * time.Second
	costAfter  = 2 * time.Second // of every way back, until the next begins
	costSweep  = 2 * time.Second // steady, at saturation
	costWindow = 1               // way back at least, of every kind
)

func (o *CostOptions) validate() error {
	switch {
	case o.Runs < 1 || o.Time <= 0:
		return fmt.Errorf("%w: %d runs of %v at saturation", errOptions, o.Runs, o.Time)
	case !(o.Share > 0 && o.Share <= 1):
		return fmt.Errorf("%w: a share of %v of the saturation, want above 0, at most 1", errOptions, o.Share)
	case o.Offer < 0:
		return fmt.Errorf("%w: rate %v, want above 0, or 0 for a share of the saturation", errOptions, o.Offer)
	case o.Heals < costWindow || o.Fulls < 0 || o.Heals+o.Fulls > 1000:
		return fmt.Errorf("%w: %d heals and %d full copies, want 1 to 1000 together", errOptions, o.Heals, o.Fulls)
	case len(o.Budgets) > 0 && o.Sweeps < 1 || o.Spare != nil && o.Spares < 1:
		return fmt.Errorf("%w: each recovery at least once", errOptions)
	}
	o.Rate = 1 // found out later
	return o.Options.validate()
}

// Cost measures the saturation, kills nodes and takes them back at a share of it,
// sweeps over recovery budgets at saturation, does the same on a cluster that
// leaves a core idle, and judges. The error is ErrVerify if something compared
// was not right, and with Options.Check ErrBounds if a bound was not kept; the
// report is written all the same.
func Cost(ctx context.Context, o CostOptions, c *local.Cluster, out io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	in := report.CostInput{Window: o.Window, Budget: o.Budget}
	err := o.on(ctx, o.Options, c, func(r *runner) error {
		in.NoInterference = r.unwatched
		if err := o.saturation(ctx, r, &in); err != nil {
			return err
		}
		if err := o.half(ctx, r, &in); err != nil {
			return err
		}
		if err := o.sweep(ctx, r, &in); err != nil {
			return err
		}
		v, err := r.verify(ctx)
		if err != nil {
			return err
		}
		v.Problems = append(v.Problems, r.problems...)
		v.OK = v.OK && len(v.Problems) == 0
		in.Env, in.Verification = r.env, v
		in.Env.RatePerS = o.Rate
		in.Env.Clients = fmt.Sprintf("one generator inside each of %d node processes", o.Nodes)
		return nil
	})
	if err != nil {
		return err
	}
	if in.NoSpare = "not asked for"; o.Spare != nil {
		if in.NoSpare = ""; in.NoInterference != "" {
			in.NoSpare = "nothing to be seen there without watching the scheduler."
		} else if err := o.spare(ctx, &in); err != nil {
			return err
		}
	}
	in.Env.DurationS = time.Since(time.Unix(0, in.Env.StartUnix)).Seconds()
	in.Notes = append(in.Notes, "Accesses of an open loop fall due in groups 0.5 ms apart; latency counts from the due time.",
		"The recovery begins with the start of the process and ends with the first read that it serves; throughput and latency are of windows of 10 ms that begin in it.",
		"Between the kill and the return the clients of the killed node are gone too; those of the others go on as before.",
		"The missed bytes are the distinct records that were acknowledged while the node was away, counted from what the clients were told.")
	rep, err := report.ComputeCost(in)
	if err != nil {
		return err
	}
	if err := rep.WriteAll(o.Out); err != nil {
		return err
	}
	if err := rep.WriteTerminal(out); err != nil {
		return err
	}
	if v := in.Verification; !v.OK {
		for _, p := range v.Problems {
			fmt.Fprintln(out, "FAILED:", p)
		}
		return ErrVerify
	}
	if broken := rep.Bounds.Broken(); o.Check && len(broken) > 0 {
		return fmt.Errorf("%w: %d of %d: %s", ErrBounds, len(broken), len(rep.Bounds), strings.Join(broken, "; "))
	}
	return nil
}

// on runs part of the experiment on a cluster of its own. Its files are in
// memory beside the cluster's: writing them back to a disk would take time from
// the nodes.
func (o *CostOptions) on(ctx context.Context, options Options, c *local.Cluster, do func(r *runner) error) (err error) {
	files := filepath.Join(c.RunDir, "bench")
	r, err := newRunner(options, c, files)
	if err != nil {
		return err
	}
	defer os.RemoveAll(files)
	defer r.k.client.CloseIdleConnections()
	defer r.watchScheduler()()
	if err = r.serve(ctx); err == nil {
		r.watchNodes()
		err = do(r)
	}
	// Everybody goes: the last ones would wait for a majority to leave the view.
	if stopErr := r.k.stop(syscall.SIGHUP); err == nil {
		err = stopErr
	}
	return err
}

// under does something under load, from a moment after its begin to its end.
func (r *runner) under(ctx context.Context, rate float64, window int, do func() error) error {
	r.rate, r.window = rate, window
	for i := range r.windows { // what came before has been read
		r.windows[i] = nil
	}
	if err := r.startLoad(ctx, r.k.all()); err != nil {
		return err
	}
	if err := sleep(ctx, costWarm); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return r.stopLoad(ctx, r.k.all())
}

// saturation finds what all nodes complete in a closed loop, and the rate of the
// open loop from it.
func (o *CostOptions) saturation(ctx context.Context, r *runner, in *report.CostInput) error {
	var spans []span
	err := r.under(ctx, 0, o.Window, func() error {
		for range o.Runs {
			s := span{from: now()}
			if err := sleep(ctx, o.Time); err != nil {
				return err
			}
			s.to = now()
			spans = append(spans, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	runs, err := r.completed(r.k.all(), spans, 1)
	if err != nil {
		return err
	}
	for _, x := range runs {
		in.Saturation = append(in.Saturation, x.Ops)
	}
	sorted := slices.Sorted(slices.Values(in.Saturation))
	if o.Rate = o.Offer; o.Rate == 0 {
		o.Rate = o.Share * sorted[len(sorted)/2]
	}
	r.say("saturation: %.0f accesses/s (%.0f to %.0f over %d runs), %d in flight per node; the open loop offers %.0f", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1],
		len(sorted), o.Window, o.Rate)
	return nil
}

// half does the ways back under an open loop.
func (o *CostOptions) half(ctx context.Context, r *runner, in *report.CostInput) error {
	steady := absence{steady: o.Steady, away: o.Away, after: costAfter}
	return r.under(ctx, o.Rate, openWindow, func() (err error) {
		if in.Heal, err = r.ways(ctx, "heal", o.Heals, steady); err != nil {
			return err
		}
		steady.flags = []string{"--recovery", "full"}
		if in.Full, err = r.ways(ctx, "full", o.Fulls, steady); err != nil {
			return err
		}
		return nil
	})
}

// sweep does them under a closed loop, with one budget after the other.
func (o *CostOptions) sweep(ctx context.Context, r *runner, in *report.CostInput) error {
	if len(o.Budgets) == 0 {
		return nil
	}
	r.say("at saturation, with %d recovery budgets", len(o.Budgets))
	return r.under(ctx, 0, o.Window, func() error {
		for _, budget := range o.Budgets {
			runs, err := r.ways(ctx, "heal", o.Sweeps, absence{steady: costSweep, away: o.SweepAway, after: costAfter,
				flags: []string{"--recovery-budget", fmt.Sprintf("%dB", budget), "--recovery-floor", "0B"}})
			if err != nil {
				return err
			}
			in.Sweep = append(in.Sweep, report.CostPoint{Budget: budget, Runs: runs})
		}
		return nil
	})
}

// spare does them where a core is idle.
func (o *CostOptions) spare(ctx context.Context, in *report.CostInput) error {
	c, done, err := o.Spare()
	if err != nil {
		return err
	}
	options := o.Options
	options.Nodes, options.Keys, options.Rate, options.Victim = o.SpareNodes, o.SpareKeys, o.SpareRate, o.Victim%o.SpareNodes
	s := &report.CostSpare{Nodes: o.SpareNodes, Keys: o.SpareKeys, RatePerS: o.SpareRate}
	err = o.on(ctx, options, c, func(r *runner) error {
		r.say("with a core to spare: %d nodes, %.0f accesses/s", o.SpareNodes, o.SpareRate)
		s.Cores = r.env.Cores
		return r.under(ctx, o.SpareRate, openWindow, func() (err error) {
			s.Runs, err = r.ways(ctx, "heal", o.Spares, absence{steady: costSweep, away: o.SpareAway, after: costAfter})
			if used := slices.Sorted(slices.Values(r.coresUsed)); len(used) > 0 {
				s.CoresUsed = used[len(used)/2]
			}
			if len(r.problems) > 0 {
				err = fmt.Errorf("%w: %s", ErrVerify, strings.Join(r.problems, "; "))
			}
			return err
		})
	})
	if err != nil {
		return err // the logs are in the cluster, which stays
	}
	done()
	in.Spare = s
	return nil
}

// ways are so many ways back, of another node each time.
func (r *runner) ways(ctx context.Context, kind string, times int, a absence) (runs []report.CostRun, err error) {
	done := make([]*report.Run, times)
	r.coresUsed = nil
	for i := range times {
		x := &report.Run{Name: kind, Victim: (r.o.Victim + i) % r.o.Nodes}
		r.events = nil
		got, err := r.absence(ctx, x, a)
		if err != nil {
			return nil, err
		}
		l := got.status.LastRecovery
		r.judged(fmt.Sprintf("way back %d of node %d", i+1, x.Victim), l, kind)
		r.coresUsed = append(r.coresUsed, got.coresUsed)
		r.say("%s: node %d served %.1f ms after its process began to recover, %s of %s in the store; %.2f cores were in use before%s", kind, x.Victim, float64(l.Total)/1e6,
			size(l.Bytes), size(l.StoreBytes), got.coresUsed, flagsText(a.flags))
		done[i] = x
		runs = append(runs, report.CostRun{SteadyEnd: got.steadyEnd})
	}
	// The generators write every window as it ends.
	if err := r.traces(done...); err != nil {
		return nil, err
	}
	for i, x := range done {
		runs[i].Run = *x
	}
	return runs, nil
}

func flagsText(flags []string) string {
	if len(flags) == 0 {
		return ""
	}
	return "; " + strings.TrimLeft(strings.Join(flags, " "), "-")
}
