// Package dataplane runs the protocol of a node's shards and gives programs
// the client API: sessions with blocking and asynchronous operations, deadlines
// and the three outcomes done, rejected and unknown.
//
// A Worker is one shard: a goroutine locked to its thread that owns the
// shard's replica, log, index and endpoint; its turn reads control, streams
// and watermarks, recovery, clients, flushes, publishes, answers. A Session
// hands operations to workers through single-producer rings and reads unlocked
// keys itself, without a lock and without the worker.
//
// What is not here: views, leases and recovery (package heal and the root
// package decide; they reach a worker through Do), and any protocol decision
// (package replica).
//
// Units: times in nanoseconds on the clock of Now; sizes and positions in
// bytes.
package dataplane
