// Package report turns what a recovery experiment left behind into something to
// read: a terminal table, report.json, windows.csv, HdrHistogram files and one
// self-contained HTML page.
//
// It runs nothing and connects to nothing; the caller gathers an Input. Figures
// are computed once (Compute) and shown in every form from the same Report.
//
// What the figures mean:
//
//   - Phases: steady (before the kill), failover (until the last live node has
//     installed the view without the victim), away (until the restart), recovering
//     (until the victim serves its first read), after.
//   - Latency counts from the moment an operation was due.
//   - Degradation is the throughput of a phase in percent of the steady phase; for
//     the live nodes, of the same nodes in the steady phase.
//   - Failover stall is the longest time without a completed write at any live node,
//     among those that begin or end in the failover phase or the half second after.
//
// Units are part of every name: ns on the way in, ms, µs, bytes and operations per
// second on the way out.
package report
