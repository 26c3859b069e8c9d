package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"healkv"
	"healkv/bench/agent"
	"healkv/bench/check"
	"healkv/bench/interference"
	"healkv/bench/record"
	"healkv/bench/report"
	"healkv/bench/workload"
	"healkv/cmd/node/local"
)

// ErrVerify: the run finished, and what it compared was not right.
var ErrVerify = errors.New("demo: verification failed")

// ErrBounds: a promise that the report judges was not kept, or none was judged.
var ErrBounds = errors.New("demo: a bound was not kept")

// lives is how many generators one node may have, one after the other, so that
// each client of the watched keys has a number of its own.
const lives = 1 << 16

// watchKeys is how many keys all clients with a history share.
const watchKeys = 8

// runner carries the state of one demo.
type runner struct {
	o       Options
	k       *cluster
	spec    *workload.Spec
	env     report.Environment
	files   string
	started time.Time
	trusted bool    // its nodes run with --trust-refused
	probing bool    // its load is stallLoad
	rate    float64 // accesses a second, all nodes together; 0: a closed loop
	window  int     // in flight per node
	// profiled: its nodes serve CPU profiles.
	profiled bool

	mu       sync.Mutex
	acks     []string
	windows  map[int][]string // by node
	history  []string
	life     []int // how often a node's generators were started
	problems []string
	// Of the watched keys' operations, as verify found them.
	unknown, rejected int

	watcher   *interference.Watcher // nil: nobody watches the scheduler, and why is in unwatched
	unwatched string
	pids      []int     // of all node processes ever
	coresUsed []float64 // before each return of ways

	notes  []string
	events []report.Event // of the one who kills and restarts
	seen   map[int]map[healkv.Event]bool
	nodeEv []report.Event
}

// Run makes the cluster, does the experiments, verifies and reports. The
// error is ErrVerify if something compared was not right, and with Options.Check
// ErrBounds if a promise was not kept; the report is written all the same.
func Run(ctx context.Context, o Options, c *local.Cluster, out io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	r, err := newRunner(o, c, filepath.Join(o.Out, "data"))
	if err != nil {
		return err
	}
	defer r.k.client.CloseIdleConnections()
	defer r.watchScheduler()()
	in, err := r.all(ctx)
	// Everybody goes: the last ones would wait for a majority to leave the view.
	if stopErr := r.k.stop(syscall.SIGHUP); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	rep, err := report.Compute(*in)
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
	if !o.Check {
		return nil
	}
	if len(rep.Bounds) == 0 {
		return fmt.Errorf("%w: nothing was judged", ErrBounds)
	}
	if broken := rep.Bounds.Broken(); len(broken) > 0 {
		return fmt.Errorf("%w: %d of %d: %s", ErrBounds, len(broken), len(rep.Bounds), strings.Join(broken, "; "))
	}
	return nil
}

// newRunner is a runner of such a cluster, with an empty folder for its files.
func newRunner(o Options, c *local.Cluster, files string) (*runner, error) {
	spec, err := workload.New(o.Workload, workload.Options{Keys: o.Keys})
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(files); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, err
	}
	return &runner{o: o, k: newCluster(c, o.Program), spec: spec, files: files, started: time.Now(),
		rate: o.Rate, window: openWindow,
		windows: map[int][]string{}, life: make([]int, o.Nodes), seen: map[int]map[healkv.Event]bool{}}, nil
}

// serve starts all nodes, with flags of node serve, waits for them and loads the
// records.
func (r *runner) serve(ctx context.Context) error {
	r.say("starting %d node processes", r.o.Nodes)
	for i := range r.o.Nodes {
		if err := r.k.start(i, r.flags()...); err != nil {
			return err
		}
	}
	wait, cancel := context.WithTimeout(ctx, r.o.patience(startPatience, 10))
	defer cancel()
	if err := r.k.awaitServing(wait, r.k.all()); err != nil {
		return err
	}
	if err := r.environment(ctx); err != nil {
		return err
	}
	return r.load(ctx)
}

func (r *runner) say(format string, args ...any) {
	r.o.Say("%5.1fs  %s", time.Since(r.started).Seconds(), fmt.Sprintf(format, args...))
}

// all is the demo from start to verification.
func (r *runner) all(ctx context.Context) (*report.Input, error) {
	if err := r.serve(ctx); err != nil {
		return nil, err
	}
	r.watchNodes()
	heal, err := r.experiment(ctx, "heal", nil)
	if err != nil {
		return nil, err
	}
	runs := []*report.Run{heal}
	returns, err := r.returns(ctx)
	if err != nil {
		return nil, err
	}
	var full *report.Run
	if r.o.Full {
		if full, err = r.experiment(ctx, "full", []string{"--recovery", "full"}); err != nil {
			return nil, err
		}
		runs = append(runs, full)
	}
	if err := r.awaitHistory(ctx); err != nil {
		return nil, err
	}
	r.say("stopping the load")
	if err := r.stopLoad(ctx, r.k.all()); err != nil {
		return nil, err
	}
	if r.o.Overwrite > 0 {
		notes, err := r.overwritten(ctx, full.Recovery.Bytes)
		if err != nil {
			return nil, err
		}
		r.notes = append(r.notes, notes...)
	}
	v, err := r.verify(ctx)
	if err != nil {
		return nil, err
	}
	r.checkMissed(heal)
	v.Problems = append(v.Problems, r.problems...)
	v.OK = v.OK && len(v.Problems) == 0
	in := &report.Input{Env: r.env, Verification: v, Notes: r.notes, Returns: returns,
		NoInterference: r.unwatched,
		Failover:       r.o.Measured.Failover, Rolling: r.o.Measured.Rolling, Cold: r.o.Measured.Cold}
	in.Env.DurationS = time.Since(r.started).Seconds()
	if err := r.traces(runs...); err != nil {
		return nil, err
	}
	for _, x := range runs {
		in.Runs = append(in.Runs, *x)
	}
	return in, nil
}

// openWindow is how many accesses of an open loop may be in flight at a node.
const openWindow = 512

// startPatience bounds the start of all nodes, also on a busy machine.
const startPatience = 90 * time.Second

// benchFlag lets a node run generators.
const benchFlag = "--bench-enabled"

func (r *runner) environment(ctx context.Context) error {
	s, err := r.k.status(ctx, 0)
	if err != nil {
		return err
	}
	r.env = machine()
	r.env.Device = s.Device
	r.env.Commit, r.env.Nodes, r.env.Provider, r.env.Domain = r.o.Commit, r.o.Nodes, s.Provider, s.Domain
	r.env.PageSize, r.env.Model, r.env.Shards = s.PageSize, s.Model, s.Shards
	r.env.Keys, r.env.ValueBytes, r.env.Workload, r.env.Mix = r.spec.Keys(), r.spec.ValueBytes(), r.spec.Name(), r.spec.About()
	r.env.KeyBytes, r.env.RatePerS = r.keyBytes(), r.o.Rate
	r.env.Clients = fmt.Sprintf("one open-loop generator and one client of watched keys inside each of %d node processes", r.o.Nodes)
	r.env.StartUnix = r.started.UnixNano()
	return nil
}

func (r *runner) keyBytes() string {
	lo, hi := 1<<30, 0
	var key []byte
	for id := uint64(0); id < r.spec.Keys(); id += 1 + r.spec.Keys()/1000 {
		key = r.spec.AppendKey(key[:0], id)
		lo, hi = min(lo, len(key)), max(hi, len(key))
	}
	return fmt.Sprintf("%d to %d", lo, hi)
}

// name gives the next life of a node's generators its files.
func (r *runner) name(i int, kind string) string {
	return filepath.Join(r.files, fmt.Sprintf("node%d-life%d.%s", i, r.life[i], kind))
}

// begin starts a generator at a node. The files of a life are known before it
// starts: what a killed process wrote counts.
func (r *runner) begin(ctx context.Context, i int, q agent.Run) error {
	r.mu.Lock()
	r.life[i]++
	q.Keys, q.Node, q.Nodes = r.o.Keys, i, r.o.Nodes
	q.Seed = uint64(r.life[i])<<16 | uint64(i)
	q.Acks = r.name(i, "acks")
	r.acks = append(r.acks, q.Acks)
	if !q.Load && (q.Workload == r.o.Workload || r.probing) {
		q.Windows = r.name(i, "windows")
		r.windows[i] = append(r.windows[i], q.Windows)
		q.History, q.Client = r.name(i, "history"), uint32(i*lives+r.life[i])
		q.WatchKeys, q.WatchRate = watchKeys, r.o.WatchRate
		if r.probing {
			q.WatchRate = min(q.WatchRate, stallWatchRate)
		}
		r.history = append(r.history, q.History)
	}
	r.mu.Unlock()
	return r.k.ask(ctx, i, http.MethodPost, "/bench/start", q, nil)
}

func (r *runner) load(ctx context.Context) error {
	r.say("loading %d records through all nodes", r.spec.Keys())
	began := time.Now()
	err := r.k.each(r.k.all(), func(i int) error {
		if err := r.begin(ctx, i, agent.Run{Workload: r.o.Workload, Load: true, Window: 512}); err != nil {
			return err
		}
		return r.finished(ctx, i, "/bench/wait")
	})
	if err == nil {
		d := time.Since(began)
		r.say("loaded in %.1f s (%.0f durable replicated writes/s)", d.Seconds(), float64(r.spec.Keys())/d.Seconds())
	}
	return err
}

// finished ends or awaits a node's run and passes on its error.
func (r *runner) finished(ctx context.Context, i int, path string) error {
	var t agent.Totals
	if err := r.k.ask(ctx, i, http.MethodPost, path, struct{}{}, &t); err != nil {
		return err
	}
	if t.Err != "" {
		return fmt.Errorf("generator at node %d: %s", i, t.Err)
	}
	return nil
}

func (r *runner) startLoad(ctx context.Context, nodes []int) error {
	q := agent.Run{Workload: r.o.Workload, Rate: r.rate / float64(r.o.Nodes), Window: r.window}
	if r.probing {
		q.Workload, q.Rate = stallLoad(r.o.Workload), stallRate/float64(r.o.Nodes)
	}
	return r.k.each(nodes, func(i int) error { return r.begin(ctx, i, q) })
}

func (r *runner) stopLoad(ctx context.Context, nodes []int) error {
	return r.k.each(nodes, func(i int) error { return r.finished(ctx, i, "/bench/stop") })
}

func (r *runner) note(name string, node int, at int64, detail string) {
	r.events = append(r.events, report.Event{At: at, Node: node, Name: name, Detail: detail})
}

// experiment is load, steady state, kill, absence, return, steady again.
func (r *runner) experiment(ctx context.Context, name string, flags []string) (*report.Run, error) {
	v := r.o.Victim
	x := &report.Run{Name: name, Victim: v}
	r.events = nil
	if name == "heal" {
		r.say("%s: %.0f accesses/s offered, open loop", r.spec.Name(), r.o.Rate)
		if err := r.startLoad(ctx, r.k.all()); err != nil {
			return nil, err
		}
		if err := sleep(ctx, 2*time.Second); err != nil { // warm up
			return nil, err
		}
	}
	copied := r.counters(ctx, v)
	r.say("%s: %v, then SIGKILL to node %d, which is away for %v", name, r.o.Steady, v, r.o.Away)
	got, err := r.absence(ctx, x, absence{steady: r.o.Steady, away: r.o.Away, after: r.o.After, flags: flags})
	if err != nil {
		return nil, err
	}
	s := got.status
	l := s.LastRecovery
	r.say("%s: node %d serves again, %.1f ms after its process began to recover: %s of %s in the store",
		name, v, float64(l.Total)/1e6, size(l.Bytes), size(l.StoreBytes))
	if read, now := s.Counters, r.counters(ctx, v); now["recovery_windows"]+now["recovery_copies"] > 0 {
		text := fmt.Sprintf("%s over %s: %d bytes of the log by RDMA READ, %d out of staging areas; the buddy copied %d pieces, %d bytes, with %d ns of processor time; to open, register %d windows and release, %d requests, it spent %d ns",
			name, s.Device, read["recovery_read_bytes"], read["recovery_staged_bytes"], now["recovery_copies"]-copied["recovery_copies"],
			now["recovery_copied_bytes"]-copied["recovery_copied_bytes"], now["recovery_copy_processor_ns"]-copied["recovery_copy_processor_ns"],
			now["recovery_windows"]-copied["recovery_windows"], now["recovery_requests"]-copied["recovery_requests"],
			now["recovery_processor_ns"]-copied["recovery_processor_ns"])
		r.say("%s", text)
		r.notes = append(r.notes, text)
	}
	r.judged(name, l, name)
	return x, nil
}

// counters sums up the counters of all nodes but v.
func (r *runner) counters(ctx context.Context, v int) map[string]uint64 {
	sum := map[string]uint64{}
	for _, i := range r.k.all() {
		if i == v {
			continue
		}
		s, err := r.k.status(ctx, i)
		if err != nil {
			r.problem("node %d did not tell its counters: %v", i, err)
		}
		for name, n := range s.Counters {
			sum[name] += n
		}
	}
	return sum
}

// awaitRemoved waits until the others go on without node v. Within a host they
// do so long before; between hosts nothing proves a death, and they wait for
// its lease.
func (r *runner) awaitRemoved(ctx context.Context, v int) error {
	patience := r.o.patience(removedPatience, 4)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		s, err := r.k.status(ctx, (v+1)%r.o.Nodes)
		switch {
		case err != nil:
			return fmt.Errorf("waiting for a view without node %d: %w", v, err)
		case !slices.Contains(s.Live, v):
			return nil
		}
		if err := sleep(ctx, max(50*time.Millisecond, r.o.Lease/50)); err != nil {
			return fmt.Errorf("node %d was killed and is still live in view %d after %v: %w", v, s.Epoch, patience, err)
		}
	}
}

// removedPatience is several of the usual leases.
const removedPatience = time.Minute

// awaitHistory goes on with the load until the clients of the watched keys have
// done as many operations as are to be judged. Those of killed processes are
// not asked for: they come on top.
func (r *runner) awaitHistory(ctx context.Context) error {
	if r.o.History == 0 {
		return nil
	}
	r.say("going on until the history has %d operations", r.o.History)
	began, first := time.Now(), uint64(0)
	for tries := 0; ; tries++ {
		n, err := r.watched(ctx)
		switch {
		case err != nil:
			return err
		case n >= uint64(r.o.History):
			return nil
		}
		if tries == 0 {
			first = n
		} else if tries%10 == 0 {
			r.say("%d operations, %.0f a second", n, float64(n-first)/time.Since(began).Seconds())
		}
		if time.Since(began) > r.o.HistoryWithin {
			return fmt.Errorf("%d operations of watched keys, want %d; no more than %.0f a second were done in %v: a slower --rate leaves them more time",
				n, r.o.History, float64(n-first)/time.Since(began).Seconds(), r.o.HistoryWithin)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// watched is how many operations of watched keys the present generators have
// done.
func (r *runner) watched(ctx context.Context) (uint64, error) {
	all := make([]agent.Totals, r.o.Nodes)
	err := r.k.each(r.k.all(), func(i int) error {
		err := r.k.ask(ctx, i, http.MethodGet, "/bench/totals", nil, &all[i])
		if err == nil && all[i].Err != "" {
			err = fmt.Errorf("generator at node %d: %s", i, all[i].Err)
		}
		return err
	})
	var n uint64
	for i := range all {
		n += all[i].Watch.Reads + all[i].Watch.Writes
	}
	return n, err
}

// collectEvents takes over what a node's status lists and was not seen yet.
func (r *runner) collectEvents(ctx context.Context, i int) {
	s, err := r.k.status(ctx, i)
	if err != nil {
		return // a node that is down has told before
	}
	if r.seen[i] == nil {
		r.seen[i] = map[healkv.Event]bool{}
	}
	for _, e := range s.Events {
		if !r.seen[i][e] {
			r.seen[i][e] = true
			r.nodeEv = append(r.nodeEv, report.Event{At: e.At, Node: i, Name: e.Name, Epoch: e.Epoch, Detail: e.Detail})
		}
	}
}

// acked merges the tables of acknowledged writes as they stand now.
func (r *runner) acked() (ts []uint64) {
	r.mu.Lock()
	files := append([]string(nil), r.acks...)
	r.mu.Unlock()
	for _, f := range files {
		if t, err := record.ReadAcks(f); err == nil {
			ts = check.MergeAcks(ts, t.TS)
		}
	}
	return ts
}

// missed is what was acknowledged between two states of the tables.
func (r *runner) missed(before, after []uint64) (m missed) {
	var key []byte
	for id, ts := range after {
		if id < len(before) && ts == before[id] {
			continue
		}
		key = r.spec.AppendKey(key[:0], uint64(id))
		m.Keys++
		m.Bytes += uint64(recordBytes(len(key), r.spec.ValueBytes()))
	}
	return m
}

func (r *runner) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// fixedPart is what a recovery may move whatever was missed: the records that
// were under way at the kill and the list's frame.
const fixedPart = 256 << 10

func (r *runner) checkMissed(x *report.Run) {
	if limit := x.Recovery.MissedBytes*12/10 + fixedPart; x.Recovery.Bytes > limit {
		r.problem("heal moved %d bytes, more than 1.2 times the %d distinct missed ones and %d", x.Recovery.Bytes, x.Recovery.MissedBytes, fixedPart)
	}
}

// overwritten is the third experiment: while the victim is away 1 % of the
// keys are overwritten many times. What it moves then is what it lacks, not
// what was written.
func (r *runner) overwritten(ctx context.Context, fullBytes uint64) (notes []string, err error) {
	v := r.o.Victim
	writes := uint64(r.o.Overwrite) * r.o.Keys / 100
	r.say("overwrite: SIGKILL to node %d, then %d writes to 1 %% of the keys", v, writes)
	r.kill(v)
	var rest []int
	for _, i := range r.k.all() {
		if i != v {
			rest = append(rest, i)
		}
	}
	err = r.k.each(rest, func(i int) error {
		q := agent.Run{Workload: "overwrite", HotShare: 0.01, Window: 512, Ops: writes / uint64(len(rest))}
		if err := r.begin(ctx, i, q); err != nil {
			return err
		}
		return r.finished(ctx, i, "/bench/wait")
	})
	if err != nil {
		return nil, err
	}
	_, s, err := r.bringBack(ctx, v, startPatience)
	if err != nil {
		return nil, err
	}
	l := s.LastRecovery
	share := float64(l.Bytes) / float64(fullBytes) * 100
	text := fmt.Sprintf("1 %% of the keys overwritten %d times while node %d was away: %s were logged meanwhile, %s (%d records) moved, %.2f %% of the full copy, in %.1f ms",
		r.o.Overwrite, v, size(l.RangeBytes), size(l.Bytes), l.Records, share, float64(l.Total)/1e6)
	r.say("overwrite: %s", text)
	if l.Kind != "heal" || share >= 2 {
		r.problem("overwrite: recovered by %q with %.2f %% of a full copy's bytes, want heal and under 2 %%", l.Kind, share)
	}
	return []string{text}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
