package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"healkv/cmd/node/config"
	"healkv/cmd/node/local"
	"healkv/cmd/node/operator"
)

// coldStartArgs are the flags of `node cold-start`.
type coldStartArgs struct {
	targetArgs
	epoch   uint
	without string
	dry     bool
	within  time.Duration
}

func coldStartFlags(a *coldStartArgs) *flag.FlagSet {
	fs := newFlagSet("cold-start")
	a.targetArgs.flags(fs)
	fs.Lookup("dir").Usage = "the local cluster's directory `D`; alone, or with --node"
	fs.Lookup("node").Usage = "number `I` of the node that gets the order; default: the first that takes it"
	fs.UintVar(&a.epoch, "epoch", 0, "`epoch` of the newest view, as the first line of `node status` shows it")
	fs.StringVar(&a.without, "without", "", "numbers of the `nodes` that are lost, comma between: 1,4")
	fs.BoolVar(&a.dry, "dry", false, "only say whether the order would be taken, and what would be lost")
	fs.DurationVar(&a.within, "within", time.Minute, "`time` to wait until the node that took the order serves; the order stands after it")
	return fs
}

// nodeNumbers reads "1,4".
func nodeNumbers(text string) (nodes []int, err error) {
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || slices.Contains(nodes, n) {
			return nil, usage("cold-start: --without %q: want numbers of nodes, comma between, each once", text)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func runColdStart(ctx context.Context, args []string) error {
	var a coldStartArgs
	if err := parse(coldStartFlags(&a), args); err != nil {
		return err
	}
	switch {
	case a.epoch == 0 || a.epoch > 1<<32-1:
		return usage("cold-start: --epoch is missing: the epoch of the newest view, from the first line of `node status`")
	case a.without == "":
		return usage("cold-start: --without is missing: which nodes are lost? Without any the cluster starts by itself")
	case a.within <= 0 || a.within > operator.WithinMax:
		return usage("cold-start: --within %v: want more than 0s and at most %v", a.within, operator.WithinMax)
	}
	without, err := nodeNumbers(a.without)
	if err != nil {
		return err
	}
	c, err := a.recipient(ctx, without)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, operator.WithinMax)
	defer cancel()
	done, err := operator.Ask(asking, c.StateDir, "cold-start", operator.ColdStart{Epoch: uint32(a.epoch), Without: without, Dry: a.dry})
	if err != nil {
		return fmt.Errorf("cold-start: node %d: %w", c.Node, err)
	}
	fmt.Println(done.Text)
	if a.dry {
		fmt.Printf("node %d would take the order; nothing was done\n", c.Node)
		return nil
	}
	fmt.Printf("node %d has taken the order\n", c.Node)
	return awaitColdStart(ctx, c, a.within)
}

// recipient is who gets the order: the node that was named, or one of the
// cluster that answers, see preferred.
func (a *coldStartArgs) recipient(ctx context.Context, without []int) (*config.Config, error) {
	if a.config != "" || a.node >= 0 || a.dir == "" {
		c, _, err := a.settings("cold-start")
		return c, err
	}
	c, err := local.Open(a.dir)
	if err != nil {
		return nil, err
	}
	i, err := preferred(c.Ask(ctx, 2*time.Second), without)
	if err != nil {
		return nil, fmt.Errorf("cold-start: %s: %w", c.Dir, err)
	}
	return &c.Configs[i], nil
}

// preferred is the node that the order goes to: of those that answer and are
// not lost, the first that a cold start goes by, which are the live members of
// the newest view that anybody knows or, in a cold start that was cut off, its
// shadows. Others refuse the order, and say who takes it: the first of them is
// asked only where no such member answers.
func preferred(states []local.State, without []int) (node int, err error) {
	var newest *local.State
	other, answering := -1, ""
	for i := range states {
		s := &states[i]
		if s.Role == "down" || s.Role == "stopped" {
			continue
		}
		if answering += fmt.Sprintf(",%d", s.Node); other < 0 && !slices.Contains(without, s.Node) {
			other = s.Node
		}
		if newest == nil || s.Epoch > newest.Epoch {
			newest = s
		}
	}
	if newest == nil {
		return 0, errors.New("no node answers: start those that are not lost first")
	}
	if other < 0 {
		return 0, fmt.Errorf("only nodes %s answer, which are said to be lost: start the others first", answering[1:])
	}
	members := newest.Live
	if len(members) == 0 && newest.Membership.View.Cold {
		members = newest.Shadow
	}
	for i := range states {
		s := &states[i]
		if s.Role != "down" && s.Role != "stopped" && slices.Contains(members, s.Node) && !slices.Contains(without, s.Node) {
			return s.Node, nil
		}
	}
	return other, nil
}

// awaitColdStart waits until the node that took the order serves.
func awaitColdStart(ctx context.Context, c *config.Config, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	for {
		s := local.AskNode(ctx, c, time.Second)
		if s.Role == "live" && s.Ready {
			fmt.Printf("node %d is live after %v, epoch %d\n", c.Node, time.Since(began).Round(time.Millisecond), s.Epoch)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cold-start: node %d is %s after %v (%s); the order stands: see `node status`", c.Node, s.Role, patience, s.Blocked)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
