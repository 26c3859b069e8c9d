package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"time"

	"healkv/cmd/node/local"
)

type statusArgs struct {
	dir    string
	config string
	json   bool
	check  bool
}

func statusFlags(a *statusArgs) *flag.FlagSet {
	fs := newFlagSet("status")
	fs.StringVar(&a.dir, "dir", "", "the cluster's directory `D`")
	fs.StringVar(&a.config, "config", "", "instead of --dir: the configuration `FILE` of one node of this host, where the cluster spans several hosts")
	fs.BoolVar(&a.json, "json", false, "everything the nodes say, as JSON")
	fs.BoolVar(&a.check, "check", false, "exit status 1 unless all nodes are live and serving")
	return fs
}

var errNotAll = errors.New("not all nodes are live and serving")

func runStatus(ctx context.Context, args []string) error {
	var a statusArgs
	if err := parse(statusFlags(&a), args); err != nil {
		return err
	}
	where, states, err := a.ask(ctx)
	if err != nil {
		return err
	}
	if a.json {
		err = local.JSON(os.Stdout, where, states)
	} else {
		err = local.Table(os.Stdout, states)
	}
	if err == nil && a.check && !local.Everyone(states) {
		err = errNotAll
	}
	return err
}

// ask asks all nodes of a local cluster, or one of a cluster over several hosts.
func (a *statusArgs) ask(ctx context.Context) (where string, states []local.State, err error) {
	const patience = 2 * time.Second
	switch {
	case a.config != "":
		one := targetArgs{dir: a.dir, node: -1, config: a.config}
		c, path, err := one.settings("status")
		if err != nil {
			return "", nil, err
		}
		return filepath.Dir(path), []local.State{local.AskNode(ctx, c, patience)}, nil
	case a.dir == "":
		return "", nil, usage("status: --dir is missing: which cluster? (or --config FILE, one node)")
	}
	c, err := local.Open(a.dir)
	if err != nil {
		return "", nil, err
	}
	return c.Dir, c.Ask(ctx, patience), nil
}
