package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"healkv/cmd/node/local"
	"healkv/cmd/node/operator"
)

// rollingArgs are the flags of `node rolling`.
type rollingArgs struct {
	dir    string
	pause  time.Duration
	within time.Duration
	force  bool
}

func rollingFlags(a *rollingArgs) *flag.FlagSet {
	fs := newFlagSet("rolling")
	fs.StringVar(&a.dir, "dir", "", "the cluster's directory `D`")
	fs.DurationVar(&a.pause, "pause", 0, "`time` between a node that is live again and the next one")
	fs.DurationVar(&a.within, "within", 2*time.Minute, "`time` for a node to leave, and again for it to be live; stop if it takes longer")
	fs.BoolVar(&a.force, "force", false, "also where fewer than a majority of the nodes is left running meanwhile: all writes stop while a node is away")
	return fs
}

func runRolling(ctx context.Context, args []string) error {
	var a rollingArgs
	if err := parse(rollingFlags(&a), args); err != nil {
		return err
	}
	switch {
	case a.dir == "":
		return usage("rolling: --dir is missing: which cluster?")
	case a.within <= 0 || a.within > operator.WithinMax:
		return usage("rolling: --within %v: want more than 0s and at most %v", a.within, operator.WithinMax)
	case a.pause < 0:
		return usage("rolling: --pause %v: want 0s or more", a.pause)
	}
	c, err := local.Open(a.dir)
	if err != nil {
		return err
	}
	program, err := local.ProgramPath()
	if err != nil {
		return err
	}
	began := time.Now()
	table := tabwriter.NewWriter(os.Stdout, 16, 0, 2, ' ', 0)
	for i := range c.Nodes {
		// One node away at a time: whoever is away for another reason comes first.
		if err := everyone(ctx, c); err != nil {
			return fmt.Errorf("rolling: before node %d: %w; %s", i, err, rest(i, c.Nodes))
		}
		if i == 0 {
			fmt.Fprintf(table, "NODE\tAWAY\tCAME BACK BY\n")
		} else if err := pause(ctx, a.pause); err != nil {
			return fmt.Errorf("rolling: %w; %s", err, rest(i, c.Nodes))
		}
		r, err := c.Restart(ctx, i, local.RestartOptions{Program: program, Within: a.within, Force: a.force})
		if err != nil {
			return fmt.Errorf("rolling: %w; %s", err, rest(i, c.Nodes))
		}
		note := ""
		if r.Own {
			note = "; no `node cluster` watches it"
		}
		if r.Note != "" {
			note += "; it had not left in order: " + strings.ReplaceAll(r.Note, "\n", "; ")
		}
		fmt.Fprintf(table, "%d\t%v\t%v%s\n", i, r.Away.Round(time.Millisecond), r.Last, note)
		if err := table.Flush(); err != nil {
			return fmt.Errorf("rolling: %w", err)
		}
	}
	fmt.Printf("%d nodes restarted in %v\n", c.Nodes, time.Since(began).Round(time.Millisecond))
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// rest says what was not touched.
func rest(i, nodes int) string {
	if i == 0 {
		return "no other node was touched"
	}
	return fmt.Sprintf("%d of %d nodes are done, those after node %d were not touched", i, nodes, i)
}

// everyone wants all nodes live and serving; a node that has just come back may
// be seen as such a moment later by itself.
func everyone(ctx context.Context, c *local.Cluster) error {
	for tries := 0; ; tries++ {
		states := c.Ask(ctx, 2*time.Second)
		if local.Everyone(states) {
			return nil
		}
		if tries == 20 {
			for i := range states {
				if s := &states[i]; s.Role != "live" || !s.Ready {
					return fmt.Errorf("node %d is %s: all nodes must be live and serving first: see `node status --dir %s`", i, s.Role, c.Dir)
				}
			}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
