package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"healkv/cmd/node/demo"
	"healkv/cmd/node/local"
)

type endureArgs struct {
	labArgs
	o demo.EndureOptions
}

func endureFlags(a *endureArgs) *flag.FlagSet {
	fs := newFlagSet("endure")
	a.labArgs.flags(fs, "out/endure")
	redefault(fs, "workload", "overwrite-zipfian")
	redefault(fs, "pool-size", "0")
	fs.Lookup("pool-size").Usage = "log space of a node, `size`; 0: twice what the records take"
	fs.DurationVar(&a.o.Time, "time", 30*time.Minute, "measured `time`, after every log was written through once")
	fs.DurationVar(&a.o.Interval, "interval", 0, "`time` of a line; the others are held against the first. 0: a minute, or a tenth of the time if that is less")
	fs.DurationVar(&a.o.Kill, "kill", -1, "`time` after which a node is killed; 0: none is; below 0: half of the time")
	fs.DurationVar(&a.o.Away, "away", 15*time.Second, "`time` it is away")
	fs.IntVar(&a.o.Victim, "victim", 2, "the `node` that is killed")
	fs.IntVar(&a.o.Window, "window", 64, "operations in flight per node")
	return fs
}

// settle fills in what follows from the rest.
func (a *endureArgs) settle() error {
	o := &a.o
	o.Out, o.Nodes, o.Keys, o.Workload, o.Commit = a.out, a.nodes, a.keys, a.workload, version
	if o.Kill < 0 {
		o.Kill = o.Time / 2
	}
	if o.Interval == 0 {
		o.Interval = min(time.Minute, o.Time/10)
	}
	if a.pool != "0" {
		return nil
	}
	live, err := demo.EndureLive(o)
	if err != nil {
		return badConfig(err)
	}
	const superblocks, least = 2 << 20, 64 << 20 // what a configuration allows
	a.pool = fmt.Sprintf("%dB", max(2*live+superblocks, least))
	return nil
}

func runEndure(ctx context.Context, args []string) error {
	var a endureArgs
	if err := parse(endureFlags(&a), args); err != nil {
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
	defer done()
	o := a.o
	o.Lease = time.Duration(a.source.Config.Lease)
	o.WatchRate = 20
	o.Verify = demo.Minima{AckedWrites: o.Keys, AckedKeys: o.Keys, HistoryOps: int(o.Time.Seconds())}
	o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	_, err = demo.Endure(ctx, o, c, os.Stdout)
	if err == nil || errors.Is(err, demo.ErrEndure) {
		fmt.Printf("written: %s\n", filepath.Join(a.out, demo.FileEndure+".json"))
	}
	if err != nil {
		a.keep = true // the logs say why
	}
	return err
}
