package tcp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vector is what one readv or writev moves: a piece of a frame's header and up
// to two pieces of a ring. It lives in the endpoint, so that a call allocates
// nothing.
type vector struct {
	iov [3]unix.Iovec
	n   int
	len int // bytes of all pieces
}

func (v *vector) reset() { v.n, v.len = 0, 0 }

func (v *vector) add(b []byte) {
	if len(b) > 0 {
		v.iov[v.n].Base = unsafe.SliceData(b)
		v.iov[v.n].SetLen(len(b))
		v.n++
		v.len += len(b)
	}
}

// piece is the i-th one.
func (v *vector) piece(i int) []byte { return unsafe.Slice(v.iov[i].Base, v.iov[i].Len) }

// The sockets are nonblocking, so these are raw calls: the scheduler needs not
// know of them.

func writev(fd int, v *vector) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&v.iov[0])), uintptr(v.n))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func readv(fd int, v *vector) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&v.iov[0])), uintptr(v.n))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// ready asks epoll without waiting.
func ready(fd int, events []unix.EpollEvent) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
