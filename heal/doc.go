// Package heal brings a node back and keeps its views installed. A Life is one
// incarnation of a node: it says hello to the others, installs every view in
// all shards, recovers from a buddy as a shadow, serves as a buddy itself, and
// ends when a view comes without it.
//
// What to do next on the way back is decided by the pure machine in
// heal/rejoin; who is a member is decided by the view register in
// heal/membership; this package carries both out. Records travel by reads of
// the buddy's exposed pool (rdma.Remote), everything else over heal/control.
//
// Sources: HEAL (arXiv 2602.08257); protocol.md, "Installing view e at n",
// "Rejoin of f", "Cold start".
//
// Threads: Run's goroutine steps the machine; one goroutine installs views;
// a recovery runs on a goroutine locked to its thread, on a core of its own
// where there is one, with a budget, and meets the shard workers only through
// rings and Do. It takes no lock that the hot path takes.
//
// # Without goroutines
//
// Everything that waits, begins beside or looks at the clock does so through
// Config.Env, and nothing is held over a wait, so a simulation runs whole
// lives as tasks of a flowsim.Process and kills them where they wait. It gives
// Config an Env and small Limits, fills in the rest as the root package does
// (Config.Opened, Worker.Open in Enter, Core.Complete in Promoted), runs Run
// and the handlers of Serve in tasks of the node's process, and drives the
// workers itself (package dataplane). Enter, Register, Control and
// Endpoint.Prepare may wait; closures on workers must not. The tests of this
// package are an example (rig_test.go).
package heal
