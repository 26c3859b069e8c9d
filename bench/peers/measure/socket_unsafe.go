package measure

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Neither call blocks: so the Go scheduler, which would look after a thread that
// does, need not hear of them. That costs a tenth of them.

// receiveNow takes what the socket has; b is not empty.
func receiveNow(socket int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(socket), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// sendNow sends what the socket takes; b is not empty. A server that is gone is
// an error, not a signal.
func sendNow(socket int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(socket), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}
