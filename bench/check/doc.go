// Package check decides after a run whether what clients saw was right: whether
// the histories of single keys are linearizable, and whether every acknowledged
// write is still there. It is pure: it reads no file and knows no node; package
// record brings histories and tables from disk.
//
// Linearizability of a register whose writes have unique values can be decided in
// O(n log n): Gibbons and Korach, "Testing shared memories" (SIAM J. Computing 26,
// 1997), section 4.1. Keys are independent (linearizability is local), so each is
// checked alone.
//
// Units: times in nanoseconds of one clock that all clients share. An operation
// precedes another if it returned strictly before the other was invoked.
package check
