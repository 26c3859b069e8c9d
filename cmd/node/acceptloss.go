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

func acceptLossFlags(a *targetArgs) *flag.FlagSet {
	fs := newFlagSet("accept-loss")
	a.flags(fs)
	fs.Lookup("dir").Usage = "the local cluster's directory `D`; alone for every live node, or with --node"
	return fs
}

// runAcceptLoss gives the order to one node, or to every live one of a local cluster.
func runAcceptLoss(ctx context.Context, args []string) error {
	var a targetArgs
	if err := parse(acceptLossFlags(&a), args); err != nil {
		return err
	}
	var to []*config.Config
	if a.config != "" || a.node >= 0 || a.dir == "" {
		c, _, err := a.settings("accept-loss")
		if err != nil {
			return err
		}
		to = append(to, c)
	} else {
		c, err := local.Open(a.dir)
		if err != nil {
			return err
		}
		for _, s := range c.Ask(ctx, 2*time.Second) {
			if s.Role == "live" {
				to = append(to, &c.Configs[s.Node])
			}
		}
		if len(to) == 0 {
			return fmt.Errorf("accept-loss: %s: no node is live", c.Dir)
		}
	}
	var errs []error
	for _, c := range to {
		done, err := operator.Ask(ctx, c.StateDir, "accept-loss", struct{}{})
		if err != nil {
			errs = append(errs, fmt.Errorf("accept-loss: node %d: %w", c.Node, err))
			continue
		}
		fmt.Println(done.Text)
	}
	return errors.Join(errs...)
}
