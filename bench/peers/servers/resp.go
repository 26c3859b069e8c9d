package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
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
	in   *bufio.Reader
	out  []byte
	wait int // replicas that must have the write; 0 for no WAIT
	ends time.Time
}

// opPatience bounds an operation whose context has no deadline; half of it has
// to do now and then.
const opPatience = 10 * time.Second

func dialRESP(ctx context.Context, address string, wait int) (Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &resp{conn: conn, in: bufio.NewReader(conn), wait: wait}, nil
}

func (c *resp) Close() error { return c.conn.Close() }

func (c *resp) command(args ...string) {
	c.out = append(c.out, '*')
	c.out = strconv.AppendInt(c.out, int64(len(args)), 10)
	c.out = append(c.out, "\r\n"...)
	for _, a := range args {
		c.bulk(len(a))
		c.out = append(append(c.out, a...), "\r\n"...)
	}
}

func (c *resp) bulk(n int) {
	c.out = append(c.out, '$')
	c.out = strconv.AppendInt(c.out, int64(n), 10)
	c.out = append(c.out, "\r\n"...)
}

func (c *resp) send(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if now := time.Now(); !ok && c.ends.Sub(now) > opPatience/2 {
		deadline = c.ends // near enough: setting it for each operation would be a part of what is measured
	} else if !ok {
		deadline = now.Add(opPatience)
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

// reply reads one answer that is no array; nil for a null.
func (c *resp) reply() (kind byte, text []byte, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return 0, nil, fmt.Errorf("%w: %q", errProtocol, line)
	}
	kind, text = line[0], line[1:len(line)-2]
	switch kind {
	case '-':
		return kind, nil, fmt.Errorf("%w: %s", errReply, text)
	case '$':
		n, err := strconv.Atoi(string(text))
		if err != nil || n < -1 || n > 1<<20 {
			return 0, nil, fmt.Errorf("%w: length %q", errProtocol, text)
		}
		if n == -1 {
			return kind, nil, nil
		}
		value := make([]byte, n+2)
		if err := c.full(value); err != nil {
			return 0, nil, err
		}
		return kind, value[:n], nil
	}
	return kind, text, nil
}

func (c *resp) full(dst []byte) error {
	for n := 0; n < len(dst); {
		k, err := c.in.Read(dst[n:])
		if err != nil {
			return err
		}
		n += k
	}
	return nil
}

func (c *resp) Write(ctx context.Context, key string, value []byte) error {
	c.out = append(c.out, "*3\r\n$3\r\nSET\r\n"...)
	c.bulk(len(key))
	c.out = append(append(c.out, key...), "\r\n"...)
	c.bulk(len(value))
	c.out = append(append(c.out, value...), "\r\n"...)
	if c.wait > 0 {
		c.command("WAIT", strconv.Itoa(c.wait), strconv.Itoa(int(opPatience.Milliseconds()/2)))
	}
	if err := c.send(ctx); err != nil {
		return c.broken(err)
	}
	kind, text, err := c.reply()
	if err != nil && !errors.Is(err, errReply) {
		return c.broken(err)
	}
	if err == nil && (kind != '+' || string(text) != "OK") {
		err = fmt.Errorf("%w: SET: %c%s", errReply, kind, text)
	}
	if c.wait == 0 {
		return err
	}
	kind, text, e := c.reply() // that of WAIT comes in any case
	if e != nil {
		return c.broken(e)
	}
	if err != nil {
		return err
	}
	if n, e := strconv.Atoi(string(text)); kind != ':' || e != nil || n < c.wait {
		return fmt.Errorf("%w: WAIT: %s of %d replicas have the write", errReply, text, c.wait)
	}
	return nil
}

// broken ends a connection on which an answer may still come that belongs to
// no later command.
func (c *resp) broken(err error) error {
	_ = c.conn.Close()
	return err
}

func (c *resp) Read(ctx context.Context, key string) ([]byte, error) {
	c.command("GET", key)
	if err := c.send(ctx); err != nil {
		return nil, c.broken(err)
	}
	kind, value, err := c.reply()
	switch {
	case errors.Is(err, errReply):
		return nil, err
	case err != nil:
		return nil, c.broken(err)
	case kind != '$':
		return nil, c.broken(fmt.Errorf("%w: GET: %c%s", errReply, kind, value))
	case value == nil:
		return nil, fmt.Errorf("%w: %s", ErrAbsent, key)
	}
	return value, nil
}
