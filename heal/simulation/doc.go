// Package simulation runs whole clusters from one seed: the shipped shard
// workers, sessions, lives, membership, register and leases, over pools whose
// media lose and tear what was not flushed, a simulated transport and control
// plane, clocks that drift, and processes that die, stand still and come back.
// Nothing of the product is copied but the wiring of a node.
//
// A run is drawn from its seed before it begins: options and a script, a list
// of client operations and faults with their times. Then it is a function of
// both, in one goroutine, in virtual time: equal scripts give equal traces. A
// failing script is shortened by leaving entries out (Shrink).
//
// After the script comes calm: faults end, everything must heal. All along and
// at the end the judge compares what nodes hold and clients were told with what
// the persistency model promises (protocol.md, "Invariants").
//
// Units: virtual time in nanoseconds, in scripts in microseconds.
package simulation
