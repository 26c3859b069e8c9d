// Package sched is what the threads of the hot path ask of the kernel's
// scheduler, and hear from it. Everything here is advice: where the kernel does not
// know of it or forbids it, threads run as they would without.
package sched

import (
	"bytes"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// promptSlice is the shortest that the kernel takes.
const promptSlice = 100 * time.Microsecond

// Prompt asks for short turns on a processor for the calling thread, whose
// goroutine is locked to it: no larger a share, no other priority, but its share in
// smaller pieces. Since Linux 6.12 such a thread, when it is woken, need not wait for
// the end of the turn of one with longer ones, which is 1 to 3 ms as a rule. It pays for a
// thread that sleeps and does little when it is woken; one that gives its processor
// away without sleeping would only have it back sooner. Older kernels take no notice.
func Prompt() {
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil || a.Policy != unix.SCHED_NORMAL {
		return // somebody has decided otherwise
	}
	a.Size, a.Flags, a.Runtime = unix.SizeofSchedAttr, 0, uint64(promptSlice)
	_ = unix.SchedSetAttr(0, a, 0)
}

// Worked is the processor time of the calling thread, in nanoseconds; 0 where nobody
// counts it.
func Worked() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return t.Nano()
}

// Queue tells how long a thread has waited for a processor. The zero value is
// nobody's, and tells nothing.
type Queue struct {
	stat int // descriptor plus one
	line [96]byte
}

// Open makes it that of the calling thread, whose goroutine is locked to it.
func (q *Queue) Open() {
	if fd, err := unix.Open("/proc/thread-self/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		q.stat = fd + 1
	}
}

// Close makes it nobody's.
func (q *Queue) Close() {
	if q.stat != 0 {
		_ = unix.Close(q.stat - 1) // nothing was written
		q.stat = 0
	}
}

// Waited is the time in which the thread could have run and had no processor, since
// it began; 0 where the kernel does not count it. One goroutine at a time; it costs
// a system call.
func (q *Queue) Waited() time.Duration {
	if q.stat == 0 {
		return 0
	}
	n, _ := unix.Pread(q.stat-1, q.line[:], 0)
	return waited(q.line[:max(n, 0)])
}

// waited is the second number of a line of schedstat: run, waited, turns.
func waited(line []byte) time.Duration {
	_, rest, _ := bytes.Cut(line, []byte(" "))
	number, _, _ := bytes.Cut(rest, []byte(" "))
	d, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil || d < 0 {
		return 0
	}
	return time.Duration(d)
}
