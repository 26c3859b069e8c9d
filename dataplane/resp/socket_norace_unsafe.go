//go:build !race

package resp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// readNow reads what the socket has; b is not empty.
func readNow(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// writeNow writes what the socket takes, of b and then of more, which may be
// empty; b is not. A client that is gone is an error, not a signal.
func writeNow(fd int, b, more []byte) (int, unix.Errno) {
	if len(more) == 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		return int(n), errno
	}
	v := [2]unix.Iovec{{Base: &b[0]}, {Base: &more[0]}}
	v[0].SetLen(len(b))
	v[1].SetLen(len(more))
	m := unix.Msghdr{Iov: &v[0]}
	m.SetIovlen(2)
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_NOSIGNAL)
	return int(n), errno
}
