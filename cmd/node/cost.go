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

	"healkv/cmd/node/config"
	"healkv/cmd/node/demo"
	"healkv/cmd/node/local"
)

type costArgs struct {
	labArgs
	o       demo.CostOptions
	budgets string
}

// costKeys are the settings that this command has flags for, beside labKeys.
var costKeys = []string{"recovery_budget", "recovery_floor"}

func costFlags(a *costArgs) *flag.FlagSet {
	fs := newFlagSet("cost")
	a.o.Options = demo.Defaults()
	a.labArgs.flags(fs, "out/cost")
	redefault(fs, "keys", "2000000")
	redefault(fs, "pool-size", "1GiB")
	a.source.AddFlags(fs, func(k *config.Key) bool { return slices.Contains(costKeys, k.Name) })
	fs.IntVar(&a.o.Window, "window", 256, "operations in flight per node in a closed loop")
	fs.IntVar(&a.o.Runs, "runs", 3, "`number` of runs at saturation; the median counts")
	fs.DurationVar(&a.o.Time, "time", 3*time.Second, "`time` of each of these")
	fs.Float64Var(&a.o.Share, "share", 0.5, "of the saturation that the open loop offers")
	fs.Float64Var(&a.o.Offer, "rate", 0, "accesses per second that it offers instead, all nodes together, to compare two programs; 0: that share")
	fs.DurationVar(&a.o.Steady, "steady", 3*time.Second, "steady `time` before a kill in the open loop")
	fs.DurationVar(&a.o.Away, "away", 10*time.Second, "`time` without the node")
	fs.IntVar(&a.o.Heals, "heals", 5, "how many `times` a node is killed in the open loop and comes back")
	fs.IntVar(&a.o.Fulls, "fulls", 3, "how many `times` more with a full copy; 0 leaves it out")
	fs.StringVar(&a.budgets, "budgets", "16KiB,64KiB,128KiB,256KiB,1MiB", "recovery budgets that are compared at saturation, bytes a millisecond, `list`; 0B is no limit; \"\" leaves it out")
	fs.IntVar(&a.o.Sweeps, "sweeps", 2, "how many `times` with each of them")
	fs.DurationVar(&a.o.SweepAway, "sweep-away", 4*time.Second, "`time` without the node there")
	fs.IntVar(&a.o.SpareNodes, "spare-nodes", 3, "`nodes` of the cluster that leaves a core idle; 0 leaves it out")
	fs.Uint64Var(&a.o.SpareKeys, "spare-keys", 500_000, "`number` of its records")
	fs.Float64Var(&a.o.SpareRate, "spare-rate", 5_000, "accesses per second offered there")
	fs.IntVar(&a.o.Spares, "spares", 5, "how many `times` a node is killed there and comes back")
	fs.DurationVar(&a.o.SpareAway, "spare-away", 3*time.Second, "`time` without it there")
	fs.IntVar(&a.o.Victim, "victim", a.o.Victim, "the first `node` that is killed")
	fs.BoolVar(&a.o.Interference, "interference", true, "watch the scheduler for who keeps the hot path off its cores (eBPF; as root)")
	fs.BoolVar(&a.o.Check, "check", false, "exit status 1 if a bound is not kept")
	return fs
}

// redefault gives a flag that is shared with other commands another default.
func redefault(fs *flag.FlagSet, name, value string) {
	f := fs.Lookup(name)
	f.DefValue = value
	if err := f.Value.Set(value); err != nil {
		panic(err)
	}
}

// settle fills in what follows from the rest.
func (a *costArgs) settle() error {
	o := &a.o
	o.Out, o.Nodes, o.Keys, o.Workload, o.Commit = a.out, a.nodes, a.keys, a.workload, version
	for _, text := range strings.Split(a.budgets, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		c := config.Default()
		if err := c.RecoveryBudget.Set(text); err != nil {
			return badConfig(fmt.Errorf("--budgets %s: %w", a.budgets, err))
		}
		o.Budgets = append(o.Budgets, uint64(c.RecoveryBudget))
	}
	if o.SpareNodes > 0 {
		o.Spare = func() (*local.Cluster, func(), error) {
			b := a.labArgs
			b.nodes, b.keys = o.SpareNodes, o.SpareKeys
			return b.cluster()
		}
	}
	return nil
}

func runCost(ctx context.Context, args []string) error {
	var a costArgs
	if err := parse(costFlags(&a), args); err != nil {
		return err
	}
	if err := a.settle(); err != nil {
		return err
	}
	var err error
	if a.o.Program, err = local.ProgramPath(); err != nil {
		return err
	}
	c, done, err := a.cluster()
	if err != nil {
		return err
	}
	o := a.o
	o.Lease, o.Budget = time.Duration(a.source.Config.Lease), uint64(a.source.Config.RecoveryBudget)
	o.WatchRate = 20
	o.Verify = demo.Minima{AckedWrites: o.Keys, AckedKeys: o.Keys, HistoryOps: 100}
	o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	gone := false
	if spare := o.Spare; spare != nil {
		o.Spare = func() (*local.Cluster, func(), error) {
			done() // the first one's place is needed
			gone = true
			return spare()
		}
	}
	err = demo.Cost(ctx, o, c, os.Stdout)
	if err == nil || errors.Is(err, demo.ErrVerify) || errors.Is(err, demo.ErrBounds) {
		fmt.Printf("report: %s\n", filepath.Join(a.out, "cost.html"))
	}
	if err != nil && !errors.Is(err, demo.ErrBounds) {
		a.keep = true // the logs say why
	}
	if !gone {
		done()
	}
	return err
}
