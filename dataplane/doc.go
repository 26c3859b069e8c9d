// Package dataplane runs the protocol of a node's shards and gives programs
// the client API: sessions with blocking and asynchronous operations, deadlines
// and the three outcomes done, rejected and unknown.
//
// A Worker is one shard: a goroutine locked to its thread that owns the
// shard's replica, log, index and endpoint; its turn reads control, streams
// and watermarks, recovery, clients, flushes, publishes, answers. A Session
// hands operations to workers through single-producer rings and reads unlocked
// keys itself, without a lock and without the worker: one that is asked for alone
// at once, those that are submitted together in a burst (docs/decisions/0032).
//
// What is not here: views, leases and recovery (package heal and the root
// package decide; they reach a worker through Do), and any protocol decision
// (package replica).
//
// # Without goroutines
//
// A simulation runs the same code in one goroutine. It gives WorkerConfig an
// Env (and small Limits), calls Worker.Open or Begin but never Start, and then
// Worker.Round whenever the shard's endpoint does not sleep: after Wake, after
// a peer's publication, after the time it asked for. Once Round is false, it
// calls Worker.Halt. Do and Core.Stop wait through the Env, so they belong in
// its tasks; between rounds, outside of tasks, the simulation may look at
// Worker.Replica directly, since nobody else runs. Sessions are used through
// Submit and Poll only: these never wait, and Session.Close does not if nothing
// is outstanding. Deadlines are on the worker's clock. A process that is
// killed is simply no longer given rounds.
//
// Units: times in nanoseconds on the clock of Now; sizes and positions in
// bytes.
package dataplane
