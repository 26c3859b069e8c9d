package tcp

import (
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// conn is an admitted data connection in the worker's hands: a nonblocking
// socket. One goroutine at a time.
type conn struct {
	fd    int
	tls   *cipher // nil: plain
	token token   // what it was admitted with; both ends know it

	in, out uint64 // bytes of frames and stream
	armed   bool   // the poller waits for room, too
}

// again is the errno of a socket that has nothing or takes nothing now.
const again = syscall.EAGAIN

// rawOf takes the socket out of the Go runtime's hands: a descriptor of its
// own, nonblocking as all of them are. x is closed.
func rawOf(x *net.TCPConn) (fd int, err error) {
	rc, err := x.SyscallConn()
	if err == nil {
		var dupErr error
		err = rc.Control(func(was uintptr) {
			if fd, dupErr = unix.FcntlInt(was, unix.F_DUPFD_CLOEXEC, 0); dupErr == nil {
				dupErr = unix.SetNonblock(fd, true)
			}
		})
		if err == nil {
			err = dupErr
		}
	}
	x.Close()
	if err != nil {
		return -1, fmt.Errorf("tcp: take over a socket: %w", err)
	}
	sockets.Add(1)
	return fd, nil
}

// tune sets what all connections have. The kernel sizes the buffers; unsent
// bytes in them are bounded, so that watermarks do not queue behind a stream
// that could still be joined with them here.
func tune(x *net.TCPConn) error {
	if err := x.SetNoDelay(true); err != nil {
		return err
	}
	if err := x.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: idleProbe, Interval: probeEvery, Count: probes}); err != nil {
		return err
	}
	rc, err := x.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = rc.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		if optErr == nil {
			optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentBytes)
		}
	})
	if err == nil {
		err = optErr
	}
	return err
}

const notSentBytes = 256 << 10

// write sends what it can of up to three pieces with one system call: bytes
// taken, errno. Over TLS what is taken may not have left yet: pending.
func (c *conn) write(v *vector) (n int, errno syscall.Errno) {
	if c.tls != nil {
		n, errno = c.tls.write(v)
	} else {
		n, errno = writev(c.fd, v)
	}
	c.out += uint64(n)
	return n, errno
}

// pending: something was taken that has not left.
func (c *conn) pending() bool { return c.tls != nil && c.tls.pending() }

// close ends the connection; nothing of it arrives later. What came in and was
// not read makes the kernel reset the connection instead of ending it in order,
// so that is read first.
func (c *conn) close() {
	if c.fd < 0 {
		return
	}
	var rest [512]byte
	unix.Read(c.fd, rest[:])
	unix.Close(c.fd)
	c.fd = -1
	sockets.Add(-1)
}
