// Package record is what a run leaves behind on disk, written by the processes
// under test and read after some of them were killed:
//
//   - windows: what each generator completed in every 10 ms, with its latency
//     histograms (WindowWriter, ReadWindows);
//   - acknowledged writes: the newest acknowledged timestamp of every key id, in a
//     mapped file (Acks);
//   - histories: invocations and answers of the operations on watched keys
//     (History, ReadHistory).
//
// Everything is on its way to the page cache before the process goes on, so what
// was recorded survives SIGKILL of the process; only the last, unfinished window
// is lost. It does not survive loss of power, and need not. A torn tail is
// dropped by the readers and counted.
//
// Units: times in nanoseconds of CLOCK_MONOTONIC, which all processes of one host
// share; latencies in microseconds, 1 µs to 60 s with three digits, in the cells
// of HdrHistogram. A writer belongs to one goroutine; Acks may be shared.
package record
