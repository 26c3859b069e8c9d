// Package load drives a node from inside its process, as the paper's co-located
// clients do: through the exported asynchronous API, with no hook of its own.
//
// A Generator submits the accesses of a workload and records what completed:
//
//   - open loop: accesses fall due at a rate, in groups one Tick apart, whether or
//     not earlier ones were answered. Latency counts from the due time, so a stall
//     shows in everything that fell due during it. At most Window are in flight;
//     what is due beyond that waits, and its latency runs.
//   - closed loop: Window accesses in flight, a completed one replaced at once;
//     latency counts from the submission. It measures capacity, not service.
//
// A rejected access is counted and submitted again, at most at the offered rate;
// its latency runs on. A write whose outcome is unknown is counted and given up.
// Ahead of schedule a Generator sleeps or waits in Session.Wait; it never spins.
//
// A Watcher is one sequential client at a low rate on a few keys of its own, whose
// history a linearizability check can judge.
//
// Neither runs the node, decides phases nor judges anything. Units: ns of
// CLOCK_MONOTONIC (record.Now). Nothing allocates per operation.
package load
