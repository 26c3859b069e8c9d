package pmem

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Futexes of this process alone: futex(2), FUTEX_PRIVATE_FLAG.
const (
	futexWaitPrivate = 0 | 128
	futexWakePrivate = 1 | 128
)

// sleepOnWord sleeps while the word is old. It may return early.
func sleepOnWord(word *atomic.Uint32, old uint32) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWaitPrivate, uintptr(old), 0, 0, 0)
}

// wakeWord wakes whoever sleeps on the word, which was stored before.
func wakeWord(word *atomic.Uint32) {
	unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakePrivate, 1, 0, 0, 0)
}
