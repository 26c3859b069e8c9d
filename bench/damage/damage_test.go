package damage

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"path"
	"strings"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem"
)

var (
	share = flag.Float64("damage.share", 0, "share of the 1 600 cells; 0: a few of them")
	seed  = flag.Uint64("damage.seed", 1, "which cells, and what exactly is hurt")
	only  = flag.String("damage.cell", "", "these cells only, as in 'record|bit flip|0,2' or 'record|*|0,1,*'")
	live  = flag.Bool("damage.running", false, "hurt records only while the nodes run")
	logs  = flag.Bool("damage.log", false, "show what the nodes log")
	out   = flag.String("damage.out", "", "directory for the table")
)

func TestCellsAreTold(t *testing.T) {
	cells := Cells(1, 0)
	if len(cells) != 1600 {
		t.Fatalf("%d cells", len(cells))
	}
	for _, c := range cells {
		if got, err := Parse(c.String()); err != nil || got != c {
			t.Fatalf("%v read back as %v, %v", c, got, err)
		}
	}
	for _, bad := range []string{"", "record", "record|bit flip", "record|bit flip|6", "record|no|1", "no|torn|1", "record|torn|01"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is a cell", bad)
		}
	}
	if a, b := Cells(0.05, 7), Cells(0.05, 7); len(a) < 50 || len(a) != len(b) || a[3] != b[3] {
		t.Errorf("a share of 0.05: %d and %d cells", len(a), len(b))
	}
	t.Logf("%d cells told and read back", len(cells))
}

func TestDamageMatrix(t *testing.T) {
	cells := Cells(max(*share, 0.02), *seed)
	switch {
	case *only != "":
		cells = cells[:0]
		for _, c := range Cells(1, 0) {
			if ok, _ := path.Match(*only, c.String()); ok {
				cells = append(cells, c)
			}
		}
	case *share == 0 && testing.Short():
		t.Skip("a cluster of six in short mode")
	case *share == 0:
		// Records, hurt while the nodes run; the rest takes minutes (node damage).
		*live = true
		for i, c := range cells[:hows] {
			cells[i] = Cell{Record, How(i), c.Subset}
			if i%2 == 1 {
				cells[i].Subset = all
			}
		}
		cells = cells[:hows]
	}
	o := Options{Cells: cells, Seed: *seed, Domain: pmem.DomainAuto, Say: t.Logf, Running: *live}
	if *logs {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	rs, err := Run(context.Background(), o)
	if err != nil {
		t.Error(err)
	}
	var b strings.Builder
	if err := Table(&b, rs); err != nil {
		t.Error(err)
	}
	t.Log("\n" + b.String())
	if *out != "" {
		if err := Write(*out, rs); err != nil {
			t.Error(err)
		}
	}
	reads := 0
	for _, r := range rs {
		if !r.Outcome.OK() {
			t.Errorf("%s: %s: %s", r.Cell, r.Outcome, r.Why)
		}
		reads += r.Reads
	}
	if reads == 0 {
		t.Error("nothing was read")
	}
	tally.Add("damage", "cells", len(rs))
	tally.Add("damage", "reads compared", reads)
	Tally(rs)
}

var flips = flag.Int("damage.flips", 0, "flip so many bits under load; 0: a few")

func TestFlipsUnderLoad(t *testing.T) {
	n, rate := *flips, 500
	if n == 0 {
		if testing.Short() {
			t.Skip("a cluster of six in short mode")
		}
		n, rate = 300, 300
	}
	o := FlipOptions{Flips: n, Rate: rate, Keys: 300, Restart: *flips > 0, Seed: *seed, Domain: pmem.DomainMemory, Dir: "/dev/shm", Say: t.Logf}
	if *logs {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	r, err := Flips(context.Background(), o)
	t.Logf("%+v", r)
	if err != nil {
		t.Error(err)
	}
	if r.Wrong != "" {
		t.Error(r.Wrong)
	}
	if r.Flips < n || r.Whole == 0 || r.Writes == 0 || r.Found == 0 {
		t.Errorf("%d flips, %d reads, %d writes", r.Flips, r.Reads, r.Writes)
	}
	tally.Add("damage", "bits flipped under load", r.Flips)
	tally.Mark("damage", "damaged records met under load", r.Found)
	tally.Mark("damage", "damaged records repaired under load", r.Repaired)
}
