//go:build process

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/cmd/node/demo"
	"healkv/dataplane/proto"
)

var (
	chaosTime   = flag.Duration("chaos-time", 150*time.Second, "for how long clusters of all models and domains are hurt")
	chaosFaults = flag.Int("chaos-faults", 30, "and until so many faults were injected")
	chaosSeed   = flag.Uint64("chaos-seed", 1, "of the chaos tests")
)

// newChaosOptions are those of `node chaos` with its defaults.
func newChaosOptions(t *testing.T) demo.ChaosOptions {
	t.Helper()
	var a chaosArgs
	chaosFlags(&a)
	if err := parse(chaosFlags(&a), []string{"--seed", fmt.Sprint(*chaosSeed), "--out", t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if err := a.settle(); err != nil {
		t.Fatal(err)
	}
	a.ports.Resp, a.ports.Admin = freePorts(t, 6)
	o := a.o
	o.Program, o.Make = binary, a.cluster
	o.Say = func(format string, args ...any) { t.Logf(format, args...) }
	return o
}

// chaosRun fails the test with what the run found, and keeps the logs of its
// nodes beyond the test.
func chaosRun(t *testing.T, o demo.ChaosOptions, limit time.Duration) *demo.ChaosSummary {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s, err := demo.Chaos(ctx, o, os.Stderr)
	if err != nil {
		kept, _ := os.MkdirTemp("", "healkv-chaos-*")
		os.CopyFS(kept, os.DirFS(o.Out)) // as much of it as there is
		t.Fatalf("%v\nkept in %s", err, kept)
	}
	return s
}

// TestProcessChaos hurts clusters of every model and domain, one after the
// other. `node chaos` is the same for longer.
func TestProcessChaos(t *testing.T) {
	o := newChaosOptions(t)
	o.Time, o.Faults = *chaosTime, *chaosFaults
	o.RoundTime = o.Time / 10
	o.Rounds = len(o.Models) * len(o.Domains)
	s := chaosRun(t, o, 2**chaosTime+5*time.Minute)
	for _, m := range proto.Models() {
		for _, d := range o.Domains {
			rounds := 0
			for _, r := range s.Rounds {
				if r.Model == m.String() && r.Domain == d {
					rounds++
				}
			}
			if rounds == 0 {
				t.Errorf("no round of model %v in domain %s", m, d)
			}
		}
	}
	if s.Faults < *chaosFaults {
		t.Errorf("%d faults, want at least %d", s.Faults, *chaosFaults)
	}
}

// TestProcessKilledInEveryPhase kills six nodes under continuous load: in the
// steady state, twice in a row, during another one's view change, the
// recovering node and its buddy in the middle of a transfer, and before the
// promotion; it pauses one for longer than its lease and kills all at once.
func TestProcessKilledInEveryPhase(t *testing.T) {
	o := newChaosOptions(t)
	o.Models, o.Domains, o.NodesMin, o.NodesMax = []string{"synchronous"}, []string{"memory"}, 6, 6
	o.Keys, o.Rate = 20_000, 6000
	o.Kinds = []string{demo.FaultKill, demo.FaultKillAgain, demo.FaultViewChange, demo.FaultKillTransfer, demo.FaultKillBuddy,
		demo.FaultKillPromotion, demo.FaultPauseLong, demo.FaultKillAll}
	o.Time, o.Rounds, o.RoundTime, o.RoundFaults = 0, 1, 4*time.Minute, len(o.Kinds)
	s := chaosRun(t, o, 8*time.Minute)
	for _, k := range o.Kinds {
		if s.ByKind[k] == 0 {
			t.Errorf("no fault of kind %s", k)
		}
	}
}

// TestProcessChaosNoticesPlantedBugs runs a round with a binary in which one
// node misbehaves on purpose: it must fail, and say why, or one of two more.
// Without the plant the same binary must pass.
func TestProcessChaosNoticesPlantedBugs(t *testing.T) {
	program := filepath.Join(t.TempDir(), "node")
	if out, err := exec.Command("go", "build", "-tags", "plant", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const kills, pauses = "kill,kill-two,kill-transfer", "pause-long,pause-all"
	for _, c := range []struct{ plant, kinds, says string }{
		{"", kills + "," + pauses, "OK"},
		{"lost-write@1", kills, "lacks acknowledged writes"},
		{"stale-read@2", kills, "not linearizable"},
		{"H12-lease-not-checked-after-the-read", pauses, "not linearizable"},
	} {
		t.Run("plant="+c.plant, func(t *testing.T) {
			resp, admin := freePorts(t, 6)
			round := "4s"
			if c.kinds == pauses {
				round = "25s" // each is a try
			}
			// A bug that shows in what happens within milliseconds shows in most rounds,
			// not in each.
			tries := 1
			if c.plant != "" {
				tries = 3
			}
			began, code := time.Now(), 0
			for try := 1; ; try++ {
				cmd := exec.Command(program, "chaos", "--out", t.TempDir(), "--time", "1s", "--round", round, "--seed", fmt.Sprint(*chaosSeed+uint64(try-1)),
					"--model", "synchronous", "--domain", "memory", "--nodes", "3", "--kinds", c.kinds, "--keys", "20000",
					"--resp-port", fmt.Sprint(resp), "--admin-port", fmt.Sprint(admin))
				cmd.Env = append(cmd.Environ(), "HEALKV_PLANT="+c.plant, tally.Variable+"=") // what it counts is not the product's
				out, err := cmd.CombinedOutput()
				if code = cmd.ProcessState.ExitCode(); (code == 0) == (c.plant == "") && strings.Contains(string(out), c.says) {
					break
				}
				if try == tries || code != 0 {
					t.Fatalf("exit status %d (%v), want %q in:\n%s", code, err, c.says, out)
				}
				t.Logf("round %d did not show it", try)
			}
			if c.plant != "" {
				tally.Add("real cluster", "planted bugs found", 1)
			}
			t.Logf("exit status %d after %v", code, time.Since(began).Round(time.Millisecond))
		})
	}
}
