package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"healkv/cmd/node/config"
	"healkv/cmd/node/local"
	"healkv/cmd/node/operator"
)

// drainArgs are the flags of `node drain`.
type drainArgs struct {
	targetArgs
	stay, back, force bool
	within            time.Duration
}

// targetArgs name the node that an order is for.
type targetArgs struct {
	dir    string
	node   int
	config string
}

func (a *targetArgs) flags(fs *flag.FlagSet) {
	fs.StringVar(&a.dir, "dir", "", "the local cluster's directory `D`; with --node")
	fs.IntVar(&a.node, "node", -1, "number `I` of the node, from 0")
	fs.StringVar(&a.config, "config", "", "instead of --dir and --node: the configuration `FILE` of a node of this host")
}

// settings finds the node's configuration.
func (a *targetArgs) settings(name string) (*config.Config, string, error) {
	switch {
	case a.config != "" && (a.dir != "" || a.node >= 0):
		return nil, "", usage("%s: --config names the node already; leave --dir and --node out", name)
	case a.config != "":
		path, err := filepath.Abs(a.config)
		if err != nil {
			return nil, "", badConfig(err)
		}
		s := config.New()
		if err := errors.Join(s.File(path), s.Validate()); err != nil {
			return nil, "", badConfig(err)
		}
		return &s.Config, path, nil
	case a.dir == "":
		return nil, "", usage("%s: --dir and --node are missing: which node of which cluster? (or --config FILE)", name)
	}
	c, err := local.Open(a.dir)
	if err != nil {
		return nil, "", err
	}
	if a.node < 0 {
		return nil, "", usage("%s: --node is missing: which of the nodes 0 to %d of the cluster in %s?", name, c.Nodes-1, c.Dir)
	}
	if a.node >= c.Nodes {
		return nil, "", usage("%s: --node %d: the cluster in %s has nodes 0 to %d", name, a.node, c.Dir, c.Nodes-1)
	}
	return &c.Configs[a.node], c.ConfigPath(a.node), nil
}

func drainFlags(a *drainArgs) *flag.FlagSet {
	fs := newFlagSet("drain")
	a.targetArgs.flags(fs)
	fs.BoolVar(&a.stay, "stay", false, "the process stays: it votes and answers status, and comes back with --back")
	fs.BoolVar(&a.back, "back", false, "bring a node back that was drained with --stay, and wait until it is live")
	fs.BoolVar(&a.force, "force", false, "drain also where fewer than a majority of the nodes would be left running: all writes stop then")
	fs.DurationVar(&a.within, "within", 10*time.Second, "`time` for the drain: two thirds of it for writes under way, else the node serves on; the rest for leaving the view.\nWith --back: how long to wait until the node is live")
	return fs
}

func runDrain(ctx context.Context, args []string) error {
	var a drainArgs
	if err := parse(drainFlags(&a), args); err != nil {
		return err
	}
	if a.stay && a.back {
		return usage("drain: --stay and --back contradict each other")
	}
	if a.within <= 0 || a.within > operator.WithinMax {
		return usage("drain: --within %v: want more than 0s and at most %v", a.within, operator.WithinMax)
	}
	c, path, err := a.settings("drain")
	if err != nil {
		return err
	}
	if a.back {
		return bringBack(ctx, c, a.within)
	}
	// The order's own deadline is the node's to keep; this one is for its answer.
	asking, cancel := context.WithTimeout(ctx, 3*a.within)
	defer cancel()
	done, err := operator.Ask(asking, c.StateDir, "drain", operator.Drain{Stay: a.stay, Force: a.force, Within: a.within})
	switch {
	case errors.Is(err, operator.ErrRefused) && !a.stay:
		return fmt.Errorf("drain: node %d: %w; SIGTERM ends its process all the same", c.Node, err)
	case err != nil:
		return fmt.Errorf("drain: node %d: %w", c.Node, err)
	}
	fmt.Println(done.Text)
	state, next := "its process stays", "bring it back with: node drain --back --config "+path
	if !a.stay {
		state, next = "its process has ended", "start it again with: node serve --config "+path
		if err := awaitEnd(ctx, c, time.Duration(c.StopTimeout)+time.Duration(c.DrainGrace)); err != nil {
			if done.Failed == "" {
				return err
			}
			state, next = "its process has not ended yet ("+err.Error()+")", "when it has ended, "+next
		}
	}
	if done.Failed != "" {
		return notInOrder(c.Node, done.Failed, state, next)
	}
	fmt.Printf("%s; %s\n", state, next)
	return nil
}

// notInOrder is what a drain that was carried out and went wrong says: what,
// what the node is now, and what to do.
func notInOrder(node int, failed, state, next string) error {
	return fmt.Errorf("drain: node %d is out of service, but not in order: %s. It serves nobody now, and %s. Look at `node status` whether the others have it away; then %s",
		node, strings.ReplaceAll(failed, "\n", "; "), state, next)
}

// awaitEnd waits until no process runs the node.
func awaitEnd(ctx context.Context, c *config.Config, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		pid, runs := local.RunsIn(c.StateDir)
		if !runs {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: node %d has left, but its process %s has not ended after %v", c.Node, pid, patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// bringBack ends a drain and waits until the node serves.
func bringBack(ctx context.Context, c *config.Config, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	done, err := operator.Ask(ctx, c.StateDir, "resume", struct{}{})
	if err != nil {
		return fmt.Errorf("drain: node %d: %w", c.Node, err)
	}
	fmt.Println(done.Text)
	for {
		s := local.AskNode(ctx, c, time.Second)
		if s.Role == "live" && s.Ready {
			fmt.Printf("node %d is live after %v: %v\n", c.Node, time.Since(began).Round(time.Millisecond), s.Last)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: node %d is %s after %v; it goes on coming back: see `node status`", c.Node, s.Role, patience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
