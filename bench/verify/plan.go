package main

import (
	"fmt"
	"strconv"
	"time"
)

// step is one check: a command, and what it must have counted.
type step struct {
	name    string
	what    string // for --list and the summary
	command []string
	limit   time.Duration // it is stopped then, and has failed
	atLeast []minimum
}

// minimum is a count that a run must reach, in the tally's words. Every other
// count must be above zero.
type minimum struct {
	group, name string
	n           int64
}

// plan is everything, scaled: 1 is what every change must pass.
func plan(goTool string, scale float64, seed uint64) []step {
	n := func(of int) int { return max(1, int(float64(of)*scale)) }
	test := func(pkg string, args ...string) []string {
		return append([]string{goTool, "test", "-count=1", "-timeout=90m", pkg}, args...)
	}
	flag := func(name string, value any) string { return fmt.Sprintf("-%s=%v", name, value) }
	return []step{
		{"specification", "TLC on docs/spec: every configuration to completion, every expressible hazard shown without its cure",
			[]string{"sh", "scripts/tlc-ci.sh"}, 20 * time.Minute,
			[]minimum{{"specification", "distinct states", 100_000}, {"specification", "configurations", 5},
				{"specification", "hazards shown without their cure", 5}}},
		{"traces", "what the shipped code did in small clusters, accepted by the specification; mutations and planted bugs are not",
			[]string{"sh", "scripts/tlc-traces.sh", "-seeds", strconv.Itoa(n(2)), "-first", strconv.FormatUint(seed, 10)}, 20 * time.Minute,
			[]minimum{{"traces", "accepted", int64(5 * n(2))}, {"traces", "observations", int64(400 * n(2))}, {"traces", "mutations refused", 20},
				{"traces", "planted bugs refused", 10}}},
		{"explorer", "the shipped state machine through every interleaving of small configurations",
			test("./heal/explore", "-run=Test"), 20 * time.Minute,
			[]minimum{{"explorer", "states", 100_000}, {"explorer", "configurations complete", 5}}},
		{"simulation", "whole clusters of the shipped code under overlapping faults, then calm",
			test("./heal/simulation", flag("sim.seeds", n(1000)), flag("sim.first", seed), flag("sim.parallel", 2)), 40 * time.Minute,
			[]minimum{{"simulation", "seeds", int64(n(1000))}, {"simulation", "operations", int64(n(5_000_000))},
				{"simulation", "faults", int64(n(100_000))}}},
		{"protocol", "the replica and the machine of the way back, many small clusters",
			test("./heal/rejoin", "-run=TestCluster", flag("seeds", n(1500)), flag("first", seed)), 10 * time.Minute, nil},
		{"membership", "views and leases under drifting clocks, losses, restarts",
			test("./heal/membership", "-run=TestSimulation|HalfWay|StateIsWritten|OnlyTheEnv", flag("membership.seeds", n(200)),
				flag("membership.from", seed)), 20 * time.Minute,
			[]minimum{{"membership simulation", "seeds", int64(n(200))}}},
		{"crash states", "what a power loss can leave of a pool, and what opening makes of it",
			test("./pmem/crashtest", "-run=TestCrashStates", flag("crash.states", n(1_000_000)), flag("crash.seed", seed)), 20 * time.Minute,
			[]minimum{{"crash states", "states", int64(n(1_000_000))}}},
		{"lost flushes", "every flush and every drain that is lost is noticed",
			test("./pmem/crashtest", "-run=TestLost", "-crash.planted"), 10 * time.Minute,
			[]minimum{{"crash states", "planted flushes and drains noticed", 200}}},
		{"histories", "the checkers themselves, and the five models told apart",
			append(test("./bench/check"), "./heal/rejoin", "./dataplane/replica"), 5 * time.Minute, nil},
		{"real cluster", "node processes killed, paused and starved while clients watch, in all models",
			test("./cmd/node", "-tags=process", "-run=^TestProcessChaos"), 20 * time.Minute,
			[]minimum{{"real cluster", "faults", 30}, {"real cluster", "planted bugs found", 3}}},
		{"planted bugs", "every planted bug is found by a check", []string{goTool, "test", "-count=1", "-timeout=30m", "./bench/plants", "-plants"},
			30 * time.Minute, []minimum{{"planted bugs", "found", 230}}},
	}
}
