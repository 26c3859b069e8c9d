// Package simulation runs whole clusters from one seed: the shipped shard
// workers, sessions, lives, membership, register and leases, over pools whose
// media lose and tear what was not flushed, a simulated transport and control
// plane, clocks that drift, and processes that die, stand still and come back.
// Nothing of the product is copied but the wiring of a node.
//
// A run is drawn from its seed before it begins: options and a script, a list
// of client operations and faults with their times. Then it is a function of
// both, in one goroutine, in virtual time: equal scripts give equal traces. A
// failing script is shortened by leaving entries out (Shrink). What takes a
// whole cluster down for a while, or needs an operator, comes in some seeds only
// (rare): an eighth each loses live members for good, brings older pools back when
// all others have restarted, drains nodes, trusts refused connections.
//
// In a quarter of the seeds parts of pools are damaged (damage.go): records, any
// part of the log, segment headers, superblocks, index pages, checkpoint files,
// flipped, zeroed, old or from elsewhere, under running processes and while they
// are down, as long as another live member has everything undamaged. Scrubbers run
// there. A pool that lacks something must say so, no judge is less strict about
// what clients are told, and in the end nothing may be damaged or refused.
//
// After the script comes calm: faults end, everything must heal. All along and
// at the end the judge compares what nodes hold and clients were told with what
// the persistency model promises (protocol.md, "Invariants").
//
// Tests: TestSeeds runs 60 seeds, with -short 4, with -sim.seeds N so many; from
// 200 on a rare branch that was not taken is a failure. -sim.time 1h runs fresh
// seeds for so long, -sim.parallel 2 two at a time; -sim.damage N damages in every
// seed, -sim.seed N repeats one,
// -sim.log with what its nodes log, -sim.shrink 2m shortens its script.
// TestScripts runs what once failed (testdata), TestSameSeed everything twice.
//
// TestMatrix carries the fault matrix out (bench/matrix): a cell is a small
// cluster under load, one row's faults, calm, the judge, and a bound on the
// longest stall of writes. A tenth of the cells, with -short fewer; -sim.matrix 1
// all, -sim.matrix-out DIR writes the table, -sim.cell 'ROW|COLUMN' repeats one.
//
// RunTraced also writes down what shard 0 of each node shows after every part of
// a turn; scripts/tlc-traces.sh has the specification look at that (TestTraces,
// docs/spec/README.md, "Traces").
//
// What it cannot show: time stands still within a worker's turn and within a
// task between two waits; so races of threads are left to the race detector.
//
// Units: virtual time in nanoseconds, in scripts in microseconds.
package simulation
