package main

import (
	"context"
	"errors"
	"flag"
)

type demoArgs struct {
	out string
}

func demoFlags(a *demoArgs) *flag.FlagSet {
	fs := newFlagSet("demo")
	fs.StringVar(&a.out, "out", "out/demo", "where the report goes, `DIR`")
	return fs
}

var errNotBuilt = errors.New("not built into this binary yet")

// runDemo is where bench/demo is called: demo.Run(ctx, demo.Options{...}).
func runDemo(_ context.Context, args []string) error {
	var a demoArgs
	if err := parse(demoFlags(&a), args); err != nil {
		return err
	}
	return errNotBuilt
}

// runBench is where the workloads of bench/ are called.
func runBench(context.Context, []string) error { return errNotBuilt }
