// Command measure runs floors, product and peers and writes what came out to
// docs/measurements.md and .json: medians, spreads, conditions, the command, and
// each figure of the product as a ratio to a floor or an alternative of the same
// run. Figures that got worse against the file that was there are marked.
//
//	make bench                                    everything, about half an hour
//	go run ./bench/measure -only floors,load      parts of it, to the terminal only
//
// It wants the machine to itself: what else runs is part of every figure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"healkv/bench/floor"
)

// childOfFloor is the first argument of a process that a floor starts.
const childOfFloor = "child-of-floor"

type options struct {
	only   string
	runs   int
	time   time.Duration
	out    string
	work   string
	node   string
	peers  string
	goTool string
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childOfFloor {
		if err := floor.Child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "measure:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.only, "only", "", "these `parts`, separated by commas; nothing is written but to the terminal: "+strings.Join(partNames(), ", "))
	flag.IntVar(&o.runs, "runs", 3, "runs of each measurement; the median counts")
	flag.DurationVar(&o.time, "time", 2*time.Second, "of one run of a load")
	flag.StringVar(&o.out, "out", "docs/measurements", "the `files` written: this name with .md and .json")
	flag.StringVar(&o.work, "work", "out/measure", "`folder` for clusters and logs; its disk is the one whose flush is measured")
	flag.StringVar(&o.node, "node", "bin/node", "the `program` HealKV")
	flag.StringVar(&o.peers, "peers", "bin/peers", "the `program` of the comparison (make bin/peers)")
	flag.StringVar(&o.goTool, "go", "go", "the go `command`")
	flag.Parse()
	if flag.NArg() > 0 || o.runs < 1 || o.time <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		if errors.Is(err, errParts) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

var errParts = errors.New("unknown part")

func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("%w %q; there are: %s", errParts, name, strings.Join(partNames(), ", "))
		}
		chosen = append(chosen, parts[i])
	}
	return chosen, nil
}

func run(ctx context.Context, o *options) error {
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.work, 0o700); err != nil {
		return err
	}
	old, err := read(o.out + ".json")
	if err != nil {
		return err
	}
	now := &Measurements{Conditions: conditions(o)}
	var failed []error
	for _, p := range chosen {
		began := time.Now()
		fmt.Printf("%s: %s\n", p.name, p.about)
		figures, err := p.run(ctx, o)
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if err == nil && len(figures) == 0 {
			err = errors.New("no figure came out of it")
		}
		if err != nil { // the others are worth an hour
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			reason, _, _ := strings.Cut(err.Error(), "\n")
			figures = append(figures, Figure{Name: "what else belongs here", Missing: "failed: " + reason})
		}
		for i := range figures {
			figures[i].Part = p.name
		}
		now.Figures = append(now.Figures, figures...)
		now.complete(old)
		writeTable(os.Stdout, now.of(p.name))
		fmt.Printf("%s: %d figures in %.0f s\n\n", p.name, len(figures), time.Since(began).Seconds())
	}
	if o.only != "" {
		fmt.Println("parts only: nothing was written")
		return errors.Join(failed...)
	}
	return errors.Join(append(failed, now.write(o.out))...)
}
