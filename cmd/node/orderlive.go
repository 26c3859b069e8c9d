package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"healkv/cmd/node/config"
	"healkv/cmd/node/local"
	"healkv/cmd/node/operator"
)

// liveOrderFlags are those of an order that goes to live nodes, all or one.
func liveOrderFlags(order string, a *targetArgs) *flag.FlagSet {
	fs := newFlagSet(order)
	a.flags(fs)
	fs.Lookup("dir").Usage = "the local cluster's directory `D`; alone for every live node, or with --node"
	return fs
}

// runLiveOrder gives an order to one node, or to every live one of a local cluster.
func runLiveOrder(order string) func(context.Context, []string) error {
	return func(ctx context.Context, args []string) error {
		var a targetArgs
		if err := parse(liveOrderFlags(order, &a), args); err != nil {
			return err
		}
		to, err := liveTargets(ctx, order, &a)
		if err != nil {
			return err
		}
		var errs []error
		for _, c := range to {
			done, err := operator.Ask(ctx, c.StateDir, order, struct{}{})
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: node %d: %w", order, c.Node, err))
				continue
			}
			fmt.Println(done.Text)
		}
		return errors.Join(errs...)
	}
}

func liveTargets(ctx context.Context, order string, a *targetArgs) (to []*config.Config, err error) {
	if a.config != "" || a.node >= 0 || a.dir == "" {
		c, _, err := a.settings(order)
		if err != nil {
			return nil, err
		}
		return []*config.Config{c}, nil
	}
	c, err := local.Open(a.dir)
	if err != nil {
		return nil, err
	}
	for _, s := range c.Ask(ctx, 2*time.Second) {
		if s.Role == "live" {
			to = append(to, &c.Configs[s.Node])
		}
	}
	if len(to) == 0 {
		return nil, fmt.Errorf("%s: %s: no node is live", order, c.Dir)
	}
	return to, nil
}
