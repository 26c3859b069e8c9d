package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"healkv/cmd/node/config"
	"healkv/cmd/node/demo"
	"healkv/cmd/node/local"
)

// restartArgs are the flags of `node restart-bench`.
type restartArgs struct {
	o       demo.RestartOptions
	records string
	dir     string
	ports   local.Ports
	keep    bool
	segment string
	every   string
}

func restartFlags(a *restartArgs) *flag.FlagSet {
	fs := newFlagSet("restart-bench")
	fs.StringVar(&a.records, "records", "1,10,40", "millions of records, one measurement for each `number`")
	fs.StringVar(&a.dir, "dir", "out/restart", "where the node's files go, on a real file system: a `folder`")
	fs.IntVar(&a.o.Runs, "runs", 5, "ends of each kind; the median is shown")
	fs.IntVar(&a.o.ValueBytes, "value-bytes", 100, "of every value")
	fs.Uint64Var(&a.o.Overwrites, "overwrites", 20_000, "records overwritten before each end")
	fs.StringVar(&a.segment, "segment-size", "16MiB", "of the log: the same for all, since an opening reads the last one")
	fs.StringVar(&a.every, "checkpoint-bytes", "64MiB", "of log between two checkpoints")
	fs.BoolVar(&a.o.Check, "check", false, "exit status 1 if the time after SIGKILL grows by more than a fifth from one number of records to another")
	fs.BoolVar(&a.keep, "keep", false, "leave the nodes' files")
	a.ports = local.Ports{Resp: 7600, Admin: 7610, Control: 7620, Data: 7630}
	portFlags(fs, &a.ports, a.ports)
	return fs
}

func runRestartBench(ctx context.Context, args []string) error {
	var a restartArgs
	if err := parse(restartFlags(&a), args); err != nil {
		return err
	}
	for _, text := range strings.Split(a.records, ",") {
		millions, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || millions <= 0 || millions > 1000 {
			return usage("--records %s: want millions, as in 0.1,1,10", a.records)
		}
		a.o.Records = append(a.o.Records, uint64(millions*1e6))
	}
	var err error
	if a.o.Program, err = local.ProgramPath(); err != nil {
		return err
	}
	a.o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	a.o.Make = a.cluster
	return demo.Restart(ctx, a.o, os.Stdout)
}

// cluster makes one node for so many records.
func (a *restartArgs) cluster(records uint64) (*local.Cluster, func(), error) {
	dir := filepath.Join(a.dir, fmt.Sprint("node-", records))
	if there, err := local.Exists(dir); err != nil {
		return nil, nil, err
	} else if there {
		if err := local.Destroy(dir); err != nil { // of a run that was cut off
			return nil, nil, err
		}
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, nil, err
	}
	s := config.New()
	c := &s.Config
	c.Nodes, c.Domain, c.HugePages, c.Model = 1, "file", "off", "synchronous"
	c.Lease, c.Drift, c.Slow = config.Duration(demo.RestartLease), config.Duration(demo.RestartLease/10), 0
	if err := c.SegmentSize.Set(a.segment); err != nil {
		return nil, nil, badConfig(fmt.Errorf("--segment-size: %w", err))
	}
	if err := c.Checkpoint.Set(a.every); err != nil {
		return nil, nil, badConfig(fmt.Errorf("--checkpoint-bytes: %w", err))
	}
	// Header, key, value, padding; a third of it room for overwriting, and the
	// least number of segments.
	c.PoolSize = max(64*config.MiB, config.Size(records*uint64(a.o.ValueBytes+112)*4/3)+12*c.SegmentSize)
	c.MaxKeys = int(records + records/8 + 100_000)
	cl, err := local.Create(local.Options{Dir: dir, Ports: a.ports, Source: s, Format: formatNode})
	if err != nil {
		return nil, nil, err
	}
	return cl, func() {
		if a.keep {
			fmt.Println("kept:", dir)
		} else if err := local.Destroy(dir); err != nil {
			fmt.Fprintln(os.Stderr, "node: cleaning up:", err)
		}
	}, nil
}
