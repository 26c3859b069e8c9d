package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"healkv/bench/workload"
	"healkv/cmd/node/config"
	"healkv/cmd/node/demo"
	"healkv/cmd/node/local"
)

// labArgs are the flags that `node demo` and `node bench` share: the cluster
// they make for themselves and remove again.
type labArgs struct {
	out      string
	nodes    int
	keys     uint64
	workload string
	model    string
	domain   string
	huge     string
	pool     string
	shards   int
	provider string
	verbs    config.Verbs
	ports    local.Ports
	keep     bool
	source   *config.Source // settings that have no flag of their own here
}

// labKeys are settings for machines that are small, slow, or emulated.
var labKeys = []string{"lease", "drift", "spin", "ring_size", "segment_size", "max_keys"}

func (a *labArgs) flags(fs *flag.FlagSet, out string) {
	fs.StringVar(&a.out, "out", out, "where the results go, `DIR`; the cluster lives in DIR/cluster meanwhile")
	fs.IntVar(&a.nodes, "nodes", nodesDefault, "`number` of node processes")
	fs.Uint64Var(&a.keys, "keys", 500_000, "`number` of records loaded")
	fs.StringVar(&a.workload, "workload", "taobench-a", "one of "+strings.Join(workload.Names(), ", "))
	fs.StringVar(&a.model, "model", "synchronous", "persistency `model`: synchronous, strict, read-enforced, eventual, scope")
	fs.StringVar(&a.domain, "domain", "memory", "durability `domain`: memory, file, dax, auto")
	fs.StringVar(&a.huge, "huge-pages", "auto", "auto, on, off")
	fs.StringVar(&a.pool, "pool-size", "512MiB", "log space of a node, `size`")
	fs.IntVar(&a.shards, "shards", 1, "shard workers per node")
	providerFlags(fs, &a.provider, &a.verbs)
	a.ports = local.Ports{Resp: 17000, Admin: 17100, Control: 17200, Data: 17300}
	portFlags(fs, &a.ports, a.ports)
	fs.BoolVar(&a.keep, "keep", false, "keep the cluster's files")
	a.source = config.New()
	a.source.AddFlags(fs, func(k *config.Key) bool { return slices.Contains(labKeys, k.Name) })
}

// providerFlags declares the flags that say how nodes reach one another.
func providerFlags(fs *flag.FlagSet, provider *string, v *config.Verbs) {
	*v = config.Default().Verbs
	fs.StringVar(provider, "provider", "shm", "how nodes reach one another, `name`: shm, tcp, verbs")
	fs.StringVar(&v.Device, "verbs-device", v.Device, "verbs: the device, `name`; none: the one of --verbs-netdev, else the first with an active port")
	fs.StringVar(&v.Netdev, "verbs-netdev", v.Netdev, "verbs: take the device of this network interface, `name`")
	fs.IntVar(&v.Port, "verbs-port", v.Port, "verbs: `port` of the device; 0 is the first active one")
	fs.IntVar(&v.GIDIndex, "verbs-gid-index", v.GIDIndex, "verbs: `entry` of the port's GID table; -1 chooses a RoCEv2 one")
}

// cluster makes the cluster; done removes it.
func (a *labArgs) cluster() (c *local.Cluster, done func(), err error) {
	if err := builtIn(a.provider); err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(a.out, "cluster")
	if there, err := local.Exists(dir); err != nil {
		return nil, nil, err
	} else if there {
		if err := local.Destroy(dir); err != nil { // of a run that was cut off
			return nil, nil, err
		}
	}
	if err := os.MkdirAll(a.out, 0o700); err != nil {
		return nil, nil, err
	}
	s := a.source
	if err := s.Flags(); err != nil {
		return nil, nil, badConfig(err)
	}
	s.Config.Nodes, s.Config.Provider, s.Config.Verbs = a.nodes, a.provider, a.verbs
	s.Config.Model, s.Config.Domain, s.Config.HugePages, s.Config.Shards = a.model, a.domain, a.huge, a.shards
	if err := s.Config.PoolSize.Set(a.pool); err != nil {
		return nil, nil, badConfig(fmt.Errorf("--pool-size: %w", err))
	}
	c, err = local.Create(local.Options{Dir: dir, Ports: a.ports, Source: s, Format: formatNode,
		Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }})
	if err != nil {
		return nil, nil, err
	}
	return c, func() {
		if a.keep {
			fmt.Println("kept:", dir)
		} else if err := local.Destroy(dir); err != nil {
			fmt.Fprintln(os.Stderr, "node: cleaning up:", err)
		}
	}, nil
}

type demoArgs struct {
	labArgs
	o        demo.Options
	failover int
}

func demoFlags(a *demoArgs) *flag.FlagSet {
	fs := newFlagSet("demo")
	a.o = demo.Defaults()
	a.labArgs.flags(fs, "out/demo")
	fs.Float64Var(&a.o.Rate, "rate", a.o.Rate, "accesses per second offered, all nodes together")
	fs.IntVar(&a.o.Victim, "victim", a.o.Victim, "the `node` that is killed")
	fs.DurationVar(&a.o.Steady, "steady", a.o.Steady, "steady `time` before a kill")
	fs.DurationVar(&a.o.Away, "away", a.o.Away, "`time` without the node")
	fs.DurationVar(&a.o.After, "after", a.o.After, "`time` after a recovery")
	fs.BoolVar(&a.o.Full, "full", a.o.Full, "the second experiment: the same with a full copy")
	fs.IntVar(&a.o.Returns, "returns", a.o.Returns, "how many `times` more a node is killed and comes back after a second, for the median of what a way back costs however little was missed")
	fs.Float64Var(&a.o.WatchRate, "watch-rate", a.o.WatchRate, "operations per second and node on the keys whose history is judged")
	fs.IntVar(&a.o.History, "history", a.o.History, "go on until so many operations on those keys are done, and judge no fewer; 0: what the time allows")
	fs.DurationVar(&a.o.HistoryWithin, "history-within", a.o.HistoryWithin, "`time` for that after the experiments")
	fs.IntVar(&a.failover, "failover", 0, "before all that, measure what a kill, a stop and a planned leave cost the others, a rolling restart and cold starts, each so many `times`")
	fs.BoolVar(&a.o.Interference, "interference", a.o.Interference, "watch the scheduler for who keeps the hot path off its cores (eBPF; as root)")
	fs.BoolVar(&a.o.Check, "check", false, "with --failover: exit status 1 if one of these takes longer than it may, or an operation fails")
	fs.IntVar(&a.o.Overwrite, "overwrite", a.o.Overwrite, "how many `times` 1 % of the keys are overwritten in the third experiment; 0 leaves it out")
	return fs
}

func runDemo(ctx context.Context, args []string) error {
	var a demoArgs
	if err := parse(demoFlags(&a), args); err != nil {
		return err
	}
	program, err := local.ProgramPath()
	if err != nil {
		return err
	}
	o := a.o
	o.Out, o.Nodes, o.Keys, o.Workload, o.Program, o.Commit = a.out, a.nodes, a.keys, a.workload, program, version
	o.Verify = demo.MinimaFor(&o)
	o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if a.o.Check && a.failover == 0 {
		return badConfig(errors.New("--check judges what --failover N measures: give both"))
	}
	if a.failover != 0 {
		if o.Measured, err = a.measure(ctx, o); err != nil {
			return err
		}
	}
	c, done, err := a.cluster()
	if err != nil {
		return err
	}
	defer done()
	o.Lease = time.Duration(a.source.Config.Lease)
	err = demo.Run(ctx, o, c, os.Stdout)
	if err == nil || errors.Is(err, demo.ErrVerify) || errors.Is(err, demo.ErrBounds) {
		fmt.Printf("report: %s\n", filepath.Join(a.out, "report.html"))
	}
	if err != nil && !errors.Is(err, demo.ErrBounds) {
		a.keep = true // the logs say why
	}
	return err
}

// measure does --failover, on clusters of their own: the one that was asked for;
// beside shared memory TCP, for what silence costs, and beside memory files, for
// cold starts.
func (a *demoArgs) measure(ctx context.Context, o demo.Options) (all demo.Measured, err error) {
	type kind struct {
		provider, domain string
		onlyCold         bool
	}
	kinds := []kind{{a.provider, a.domain, false}}
	if a.provider == "shm" {
		kinds = append(kinds, kind{"tcp", a.domain, false})
		if a.domain == "memory" {
			kinds = append(kinds, kind{"shm", "file", true})
		}
	}
	for _, k := range kinds {
		b := a.labArgs
		b.provider, b.domain = k.provider, k.domain
		c, done, err := b.cluster()
		if err != nil {
			return all, err
		}
		o.Lease = time.Duration(b.source.Config.Lease)
		m, err := demo.Failover(ctx, o, c, k.provider, a.failover, k.onlyCold)
		if err != nil {
			return all, err // the logs are in the cluster, which stays
		}
		done()
		all.Add(m)
	}
	return all, nil
}

type benchArgs struct {
	labArgs
	o demo.BenchOptions
}

func benchFlags(a *benchArgs) *flag.FlagSet {
	fs := newFlagSet("bench")
	a.labArgs.flags(fs, "out/bench")
	fs.DurationVar(&a.o.Time, "time", 5*time.Second, "measured `time`, after a second of warming up")
	fs.IntVar(&a.o.Runs, "runs", 3, "`number` of runs; the median and the spread are shown")
	fs.Float64Var(&a.o.Rate, "rate", 0, "accesses per second offered, all nodes together; 0 is a closed loop")
	fs.IntVar(&a.o.Window, "window", 256, "operations in flight per node")
	fs.BoolVar(&a.o.OnWorker, "on-worker", false, "generators run on the threads of the shard workers, and latencies have a nanosecond's digits (up to 60 ms)")
	fs.IntVar(&a.o.Loaded, "loaded", 0, "`number` of nodes that have a generator, the first ones; 0 is all")
	fs.BoolVar(&a.o.Stable, "expect-epoch-stable", false, "fail if a view changes or a lease is lost during the runs")
	fs.BoolVar(&a.o.QuietHeap, "expect-quiet-heap", false, "fail if a node process collects garbage or allocates for its operations during the runs")
	fs.BoolVar(&a.o.Profile, "profile", false, "write CPU profiles of the nodes with a generator, taken in the last run: OUT/node-N.pprof for go tool pprof")
	return fs
}

func runBench(ctx context.Context, args []string) error {
	var a benchArgs
	if err := parse(benchFlags(&a), args); err != nil {
		return err
	}
	program, err := local.ProgramPath()
	if err != nil {
		return err
	}
	c, done, err := a.cluster()
	if err != nil {
		return err
	}
	defer done()
	o := a.o
	o.Options = demo.Defaults()
	o.Lease = time.Duration(a.source.Config.Lease)
	o.Out, o.Nodes, o.Keys, o.Workload, o.Program, o.Commit = a.out, a.nodes, a.keys, a.workload, program, version
	o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if err := demo.Bench(ctx, o, c, os.Stdout); err != nil {
		a.keep = true
		return err
	}
	return nil
}
