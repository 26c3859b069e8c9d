// Command peers measures HealKV beside etcd, ZooKeeper, Redis and dragonboat: the
// same operations, on this machine, in one run, with matched durability. With
// the argument redis-bench it runs redis-benchmark against one Redis server and
// against HealKV. See docs/peers.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"healkv/bench/peers/servers"
)

// options are the flags.
type options struct {
	domain  servers.Domain
	systems []string
	clients []int
	runs    int
	time    time.Duration
	warm    time.Duration
	keys    int
	value   int
	missed  int64
	reads   bool
	inNode  bool
	unix    bool
	judge   bool
	out     string
	program string
	pool    string
	limit   time.Duration
	command string
}

var errUsage = errors.New("peers: usage")

func parse(args []string) (o options, err error) {
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	domain := fs.String("domain", "file", "`file`: flushed to disk before the answer; memory: no flush on any side, on tmpfs")
	systems := fs.String("systems", "", "what to compare, of "+strings.Join(servers.Names(), ",")+" (default healkv,etcd with --domain file, all with memory)")
	clients := fs.String("clients", "1,64,256", "numbers of connections")
	fs.IntVar(&o.runs, "runs", 3, "how often everything is measured, the order of the systems turned")
	fs.DurationVar(&o.time, "time", 20*time.Second, "measured time of a part")
	fs.DurationVar(&o.warm, "warm", 2*time.Second, "time before it")
	fs.IntVar(&o.keys, "keys", 20_000, "keys, written once before")
	fs.IntVar(&o.value, "value", 150, "bytes of a value")
	fs.Int64Var(&o.missed, "missed", -1, "writes that a killed node misses; 0 for no kill (default 0 with --domain file, 50000 with memory)")
	fs.BoolVar(&o.reads, "reads", false, "measure reads too (default with --domain memory)")
	fs.BoolVar(&o.inNode, "in-node", true, "measure HealKV under generators inside its nodes too, at the largest number of clients")
	fs.BoolVar(&o.unix, "unix", true, "measure over socket files too, those systems that have them, at the largest number of clients")
	fs.BoolVar(&o.judge, "judge", true, "exit status 1 if a bound is missed")
	fs.StringVar(&o.out, "out", "out/peers", "`directory` of the results, and of the data with --domain file; that disk is measured")
	fs.StringVar(&o.program, "node", "bin/node", "HealKV's `program`")
	fs.StringVar(&o.pool, "pool-size", "1GiB", "HealKV's pool_size")
	fs.DurationVar(&o.limit, "limit", 2*time.Hour, "give up after this time")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("%w: %q is no flag", errUsage, fs.Arg(0))
	}
	o.command = strings.Join(append([]string{"peers"}, args...), " ")
	o.domain = servers.Domain(*domain)
	all := servers.Names()
	switch o.domain {
	case servers.File:
		all = []string{"healkv", "etcd"}
		o.missed = max(o.missed, 0)
	case servers.Memory:
		if o.missed < 0 {
			o.missed = 50_000
		}
		given := false
		fs.Visit(func(f *flag.Flag) { given = given || f.Name == "reads" })
		o.reads = o.reads || !given
	default:
		return o, fmt.Errorf("%w: --domain %s; it is file or memory", errUsage, *domain)
	}
	if *systems != "" {
		all = strings.Split(*systems, ",")
	}
	for _, s := range all {
		if !servers.Known(s) {
			return o, fmt.Errorf("%w: --systems: no %q; there are %s", errUsage, s, strings.Join(servers.Names(), ", "))
		}
		if slices.Contains(o.systems, s) {
			return o, fmt.Errorf("%w: --systems: %s twice", errUsage, s)
		}
		o.systems = append(o.systems, s)
	}
	for _, text := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 4096 {
			return o, fmt.Errorf("%w: --clients %q; numbers from 1 to 4096, with commas between", errUsage, *clients)
		}
		o.clients = append(o.clients, n)
	}
	slices.Sort(o.clients)
	switch most := o.clients[len(o.clients)-1]; {
	case o.runs < 1 || o.time <= 0 || o.warm < 0 || o.limit <= 0:
		return o, fmt.Errorf("%w: --runs, --time and --limit must be above zero", errUsage)
	case o.keys < most:
		return o, fmt.Errorf("%w: --keys %d is below %d clients; each has keys of its own", errUsage, o.keys, most)
	case o.value < 16 || o.value > 1<<20:
		return o, fmt.Errorf("%w: --value %d; from 16 to 1048576 bytes", errUsage, o.value)
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return o, err
	}
	if o.program, err = filepath.Abs(o.program); err != nil {
		return o, err
	}
	return o, nil
}

func main() {
	var o options
	var b benchOptions
	var err error
	bench := len(os.Args) > 1 && os.Args[1] == "redis-bench"
	if bench {
		b, err = parseBench(os.Args[2:])
		o.limit = b.limit
	} else {
		o, err = parse(os.Args[1:])
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once; its children then end too
	limited, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	run := func() error { return compare(limited, o, os.Stdout) }
	if bench {
		run = func() error { return redisBench(limited, b, os.Stdout) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		if ctx.Err() != nil {
			os.Exit(130)
		}
		os.Exit(1)
	}
}
