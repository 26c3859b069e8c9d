package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"healkv/bench/agent"
	"healkv/bench/record"
	"healkv/bench/report"
	"healkv/cmd/node/local"
)

// BenchOptions of a throughput and latency measurement without faults. Rate 0
// is a closed loop.
type BenchOptions struct {
	Options
	Time   time.Duration
	Runs   int
	Rate   float64
	Window int
	// OnWorker: generators run on the threads of the workers, and latencies are of
	// nanoseconds. Loaded: at so many nodes only; 0: at all.
	OnWorker bool
	Loaded   int
	// Stable: a change of view or a lost lease during the runs is an error.
	Stable bool
	// QuietHeap: a collection in a node process, or a hot path that allocates, is
	// an error.
	QuietHeap bool
	// Profile: what the loaded nodes spend their processor time on is written, one
	// FileProfile each, from the last run.
	Profile bool
}

// ErrUnstable: the group's view changed, or a lease ran out, under nothing but
// load.
var ErrUnstable = errors.New("bench: membership changed under load")

// Bench loads the records, runs the workload in generators inside the nodes,
// and prints what all nodes together completed.
func Bench(ctx context.Context, o BenchOptions, c *local.Cluster, out io.Writer) error {
	if o.Runs < 1 || o.Time <= 0 {
		return fmt.Errorf("%w: %d runs of %v", errOptions, o.Runs, o.Time)
	}
	if o.Loaded < 0 || o.Loaded > o.Nodes {
		return fmt.Errorf("%w: load at %d of %d nodes", errOptions, o.Loaded, o.Nodes)
	}
	r, err := newRunner(o.Options, c, filepath.Join(o.Out, "data"))
	if err != nil {
		return err
	}
	defer r.k.client.CloseIdleConnections()
	r.profiled = o.Profile
	err = r.bench(ctx, o, out)
	// Everybody goes: the last ones would wait for a majority to leave the view.
	if stopErr := r.k.stop(syscall.SIGHUP); err == nil {
		err = stopErr
	}
	return err
}

func (r *runner) bench(ctx context.Context, o BenchOptions, out io.Writer) error {
	if err := r.serve(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %s\n%d nodes, %s, domain %s, pages %s, model %s, %d records, values of %d bytes, %s, %d cores\n",
		r.spec.Name(), r.spec.About(), r.env.Nodes, r.env.Transport(), r.env.Domain, r.env.PageSize, r.env.Model, r.env.Keys, r.env.ValueBytes,
		map[bool]string{true: fmt.Sprintf("closed loop, %d in flight per node", o.Window), false: fmt.Sprintf("open loop, %.0f accesses/s", o.Rate)}[o.Rate == 0], r.env.Cores)
	fmt.Fprintf(out, "%4s %12s %12s %12s   %-31s %-31s\n", "run", "ops/s", "reads/s", "writes/s", "read p50/p99/p99.9 µs", "write p50/p99/p99.9 µs")
	before, err := r.footings(ctx)
	if err != nil {
		return err
	}
	var rates []float64
	var runs []BenchRun
	for n := range o.Runs {
		run, err := r.benchRun(ctx, o, n, out)
		if err != nil {
			return err
		}
		runs, rates = append(runs, run), append(rates, run.Ops)
	}
	after, err := r.footings(ctx)
	if err != nil {
		return err
	}
	if err := writeBench(filepath.Join(o.Out, FileBench), BenchResult{Env: r.env, Window: o.Window, RatePerS: o.Rate, Runs: runs}); err != nil {
		return err
	}
	slices.Sort(rates)
	fmt.Fprintf(out, "median %.0f ops/s, spread %.0f to %.0f over %d runs\n", rates[len(rates)/2], rates[0], rates[len(rates)-1], len(rates))
	return errors.Join(compareHeaps(runs, o.Time, o.QuietHeap, out), r.compareFootings(before, after, o.Stable, out))
}

// footing is where a node stands in the group; load must not move it.
type footing struct {
	Epoch, Incarnation uint32
	LeasesLost         uint64
	Serving            bool // live, with a lease
}

func (r *runner) footings(ctx context.Context) ([]footing, error) {
	f := make([]footing, r.o.Nodes)
	err := r.k.each(r.k.all(), func(i int) error {
		s, err := r.k.status(ctx, i)
		f[i] = footing{s.Epoch, s.Incarnation, s.Counters["leases_lost"], s.Role == "live" && s.LeaseValid}
		return err
	})
	return f, err
}

// compareFootings tells what moved between two looks at the group.
func (r *runner) compareFootings(before, after []footing, stable bool, out io.Writer) error {
	moved := 0
	for i := range after {
		if after[i] == before[i] && after[i].Serving && after[i].Epoch == after[0].Epoch {
			continue
		}
		moved++
		fmt.Fprintf(out, "node %d: before the runs %+v, after them %+v\n", i, before[i], after[i])
	}
	if moved > 0 && stable {
		return fmt.Errorf("%w: at %d of %d nodes; their logs are beside %s", ErrUnstable, moved, len(after), r.k.local.LogPath(0))
	}
	if moved == 0 {
		fmt.Fprintf(out, "no view change and no lost lease at %d nodes, epoch %d\n", len(after), after[0].Epoch)
	}
	return nil
}

// FileBench is where Bench writes a BenchResult, in its output directory.
const FileBench = "bench.json"

// BenchResult is what Bench measured.
type BenchResult struct {
	Env      report.Environment `json:"environment"`
	Window   int                `json:"window"`     // in flight per node
	RatePerS float64            `json:"rate_per_s"` // 0: closed loop
	Runs     []BenchRun         `json:"runs"`
}

// BenchRun is one run: operations a second of all nodes together, and latencies.
type BenchRun struct {
	Ops, Reads, Writes float64
	Read, Write        BenchLatency
	Heap               []BenchHeap `json:"heap,omitempty"` // by node
}

// BenchLatency in µs.
type BenchLatency struct{ P50, P99, P999 float64 }

func writeBench(path string, b BenchResult) error {
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func (r *runner) benchRun(ctx context.Context, o BenchOptions, n int, out io.Writer) (run BenchRun, err error) {
	loaded := r.k.all()
	if o.Loaded > 0 {
		loaded = loaded[:o.Loaded]
	}
	err = r.k.each(loaded, func(i int) error {
		return r.begin(ctx, i, agent.Run{Workload: o.Workload, Rate: o.Rate / float64(len(loaded)), Window: o.Window, OnWorker: o.OnWorker})
	})
	if err != nil {
		return run, err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return run, err
	}
	before, err := r.heaps(ctx, nil)
	if err != nil {
		return run, err
	}
	profiled := make(chan error, 1)
	if o.Profile && n == o.Runs-1 {
		go func() { profiled <- r.profile(ctx, o.Out, loaded, o.Time) }()
	} else {
		profiled <- nil
	}
	from := now()
	if err := sleep(ctx, o.Time); err != nil {
		return run, err
	}
	to := now()
	if err := <-profiled; err != nil {
		return run, err
	}
	after, err := r.heaps(ctx, before)
	if err != nil {
		return run, err
	}
	if err := r.stopLoad(ctx, loaded); err != nil {
		return run, err
	}
	unit, digits := 1.0, 0
	if o.OnWorker { // in ns
		unit, digits = 1000, 2
	}
	runs, err := r.completed(loaded, []span{{from, to}}, unit)
	if err != nil {
		return run, err
	}
	run = runs[0]
	for i := range after {
		run.Heap = append(run.Heap, heapOf(i, &before[i], &after[i]))
	}
	text := func(l BenchLatency) string {
		return fmt.Sprintf("%.*f/%.*f/%.*f", digits, l.P50, digits, l.P99, digits, l.P999)
	}
	fmt.Fprintf(out, "%4d %12.0f %12.0f %12.0f   %-31s %-31s\n", n+1, run.Ops, run.Reads, run.Writes, text(run.Read), text(run.Write))
	return run, nil
}

// span of time, CLOCK_MONOTONIC ns.
type span struct{ from, to int64 }

// completed is what all nodes together did in each of some spans under their
// present or last load, latencies in µs: the generators' divided by unit.
func (r *runner) completed(nodes []int, spans []span, unit float64) ([]BenchRun, error) {
	sums := make([]struct {
		reads, writes uint64
		read, write   record.Merged
	}, len(spans))
	for _, i := range nodes {
		f, err := record.ReadWindows(r.windows[i][len(r.windows[i])-1])
		if err != nil {
			return nil, err
		}
		for _, w := range f.Windows {
			for k, s := range spans {
				if w.Start() < s.from || w.Start() >= s.to {
					continue
				}
				x := &sums[k]
				x.reads, x.writes = x.reads+w.Reads, x.writes+w.Writes
				if err := errors.Join(x.read.Add(w.ReadHist, w.Read.Max), x.write.Add(w.WriteHist, w.Write.Max)); err != nil {
					return nil, err
				}
			}
		}
	}
	runs := make([]BenchRun, len(spans))
	q := func(m *record.Merged) BenchLatency {
		return BenchLatency{float64(m.Quantile(0.5)) / unit, float64(m.Quantile(0.99)) / unit, float64(m.Quantile(0.999)) / unit}
	}
	for k := range sums {
		x, secs := &sums[k], float64(spans[k].to-spans[k].from)/1e9
		runs[k] = BenchRun{Ops: float64(x.reads+x.writes) / secs, Reads: float64(x.reads) / secs, Writes: float64(x.writes) / secs, Read: q(&x.read), Write: q(&x.write)}
	}
	return runs, nil
}
