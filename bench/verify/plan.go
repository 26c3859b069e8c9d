package main

import (
	"fmt"
	"strconv"
	"strings"
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

// plan is everything, scaled: 1 is what every change must pass. A test that
// hangs ends a little before its step does, as then it says where it hung.
func plan(goTool string, scale float64, seed uint64) []step {
	n := func(of int) int { return max(1, int(float64(of)*scale)) }
	within := func(minutes float64) time.Duration {
		return time.Duration(minutes * max(1, scale) * float64(time.Minute)).Round(time.Second)
	}
	test := func(minutes float64, pkg string, args ...string) []string {
		return append([]string{goTool, "test", "-count=1", option("timeout", within(minutes)-30*time.Second), pkg}, args...)
	}
	return []step{
		{"specification", "TLC on docs/spec: every configuration to completion, every expressible hazard shown without its cure",
			[]string{"sh", "scripts/tlc-ci.sh"}, within(20),
			[]minimum{{"specification", "distinct states", 100_000}, {"specification", "configurations", 80},
				{"specification", "hazards shown without their cure", 31}}},
		{"traces", "what the shipped code did in small clusters, accepted by the specification; mutations and planted bugs are not",
			[]string{"sh", "scripts/tlc-traces.sh", "-seeds", strconv.Itoa(n(2)), "-first", strconv.FormatUint(seed, 10)}, within(20),
			[]minimum{{"traces", "accepted", int64(5 * n(2))}, {"traces", "observations", int64(400 * n(2))}, {"traces", "mutations refused", 20},
				{"traces", "planted bugs refused", 10}}},
		{"explorer", "the shipped state machines through every interleaving of small configurations, others in part, and random walks",
			test(20, "./heal/explore", "-run=Test", option("explore.states", max(n(25_000), 25_000))), within(20),
			[]minimum{{"explorer", "states", 4_000_000}, {"explorer", "configurations complete", 90},
				{"explorer", "register states", 2_000_000}, {"explorer", "register configurations complete", 9}}},
		{"simulation", "whole clusters of the shipped code under overlapping faults, then calm",
			test(40, "./heal/simulation", option("sim.seeds", n(1000)), option("sim.first", seed), option("sim.parallel", 2)), within(40),
			[]minimum{{"simulation", "seeds", int64(n(1000))}, {"simulation", "operations compared", int64(n(5_000_000))},
				{"simulation", "faults", int64(n(100_000))}}},
		{"matrix", "every fault in every kind of cluster, in the simulator, and how long writes stood still; the table is in out/matrix",
			test(15, "./heal/simulation", "-run=TestMatrix", option("sim.matrix", 1), option("sim.matrix-seed", seed), option("sim.parallel", 2),
				option("sim.matrix-out", "../../out/matrix")), within(15),
			[]minimum{{"matrix", "simulator cells", 1170}, {"matrix", "operations compared", 1_300_000}, {"matrix", "faults", 2100}}},
		{"protocol", "the replica and the machine of the way back, many small clusters",
			test(10, "./heal/rejoin", "-run=TestCluster", option("seeds", n(1500)), option("first", seed)), within(10),
			[]minimum{{"protocol simulation", "seeds", int64(n(1500))}}},
		{"membership", "views and leases under drifting clocks, losses, restarts",
			test(20, "./heal/membership", "-run=TestSimulation|HalfWay|StateIsWritten|OnlyTheEnv", option("membership.seeds", n(1000)),
				option("membership.from", seed), option("membership.parallel", 2)), within(20),
			[]minimum{{"membership simulation", "seeds", int64(n(1000))}, {"membership simulation", "competing proposals", int64(n(20_000))},
				{"membership simulation", "proposals in calm, all decided", int64(n(3000))},
				{"membership simulation", "leases looked at", int64(n(50_000_000))},
				{"membership simulation", "processes with a drifting clock", int64(n(5000))}, {"membership simulation", "pauses", int64(n(400))}}},
		{"crash states", "what a power loss can leave of a pool, and what opening makes of it",
			test(20, "./pmem/crashtest", "-run=TestCrashStates", option("crash.states", n(1_000_000)), option("crash.seed", seed)), within(20),
			[]minimum{{"crash states", "states", int64(n(1_000_000))}}},
		{"lost flushes", "every flush and every drain that is lost is noticed",
			test(10, "./pmem/crashtest", "-run=TestLost", "-crash.planted"), within(10),
			[]minimum{{"crash states", "planted flushes and drains noticed", 400}}},
		{"damage", "bits and blocks of a pool hurt one at a time, under reads and before an opening: right, refused or doubtful",
			test(10, "./pmem", "-run=TestEveryBit|TestDamagedBlocks", option("pmem.bits", max(1, int(50/max(1, scale)))), option("pmem.blocks", max(n(50), 50))), within(10),
			[]minimum{{"damage", "bits flipped under reads", 160_000}, {"damage", "bits flipped before an opening", 1000},
				{"damage", "blocks damaged before an opening", 2000}}},
		{"damage matrix", "every kind of structure hurt in every way at sets of six replicas, a drawn part of the 1 600 cells: exact, or refused where nobody has a good copy",
			test(10, "./bench/damage", "-run=TestDamageMatrix", option("damage.share", min(1, 0.05*scale)), option("damage.seed", seed)), within(10),
			[]minimum{{"damage", "cells", int64(n(70))}, {"damage", "reads compared", int64(n(25_000))}}},
		{"histories", "the checkers themselves, and the five models told apart",
			append(test(5, "./bench/check"), "./heal/rejoin", "./dataplane/replica"), within(5),
			[]minimum{{"histories", "pairs of models told apart", 10}, {"histories", "judged as porcupine does", 10_000},
				{"histories", "durability histories judged", 10_000}}},
		{"real cluster", "node processes killed, paused and starved while clients watch, in all models",
			test(20, "./cmd/node", "-tags=process", "-run=^TestProcessChaos"), within(20),
			[]minimum{{"real cluster", "faults", 30}, {"real cluster", "planted bugs found", 3}}},
		{"process matrix", "the same on clusters of real processes, over shared memory and over TCP: a drawn tenth",
			test(20, "./cmd/node", "-tags=process", "-run=^TestChaosMatrix", option("chaos-seed", seed)), within(20),
			[]minimum{{"matrix", "process cells", 85}}},
		{"endurance", "pools of twice the live data overwritten again and again, a node killed and healed",
			test(8, "./cmd/node", "-tags=process", "-run=^TestEndureShort"), within(8),
			[]minimum{{"endurance", "logs written over", 2}, {"endurance", "acknowledged writes compared", 100_000}}},
		{"planted bugs", "every planted bug is found by a check", test(30, "./bench/plants", "-plants"), within(30),
			[]minimum{{"planted bugs", "found", 326}, {"planted bugs", "found by the simulation too", 20},
				{"planted bugs", "found by the explorer too", 57}}},
	}
}

// option is one that a test takes.
func option(name string, value any) string { return fmt.Sprintf("-%s=%v", name, value) }

// shell is a command as a line that a shell reads as the same words.
func shell(command []string) string {
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n\"'`\\|&;<>()$*?[]{}#~!^") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
