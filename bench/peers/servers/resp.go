package servers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// errReply is an answer of the server that is not the one asked for.
	errReply = errors.New("peers: reply")
	// errProtocol: what came is not RESP2.
	errProtocol = errors.New("peers: not the Redis protocol")
)

// resp is one connection that speaks RESP2, no pipelining but that of a write
// and its WAIT.
type resp struct {
	conn net.Conn
	in   []byte // what has come and belongs to no answer yet is in[:have]
	have int
	out  []byte
	wait string // replicas that must have the write; empty for no WAIT
	ends time.Time
}

// dialRESP connects to host:port, or to a socket file by its absolute path.
func dialRESP(ctx context.Context, address string, wait int) (*resp, error) {
	var d net.Dialer
	network := "tcp"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &resp{conn: conn, in: make([]byte, 4096)}
	if wait > 0 {
		c.wait = strconv.Itoa(wait)
	}
	return c, nil
}

func (c *resp) Close() error { return c.conn.Close() }

// waitMillis is how long the server waits for its replicas.
var waitMillis = strconv.Itoa(int(OpPatience.Milliseconds() / 2))

func appendCommand(out []byte, args ...string) []byte {
	out = append(out, '*')
	out = strconv.AppendInt(out, int64(len(args)), 10)
	out = append(out, "\r\n"...)
	for _, a := range args {
		out = append(append(appendBulk(out, len(a)), a...), "\r\n"...)
	}
	return out
}

func appendBulk(out []byte, n int) []byte {
	out = append(out, '$')
	out = strconv.AppendInt(out, int64(n), 10)
	return append(out, "\r\n"...)
}

// AppendWrite writes a request behind out.
func (c *resp) AppendWrite(out []byte, key string, value []byte) []byte {
	out = append(out, "*3\r\n$3\r\nSET\r\n"...)
	out = append(append(appendBulk(out, len(key)), key...), "\r\n"...)
	out = append(append(appendBulk(out, len(value)), value...), "\r\n"...)
	if c.wait != "" {
		out = appendCommand(out, "WAIT", c.wait, waitMillis)
	}
	return out
}

// AppendRead writes a request behind out.
func (c *resp) AppendRead(out []byte, key string) []byte {
	return appendCommand(out, "GET", key)
}

func (c *resp) send(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if now := time.Now(); !ok && c.ends.Sub(now) > OpPatience/2 {
		deadline = c.ends // half of it has to do now and then; near enough: setting it for each operation would be a part of what is measured
	} else if !ok {
		deadline = now.Add(OpPatience)
	}
	if deadline != c.ends {
		if err := c.conn.SetDeadline(deadline); err != nil {
			return err
		}
		c.ends = deadline
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// reply looks at one answer that is no array, at the beginning of in: n of its
// bytes. 0: not all of it has come. text is nil for a null. With errProtocol,
// nothing that follows can be understood.
func reply(in []byte) (n int, kind byte, text []byte, err error) {
	end := bytes.IndexByte(in, '\n')
	if end < 0 {
		if len(in) > replyLineMax {
			return 0, 0, nil, fmt.Errorf("%w: %q", errProtocol, in[:64])
		}
		return 0, 0, nil, nil
	}
	if end < 2 || in[end-1] != '\r' {
		return 0, 0, nil, fmt.Errorf("%w: %q", errProtocol, in[:min(end+1, 64)])
	}
	kind, text, n = in[0], in[1:end-1], end+1
	switch kind {
	case '-':
		return n, kind, nil, fmt.Errorf("%w: %s", errReply, text)
	case '$':
		size, err := strconv.Atoi(string(text))
		if err != nil || size < -1 || size > 1<<20 {
			return 0, 0, nil, fmt.Errorf("%w: length %q", errProtocol, text)
		}
		if size == -1 {
			return n, kind, nil, nil
		}
		if len(in) < n+size+2 {
			return 0, 0, nil, nil
		}
		return n + size + 2, kind, in[n : n+size : n+size], nil
	}
	return n, kind, text, nil
}

// replyLineMax bounds the first line of an answer.
const replyLineMax = 4096

// Written looks at what came for a write.
func (c *resp) Written(in []byte) (n int, err error) {
	n, kind, text, err := reply(in)
	if n == 0 {
		return 0, err
	}
	if err == nil && (kind != '+' || string(text) != "OK") {
		err = fmt.Errorf("%w: SET: %c%s", errReply, kind, text)
	}
	if c.wait == "" {
		return n, err
	}
	more, kind, text, e := reply(in[n:]) // that of WAIT comes in any case
	switch {
	case more == 0:
		return 0, e
	case err != nil:
	case e != nil:
		err = e
	default:
		want, _ := strconv.Atoi(c.wait)
		if have, e := strconv.Atoi(string(text)); kind != ':' || e != nil || have < want {
			err = fmt.Errorf("%w: WAIT: %s of %s replicas have the write", errReply, text, c.wait)
		}
	}
	return n + more, err
}

// Found looks at what came for a read. The value stands in in.
func (c *resp) Found(in []byte) (n int, value []byte, err error) {
	n, kind, value, err := reply(in)
	switch {
	case n == 0 || err != nil:
		return n, nil, err
	case kind != '$':
		return 0, nil, fmt.Errorf("%w: GET: %c%s", errProtocol, kind, value)
	case value == nil:
		return n, nil, ErrAbsent
	}
	return n, value, nil
}

// exchange sends the request in c.out and reads until whole has seen all of its
// answer.
func (c *resp) exchange(ctx context.Context, whole func(in []byte) (int, error)) error {
	if err := c.send(ctx); err != nil {
		return c.broken(err)
	}
	for {
		n, err := whole(c.in[:c.have])
		switch {
		case n > 0:
			c.have = copy(c.in, c.in[n:c.have])
			return err
		case err != nil:
			return c.broken(err)
		}
		if c.have == len(c.in) {
			c.in = append(c.in, make([]byte, len(c.in))...)
		}
		k, err := c.conn.Read(c.in[c.have:])
		if err != nil {
			return c.broken(err)
		}
		c.have += k
	}
}

func (c *resp) Write(ctx context.Context, key string, value []byte) error {
	c.out = c.AppendWrite(c.out[:0], key, value)
	return c.exchange(ctx, c.Written)
}

// broken ends a connection on which an answer may still come that belongs to
// no later command.
func (c *resp) broken(err error) error {
	_ = c.conn.Close()
	return err
}

func (c *resp) Read(ctx context.Context, key string) (value []byte, err error) {
	c.out = c.AppendRead(c.out[:0], key)
	err = c.exchange(ctx, func(in []byte) (int, error) {
		n, v, err := c.Found(in)
		if v != nil {
			value = append([]byte{}, v...)
		}
		return n, err
	})
	if errors.Is(err, ErrAbsent) {
		err = fmt.Errorf("%w: %s", ErrAbsent, key)
	}
	return value, err
}

// Socket hands the connection over to whoever asks the kernel itself when it can
// be read; Write and Read fail from then on. The caller closes it.
func (c *resp) Socket() (fd int, err error) {
	raw, err := c.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	var failed error
	err = raw.Control(func(own uintptr) { fd, failed = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if err = cmp.Or(err, failed); err != nil {
		return -1, err
	}
	return fd, c.conn.Close() // no longer known to Go's poller: it would be woken for each answer, too
}
