// Package futex sleeps on a word of shared memory and wakes whoever sleeps
// there, in this process or another one.
//
// It is not a lock: the caller stores the word before it wakes and looks again
// after it slept. Source: futex(2).
package futex

import (
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The operations are the shared ones (without FUTEX_PRIVATE_FLAG): waiter and
// waker are different processes. Syscall and not RawSyscall, so that the
// scheduler can take the processor away from a sleeping worker.
const (
	futexWait = 0
	futexWake = 1
)

// Wait sleeps while *word is old, at most timeout; negative waits for ever. It
// may return early (EINTR), so callers look again.
func Wait(word *atomic.Uint32, old uint32, timeout time.Duration) syscall.Errno {
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait,
		uintptr(old), uintptr(unsafe.Pointer(ts)), 0, 0)
	return errno
}

// Wake wakes the one thread that sleeps on word, if any.
func Wake(word *atomic.Uint32) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0)
}
