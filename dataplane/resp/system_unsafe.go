package resp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the hot path never block: the sockets do not, and the wait of
// epoll is 0. So the Go scheduler need not know of them, which would cost as
// much as the parsing of a command.

// pollNow takes events that are there.
func pollNow(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

var one = [8]byte{0: 1}

// ringNow adds one to an event counter. Any goroutine.
func ringNow(fd int) {
	unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one[0])), 8)
}
