package tcp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cipher is TLS over a nonblocking socket without a goroutine. Under the
// tls.Conn lies a wire, which in the worker's hands answers a read that would
// block with a temporary error, after which crypto/tls goes on where it was,
// and takes every write into memory, since after a write that failed it does
// not. Not more is given to it while some of that is left.
type cipher struct {
	conn *tls.Conn
	wire *wire
	buf  []byte // what is gathered for one write
}

// gatherBytes bounds what is encrypted at once and so what can be left over:
// four records.
const gatherBytes = 64 << 10

// wire is the net.Conn under a tls.Conn: first a connection of the Go runtime,
// for the handshake with its deadlines, then a bare socket.
type wire struct {
	net.Conn     // until bare
	fd       int // -1 before
	left     []byte
	at       int // bytes of left that have gone
}

// errEmpty is a socket without anything to read.
var errEmpty net.Error = emptyError{}

type emptyError struct{}

func (emptyError) Error() string   { return "tcp: nothing to read now" }
func (emptyError) Timeout() bool   { return true }
func (emptyError) Temporary() bool { return true }

func (w *wire) Read(b []byte) (int, error) {
	if w.fd < 0 {
		return w.Conn.Read(b)
	}
	n, err := unix.Read(w.fd, b)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, errEmpty
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (w *wire) Write(b []byte) (int, error) {
	if w.fd < 0 {
		return w.Conn.Write(b)
	}
	w.left = append(w.left, b...)
	return len(b), nil
}

func (w *wire) SetDeadline(t time.Time) error {
	if w.fd < 0 {
		return w.Conn.SetDeadline(t)
	}
	return nil
}
func (w *wire) SetReadDeadline(t time.Time) error  { return w.SetDeadline(t) }
func (w *wire) SetWriteDeadline(t time.Time) error { return w.SetDeadline(t) }

// flush sends what is left: 0 when all has gone.
func (w *wire) flush() syscall.Errno {
	for w.at < len(w.left) {
		n, err := unix.Write(w.fd, w.left[w.at:])
		if err != nil {
			errno, ok := err.(syscall.Errno)
			if !ok {
				errno = syscall.EIO
			}
			if errno == syscall.EINTR {
				continue
			}
			return errno
		}
		w.at += n
	}
	w.left, w.at = w.left[:0], 0
	return 0
}

func (c *cipher) pending() bool { return c.wire.at < len(c.wire.left) }

// write takes up to gatherBytes, unless something is left from before.
func (c *cipher) write(v *vector) (int, syscall.Errno) {
	if errno := c.wire.flush(); errno != 0 {
		return 0, errno
	}
	if v.len == 0 {
		return 0, 0
	}
	c.buf = c.buf[:0]
	for i := 0; i < v.n && len(c.buf) < gatherBytes; i++ {
		b := v.piece(i)
		c.buf = append(c.buf, b[:min(len(b), gatherBytes-len(c.buf))]...)
	}
	if _, err := c.conn.Write(c.buf); err != nil {
		return 0, syscall.EPIPE
	}
	if errno := c.wire.flush(); errno != 0 && errno != again {
		return 0, errno
	}
	return len(c.buf), 0
}

// read is as read(2): EAGAIN for nothing, 0 bytes for the end.
func (c *cipher) read(b []byte) (int, syscall.Errno) {
	n, err := c.conn.Read(b)
	switch {
	case n > 0:
		return n, 0
	case err == errEmpty:
		return 0, again
	case errors.Is(err, io.EOF):
		return 0, 0
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return 0, errno
	}
	return 0, syscall.EPROTO
}
