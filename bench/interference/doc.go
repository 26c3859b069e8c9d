// Package interference tells what the hot-path threads of node processes were
// doing with their cores: how long they ran, how long they were ready and kept
// off by whom (recovery, the Go runtime of their own process, other nodes,
// others), and how long they took to run after they were woken.
//
// It watches the kernel's scheduler by eBPF (tracepoints sched_switch and
// sched_wakeup, with the kernel's own type information). The program is written
// in Go as instructions; no compiler is needed at run time. Threads are known by
// the names that workers and recovery give theirs (Role).
//
// It is no profiler: it knows nothing of what a thread computes. Where the
// privilege is missing (root, or CAP_BPF and CAP_PERFMON) Start says so.
//
// Times are CLOCK_MONOTONIC nanoseconds, as those of bench/record. On-core time
// and wake-ups are read in ticks of Tick, so a span's share of them is exact to
// a tick at either end; preemptions are exact.
//
// Sources: kernel documentation, bpf/; include/trace/events/sched.h.
package interference
