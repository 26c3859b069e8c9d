package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"time"

	"healkv/cmd/node/local"
)

type statusArgs struct {
	dir   string
	json  bool
	check bool
}

func statusFlags(a *statusArgs) *flag.FlagSet {
	fs := newFlagSet("status")
	fs.StringVar(&a.dir, "dir", "", "the cluster's directory `D`")
	fs.BoolVar(&a.json, "json", false, "everything the nodes say, as JSON")
	fs.BoolVar(&a.check, "check", false, "exit status 1 if not all nodes are live and serving")
	return fs
}

var errNotAll = errors.New("not all nodes are live and serving")

func runStatus(ctx context.Context, args []string) error {
	var a statusArgs
	if err := parse(statusFlags(&a), args); err != nil {
		return err
	}
	if a.dir == "" {
		return usage("status: --dir is missing: which cluster?")
	}
	c, err := local.Open(a.dir)
	if err != nil {
		return err
	}
	states := c.Ask(ctx, 2*time.Second)
	if a.json {
		err = local.JSON(os.Stdout, c.Dir, states)
	} else {
		err = local.Table(os.Stdout, states)
	}
	if err == nil && a.check && !local.Everyone(states) {
		err = errNotAll
	}
	return err
}
