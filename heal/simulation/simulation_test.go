package simulation

import (
	"flag"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	oneSeed  = flag.Uint64("sim.seed", 0, "run only this seed")
	calmOnly = flag.Bool("sim.nofaults", false, "leave the faults out")
	verbose  = flag.Bool("sim.log", false, "print what the nodes log")
)

func handler() slog.Handler {
	if !*verbose {
		return nil
	}
	return slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})
}

func TestOne(t *testing.T) {
	seed := max(1, *oneSeed)
	o, s := Draw(seed)
	if *calmOnly {
		s.Entries = slices.DeleteFunc(s.Entries, func(e Entry) bool { return !e.op() })
	}
	begun := time.Now()
	r, f := Run(o, s, handler())
	t.Logf("%v\n%v: %d ops, %d compared, %d faults, %d events, hash %#x, virtual %v, serving %d of %d", &o, time.Since(begun), r.Ops, r.Compared, r.Faults, r.Events, r.Hash, r.Virtual, r.Serving, r.Millis)
	for i, n := range r.Marks.Names {
		t.Logf("%8d %s", r.Marks.N[i], n)
	}
	if f != nil {
		t.Fatal(f)
	}
}
