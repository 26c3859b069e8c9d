// Package reset says what a hard reset of the machine must leave: every write
// that was acknowledged, under the Synchronous model.
//
// The workload is the same wherever it runs: Writers of them, each with its own
// keys and one write at a time under way, so that what a key may hold after a
// reset is known exactly. It runs on a cluster on a DAX mount of the lab
// machine, which is reset at a random moment (lab_test.go, scripts/lab/dax.sh),
// and on a pool in a recording region, which can lose the lines that nobody
// flushed; emulated persistent memory cannot. There it must fail when the
// flushes are left out.
//
// Acknowledgements leave the machine one line each, "writer number", before the
// writer goes on (Journal).
package reset
