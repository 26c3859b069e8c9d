//go:build process

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"healkv/cmd/node/demo"
)

var (
	chaosRounds = flag.Int("chaos-rounds", 3, "kills in every phase")
	chaosSeed   = flag.Uint64("chaos-seed", 1, "of the chaos test")
)

// TestProcessKilledInEveryPhase kills real node processes under continuous
// load: in the steady state, twice in a row, during another one's view change,
// the recovering node and its buddy in the middle of a transfer, and before
// the promotion; it pauses one for longer than its lease and kills all at once.
// In the end nothing acknowledged is lost, all nodes hold the
// same data, and the watched keys' history is linearizable.
func TestProcessKilledInEveryPhase(t *testing.T) {
	const nodes = 6
	out := t.TempDir()
	resp, admin := freePorts(t, nodes)
	a := labArgs{out: out, nodes: nodes, keys: 20_000, workload: "taobench-a", model: "synchronous", domain: "memory",
		huge: "auto", pool: "128MiB", shards: 1, respPort: resp, adminPort: admin}
	c, done, err := a.cluster()
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	o := demo.ChaosOptions{Options: demo.Defaults(), Rounds: *chaosRounds, Seed: *chaosSeed}
	o.Out, o.Nodes, o.Keys, o.Workload, o.Program, o.Rate = out, nodes, a.keys, a.workload, binary, 6000
	o.Verify = demo.Minima{AckedWrites: a.keys, AckedKeys: a.keys, HistoryOps: 5000}
	o.Say = func(format string, args ...any) { t.Logf(format, args...) }
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	kills, v, err := demo.Chaos(ctx, o, c, os.Stderr)
	if err != nil {
		for i := range nodes {
			text, _ := os.ReadFile(c.LogPath(i))
			t.Logf("log of node %d:\n%s", i, tail(string(text), 8000))
		}
		t.Fatal(err)
	}
	for _, phase := range []string{demo.PhaseSteady, demo.PhaseTwice, demo.PhaseViewChange, demo.PhaseShadow, demo.PhaseBuddy, demo.PhasePromotion,
		demo.PhasePaused, demo.PhaseAll} {
		if kills[phase] < *chaosRounds {
			t.Errorf("%d kills in phase %s, want at least %d", kills[phase], phase, *chaosRounds)
		}
	}
	t.Logf("kills %v; %d acknowledged writes of %d keys, %d comparisons, %d operations of watched keys compared", kills, v.AckedWrites, v.AckedKeys, v.KeysCompared, v.HistoryOps)
	if !v.OK {
		for i := range nodes {
			from, _ := os.ReadFile(c.LogPath(i))
			os.WriteFile(filepath.Join(os.TempDir(), fmt.Sprintf("healkv-chaos-node-%d.log", i)), from, 0o600)
		}
		t.Fatalf("verification failed: %v", v.Problems)
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
