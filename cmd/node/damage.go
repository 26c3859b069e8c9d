package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"time"

	"healkv/bench/damage"
	"healkv/pmem"
)

// damageArgs are the flags of `node damage`.
type damageArgs struct {
	out   string
	dir   string
	cell  string
	share float64
	seed  uint64
	live  bool
	flips int

	parallel int
	quiet    bool
	list     bool
}

func damageFlags(a *damageArgs) *flag.FlagSet {
	fs := newFlagSet("damage")
	fs.StringVar(&a.out, "out", "out/damage", "where the results go, `DIR`: damage.txt and damage.json")
	fs.StringVar(&a.dir, "dir", "", "where the pools lie while it runs, `DIR`; default: the place for temporary files where checkpoints are hurt, else /dev/shm")
	fs.Float64Var(&a.share, "share", 1, "`share` of the 1 600 cells, drawn from --seed")
	fs.Uint64Var(&a.seed, "seed", 0, "`number` from which the cells of a share and the places that are hurt follow; 0: a new one, which is printed")
	fs.StringVar(&a.cell, "cell", "", "only the `cells` that match, as in 'record|bit flip|0,2' or 'record|*|*'")
	fs.BoolVar(&a.live, "running", false, "hurt records only while the nodes run")
	fs.IntVar(&a.flips, "flips", 0, "instead of the matrix: flip so `many` single bits in the mapped files of six nodes under load, and judge every read")
	fs.IntVar(&a.parallel, "parallel", 0, "so `many` clusters at a time; 0: two for each processor")
	fs.BoolVar(&a.quiet, "quiet", false, "no line for each cell")
	fs.BoolVar(&a.list, "list", false, "print the cells and do nothing")
	return fs
}

var errDamage = errors.New("damage: a cell failed")

func runDamage(ctx context.Context, args []string) error {
	var a damageArgs
	if err := parse(damageFlags(&a), args); err != nil {
		return err
	}
	if a.seed == 0 {
		a.seed = rand.Uint64() >> 11
	}
	if a.flips > 0 {
		return a.flip(ctx)
	}
	if !(a.share > 0 && a.share <= 1) {
		return badConfig(fmt.Errorf("--share %v: want above 0 to 1", a.share))
	}
	cells := damage.Cells(a.share, a.seed)
	if a.cell != "" {
		cells = nil
		for _, c := range damage.Cells(1, 0) {
			ok, err := path.Match(a.cell, c.String())
			if err != nil {
				return badConfig(fmt.Errorf("--cell %q: %w", a.cell, err))
			}
			if ok {
				cells = append(cells, c)
			}
		}
		if len(cells) == 0 {
			return badConfig(fmt.Errorf("--cell %q: no cell matches; node damage --list names all", a.cell))
		}
	}
	if a.list {
		for _, c := range cells {
			fmt.Println(c)
		}
		return nil
	}
	fmt.Printf("seed %d: %d cells\n", a.seed, len(cells))
	o := damage.Options{Cells: cells, Seed: a.seed, Dir: a.dir, Domain: pmem.DomainAuto, Running: a.live, Parallel: a.parallel}
	if !a.quiet {
		o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	began := time.Now()
	rs, err := damage.Run(ctx, o)
	if err := errors.Join(err, damage.Write(a.out, rs)); err != nil {
		return err
	}
	if err := damage.Table(os.Stdout, rs); err != nil {
		return err
	}
	damage.Tally(rs)
	fmt.Printf("%d cells in %v; %s\n", len(rs), time.Since(began).Round(time.Second), path.Join(a.out, "damage.txt"))
	for _, r := range rs {
		if !r.Outcome.OK() {
			return errDamage
		}
	}
	return nil
}

// flip flips bits under load.
func (a *damageArgs) flip(ctx context.Context) error {
	fmt.Printf("seed %d: %d bits\n", a.seed, a.flips)
	o := damage.FlipOptions{Flips: a.flips, Rate: 200, Keys: 600, Restart: true, Seed: a.seed, Dir: a.dir, Domain: pmem.DomainAuto}
	if !a.quiet {
		o.Say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	}
	r, err := damage.Flips(ctx, o)
	fmt.Printf("%d bits flipped (%d in logs, %d in superblocks, %d in checkpoints), %d reads (%d answered whole) and %d writes judged, %d refused; %d damaged records met, %d repaired, %d open, %d of them lost, %d pools discarded\n",
		r.Flips, r.InLog, r.InSuper, r.InOther, r.Reads, r.Whole, r.Writes, r.Refusals, r.Found, r.Repaired, r.Open, r.Refused, r.Discarded)
	if err == nil && r.Wrong != "" {
		err = fmt.Errorf("%w: wrong answer: %s", errDamage, r.Wrong)
	}
	if err == nil && r.Found == 0 {
		err = fmt.Errorf("%w: no read met any of the damage: nothing was shown; flip more bits", errDamage)
	}
	return err
}
