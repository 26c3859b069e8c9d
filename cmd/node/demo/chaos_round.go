package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"healkv"
	"healkv/bench/matrix"
	"healkv/bench/record"
	"healkv/cmd/node/local"
)

// ChaosRound is one cluster from its making to its removal.
type ChaosRound struct {
	Number     int            `json:"round"`
	Seed       uint64         `json:"seed"`
	Model      string         `json:"model"`
	Domain     string         `json:"domain"`
	Provider   string         `json:"provider,omitempty"` // "": the run's
	Nodes      int            `json:"nodes"`
	DataTLS    bool           `json:"data_tls,omitempty"`
	Bounded    bool           `json:"bounded"` // on a file system that can be filled
	TookS      float64        `json:"took_s"`
	ByKind     map[string]int `json:"by_kind"`
	Missed     map[string]int `json:"missed,omitempty"` // the phase was over before the fault came
	Sequence   []ChaosFault   `json:"sequence"`
	Operations uint64         `json:"operations"`
	Acked      uint64         `json:"acked_writes"`
	AckedKeys  uint64         `json:"acked_keys_compared"`
	HistoryOps int            `json:"history_operations"`
	Unknown    int            `json:"unknown"`
	Rejected   int            `json:"rejected"`
	Persisted  int            `json:"persisted"` // scopes
	HealMaxMS  int64          `json:"heal_max_ms"`
	Recoveries map[string]int `json:"recoveries"`
	Views      uint32         `json:"views"`
	Problems   []string       `json:"problems,omitempty"`
	OK         bool           `json:"ok"`
}

// ChaosFault is one fault as it was injected.
type ChaosFault struct {
	AtS      float64 `json:"at_s"` // since the round began
	Kind     string  `json:"kind"`
	Detail   string  `json:"detail"`
	HealedMS int64   `json:"healed_ms"` // from the end of the fault to all nodes live

	wants map[int]string // by node: how it must have come back, a RecoveryStatus.Kind
}

func (r *ChaosRound) pair() string { return r.Model + " " + r.Domain }

func (r *ChaosRound) faults() (n int) {
	for _, k := range r.ByKind {
		n += k
	}
	return n
}

func (r *ChaosRound) problem(format string, args ...any) {
	r.OK = false
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *ChaosRound) line(out io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(out, "%5d %-14s %-7s %5d %6.1fs %7d %9d %8d %9d %9s  %s\n", r.Number, r.Model, r.Domain, r.Nodes, r.TookS,
		r.faults(), r.Operations, r.HistoryOps, r.HealMaxMS, fmt.Sprintf("%d/%d/%d", r.Recoveries["heal"], r.Recoveries["full"], r.Recoveries["cold"]), verdict)
}

// chaos is the cluster of one round and the one who hurts it.
type chaos struct {
	*runner
	round *ChaosRound
	plan  *planner
	c     *local.Cluster
	rng   *rand.Rand
	disk  *disk // nil: nothing that may be filled

	driven  []*process        // the process at each node in which generators run
	felled  map[*process]bool // ended by us, or with our consent
	halted  []bool            // by SIGSTOP
	outside *outside
	counted map[int64]bool // recoveries, by their start
	from    int64          // since when the stall of a fault counts; CLOCK_MONOTONIC ns
	flags   []string
}

// Patience of a round. A fault is over within seconds; what takes a minute is
// stuck.
const (
	healPatience  = 60 * time.Second
	eventPatience = 30 * time.Second
)

// runRound fills in r. It never leaves a process or shared memory behind.
func runRound(ctx context.Context, o *ChaosOptions, p *planner, r *ChaosRound) {
	began := time.Now()
	defer func() { r.TookS = time.Since(began).Seconds() }()
	dir := filepath.Join(o.Out, fmt.Sprintf("round-%d", r.Number))
	x, err := newChaos(o, p, r, dir)
	if err != nil {
		r.problem("making the cluster: %v", err)
		return
	}
	if err := x.run(ctx, o); err != nil {
		r.problem("%v", err)
		x.evidence()
	}
	x.end(dir)
	if r.OK {
		if err := os.RemoveAll(dir); err != nil {
			r.problem("cleaning up: %v", err)
		}
	}
}

func newChaos(o *ChaosOptions, p *planner, r *ChaosRound, dir string) (*chaos, error) {
	spec, err := chaosSpec(o)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil { // of a run before
		return nil, err
	}
	want := ChaosCluster{Dir: filepath.Join(dir, "cluster"), Nodes: r.Nodes, Model: r.Model, Domain: r.Domain, Provider: r.Provider, DataTLS: r.DataTLS}
	var d *disk
	if r.Bounded {
		if d, err = mountDisk(r.Number, r.Nodes); err != nil {
			return nil, err
		}
		// Pools of the file domain are refused on a tmpfs, and their blocks are
		// allocated when they are made: only the run directory can run out.
		want.RunDir = filepath.Join(d.dir, "r")
		if r.Domain == "memory" {
			want.Dir = filepath.Join(d.dir, "d")
		}
	}
	files := filepath.Join(dir, "data")
	if err := os.MkdirAll(files, 0o700); err != nil {
		return nil, errors.Join(err, d.unmount())
	}
	c, err := o.Make(want)
	if err != nil {
		return nil, errors.Join(err, d.unmount())
	}
	opts := Defaults()
	opts.Out, opts.Nodes, opts.Keys, opts.Workload, opts.Program, opts.Rate = dir, r.Nodes, o.Keys, o.Workload, o.Program, o.Rate
	opts.Say = func(format string, args ...any) { o.Say("round %d "+format, append([]any{r.Number}, args...)...) }
	// What one watched key sees in a second of rest, times the length of a round
	// that is mostly faults.
	opts.Verify = Minima{AckedWrites: o.Keys, AckedKeys: o.Keys, HistoryOps: 500}
	x := &chaos{round: r, plan: p, c: c, disk: d, rng: rand.New(rand.NewPCG(r.Seed, 1)), felled: map[*process]bool{},
		counted: map[int64]bool{}, driven: make([]*process, r.Nodes), halted: make([]bool, r.Nodes), flags: []string{benchFlag, "--log-level", "debug"},
		runner: &runner{o: opts, k: newCluster(c, o.Program), spec: spec, files: files, started: time.Now(),
			windows: map[int][]string{}, life: make([]int, r.Nodes), seen: map[int]map[healkv.Event]bool{}}}
	x.k.onDeath = syscall.SIGKILL // a process that was stopped would not see a gentler signal
	return x, nil
}

// run is a round until its verdict. An error ends it early.
func (x *chaos) run(ctx context.Context, o *ChaosOptions) error {
	return x.underLoad(ctx, nil, func() error { return x.hurt(ctx, o) })
}

// underLoad starts the cluster, with a cell as begin does, and its load, lets it
// be hurt, and judges what came of it.
func (x *chaos) underLoad(ctx context.Context, first *matrix.Cell, hurt func() error) error {
	wait, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := x.begins(wait, first); err != nil {
		return err
	}
	if err := x.load(ctx); err != nil {
		return err
	}
	var err error
	if x.outside, err = x.openOutside(); err != nil {
		return err
	}
	err = hurt()
	if err == nil {
		err = x.stopLoad(ctx, x.k.all())
	}
	if outsideErr := x.outside.close(); err == nil {
		err = outsideErr
	}
	if err != nil {
		return err
	}
	return x.judge(ctx)
}

// hurt injects faults until the round's time is over, with rests in between.
func (x *chaos) hurt(ctx context.Context, o *ChaosOptions) error {
	if err := x.calm(ctx, nil); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < o.RoundTime || x.round.faults() < 2; {
		if o.RoundFaults > 0 && x.round.faults() >= o.RoundFaults {
			break
		}
		kind := x.plan.next(x.round)
		if kind == "" {
			return fmt.Errorf("no fault of %v can be injected at %d nodes", o.Kinds, x.round.Nodes)
		}
		if err := x.inject(ctx, faultOf(kind)); err != nil {
			return err
		}
	}
	// What the last fault may have left to go wrong needs traffic to show.
	return sleep(ctx, time.Second)
}

// attempts a phase that lasts milliseconds is worth.
const attempts = 5

// inject injects one fault, again if it came too late, and waits until the
// cluster has recovered.
func (x *chaos) inject(ctx context.Context, f *fault) error {
	for range attempts {
		if err := x.pause(ctx, 600*time.Millisecond); err != nil {
			return err
		}
		x.round.Sequence = append(x.round.Sequence, ChaosFault{AtS: time.Since(x.started).Seconds(), Kind: f.kind})
		now := &x.round.Sequence[len(x.round.Sequence)-1]
		hit, err := f.inject(x, ctx, now)
		if err == nil {
			err = x.calm(ctx, now)
		}
		if err == nil && f.after != nil && hit {
			err = f.after(x, ctx, now)
		}
		x.say("%s %s: healed after %d ms", f.kind, now.Detail, now.HealedMS)
		if err != nil {
			return fmt.Errorf("fault %d, %s (%s): %w", len(x.round.Sequence), f.kind, now.Detail, err)
		}
		if hit {
			x.round.ByKind[f.kind]++
			x.plan.done(x.round, f.kind)
			return nil
		}
		now.Detail += ", too late"
		x.round.Missed[f.kind]++
	}
	x.plan.done(x.round, f.kind) // others get their turn; the count stays zero
	return nil
}

// calm ends every fault, brings everybody back, and waits until all nodes are
// live in one view and work again.
func (x *chaos) calm(ctx context.Context, f *ChaosFault) error {
	began := time.Now()
	for _, i := range x.k.all() {
		p := x.k.procs[i]
		if !p.over() {
			if x.halted[i] {
				if err := x.goOn(i); err != nil {
					return err
				}
			}
			continue
		}
		if !x.felled[p] {
			return fmt.Errorf("node %d ended by itself: %v; its log is node-%d.log", i, p.cmd.ProcessState, i)
		}
		if err := x.start(i); err != nil {
			return err
		}
	}
	wait, cancel := context.WithTimeout(ctx, healPatience)
	defer cancel()
	if err := x.agreed(wait); err != nil {
		return err
	}
	if f != nil {
		f.HealedMS = time.Since(began).Milliseconds()
		x.round.HealMaxMS = max(x.round.HealMaxMS, f.HealedMS)
	}
	for _, i := range x.k.all() {
		if x.driven[i] == x.k.procs[i] {
			continue // its generators have lived on
		}
		if err := x.startLoad(ctx, []int{i}); err != nil {
			return err
		}
		x.driven[i] = x.k.procs[i]
	}
	return nil
}

// agreed waits until every node serves and knows all of them to be live, in
// one view.
func (x *chaos) agreed(ctx context.Context) error {
	for {
		if err := x.k.awaitServing(ctx, x.k.all()); err != nil {
			return err
		}
		states := make([]healkv.Status, x.o.Nodes)
		err := x.k.each(x.k.all(), func(i int) (err error) { states[i], err = x.k.status(ctx, i); return err })
		same := err == nil
		for i := range states {
			s := &states[i]
			same = same && s.Epoch == states[0].Epoch && len(s.Live) == x.o.Nodes && s.Serving && s.Role == "live"
		}
		if same {
			for i := range states {
				x.countRecovery(&states[i])
			}
			x.round.Views = states[0].Epoch
			return nil
		}
		if sleep(ctx, 10*time.Millisecond) != nil {
			var at []string
			for _, s := range states {
				at = append(at, fmt.Sprintf("node %d %s, epoch %d, live %v, shadow %v", s.Node, s.Role, s.Epoch, s.Live, s.Shadow))
			}
			return fmt.Errorf("not all nodes are live in one view after %v: %s (%v)", healPatience, strings.Join(at, "; "), err)
		}
	}
}

func (x *chaos) countRecovery(s *healkv.Status) {
	if l := s.LastRecovery; l != nil && !x.counted[l.Start] {
		x.counted[l.Start] = true
		x.round.Recoveries[l.Kind]++
	}
}

// judge compares everything; what is wrong becomes a problem of the round.
func (x *chaos) judge(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, healPatience)
	defer cancel()
	v, err := x.verify(wait)
	if err != nil && wait.Err() != nil {
		return fmt.Errorf("not everything could be read back within %v, so a record may be locked for ever: %w", healPatience, err)
	}
	if err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	r := x.round
	r.Acked, r.AckedKeys, r.HistoryOps = v.AckedWrites, v.KeysCompared, v.HistoryOps
	r.Unknown, r.Rejected = x.unknown, x.rejected
	r.Operations = uint64(v.HistoryOps)
	for _, files := range x.windows {
		for _, path := range files {
			w, err := record.ReadWindows(path)
			if err != nil {
				return err
			}
			for i := range w.Windows {
				r.Operations += w.Windows[i].Ops()
			}
		}
	}
	for _, p := range append(v.Problems, x.problems...) {
		r.problem("%s", p)
	}
	return nil
}

// end stops the processes as a user stops a group, looks at what they said,
// and makes sure that nothing is left.
func (x *chaos) end(dir string) {
	r := x.round
	for _, p := range x.k.procs {
		if p != nil && !p.over() {
			p.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	if err := x.k.stop(syscall.SIGHUP); err != nil { // everybody goes: nobody insists on leaving the view
		r.problem("%v", err)
	}
	for i, p := range x.k.procs {
		if p != nil && r.OK && !p.cmd.ProcessState.Success() {
			r.problem("node %d was asked to stop and ended with %v", i, p.cmd.ProcessState)
		}
	}
	x.k.client.CloseIdleConnections()
	for i := range x.o.Nodes {
		if err := x.readLog(i, filepath.Join(dir, fmt.Sprintf("node-%d.log", i))); err != nil {
			r.problem("log of node %d: %v", i, err)
		}
	}
	for i, pid := range x.c.Running() {
		r.problem("process %s still runs node %d", pid, i)
	}
	if err := local.Destroy(x.c.Dir); err != nil {
		r.problem("removing the cluster: %v", err)
	}
	if _, err := os.Lstat(x.c.RunDir); err == nil {
		r.problem("shared memory is left in %s", x.c.RunDir)
	}
	for _, pid := range processesOf(x.c.Dir) {
		r.problem("process %s of the cluster is left", pid)
	}
	if err := x.disk.unmount(); err != nil {
		r.problem("%v", err)
	}
}

// never are words that no log of a node may hold, whatever was done to it.
var never = []string{"panic", "fatal error", "DATA RACE", "assertion failed", "invariant broken", "unexpected fault address", "SIGBUS", "SIGSEGV"}

// readLog looks for what must not be there, and keeps the log of a round that
// failed.
func (x *chaos) readLog(i int, to string) error {
	text, err := os.ReadFile(x.c.LogPath(i))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if at := slices.IndexFunc(never, func(w string) bool { return strings.Contains(line, w) }); at >= 0 {
			x.round.problem("node %d said: %.300s", i, strings.TrimSpace(line))
			break
		}
	}
	if x.round.OK {
		return nil
	}
	return os.WriteFile(to, text, 0o600)
}

// evidence keeps what the nodes say of themselves, and where their goroutines
// are.
func (x *chaos) evidence() {
	for i, p := range x.k.procs {
		if p == nil || p.over() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		var state json.RawMessage
		if err := x.k.ask(ctx, i, "GET", "/status", nil, &state); err == nil {
			os.WriteFile(filepath.Join(x.o.Out, fmt.Sprintf("status-%d.json", i)), state, 0o600)
		}
		cancel()
	}
	for _, p := range x.k.procs {
		if p == nil || p.over() {
			continue
		}
		p.cmd.Process.Signal(syscall.SIGCONT)
		p.cmd.Process.Signal(syscall.SIGQUIT) // the runtime prints every goroutine's stack
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
		}
	}
}

// processesOf lists processes whose command line names a path below dir.
func processesOf(dir string) (pids []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), dir+"/") {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}
