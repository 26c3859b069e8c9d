package resp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testPatience = 2 * time.Minute // of a whole test: the race detector on a busy machine

// network is how clients come: "tcp", or "unix" while TestOverASocketFile runs.
var network = "tcp"

// settings listens on a free port and on a socket file.
func settings(tb testing.TB) Config {
	tb.Helper()
	dir, err := os.MkdirTemp("", "resp") // the test's own has a name too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return Config{Listen: "127.0.0.1:0", Socket: filepath.Join(dir, "socket")}
}

// place is where s is to be reached.
func place(s *Server) string {
	if network == "unix" {
		return s.cfg.Socket
	}
	return s.Addr().String()
}

// stream is a connection over either.
type stream interface {
	net.Conn
	CloseWrite() error
}

func connect(tb testing.TB, s *Server) stream {
	tb.Helper()
	nc, err := net.Dial(network, place(s))
	if err != nil {
		tb.Fatal(err)
	}
	return nc.(stream)
}

// reset ends nc without order, where it can be: over a socket file that is what
// Close does while there is input.
func reset(nc stream) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	nc.Close()
}

// start serves b on a free port until the test ends, and checks then that
// nothing was misused or left open.
func start(t testing.TB, b *fakeBackend, change func(*Config)) *Server {
	t.Helper()
	cfg := settings(t)
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		b.stall(false)
		ctx, cancel := context.WithTimeout(context.Background(), testPatience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.sessions != 0 || b.inFlight != 0 {
			t.Errorf("%d sessions open, %d ops in flight after shutdown", b.sessions, b.inFlight)
		}
		for _, m := range b.broken {
			t.Errorf("misuse: %s", m)
		}
	})
	return s
}

// client is a raw connection.
type client struct {
	t  testing.TB
	nc stream
	r  *bufio.Reader
}

func dial(t testing.TB, s *Server) *client {
	t.Helper()
	nc := connect(t, s)
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(testPatience))
	return &client{t, nc, bufio.NewReaderSize(nc, 64<<10)}
}

func cmd(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, raw); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// do sends one command and returns its reply as text, see reply.
func (c *client) do(args ...string) string {
	c.t.Helper()
	c.send(cmd(args...))
	return c.reply()
}

func (c *client) reply() string {
	c.t.Helper()
	s, err := readReply(c.r)
	if err != nil {
		c.t.Fatalf("reading a reply: %v", err)
	}
	return s
}

// closed fails unless the server has closed the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("connection is not closed in order: %q, %v", b, err)
	}
}

// readReply shows a reply in one line: simple strings, errors and numbers as on
// the wire, bulks quoted, nil, [a b] for arrays, {k v} for maps.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("bad line %q", line)
	}
	line = line[:len(line)-2]
	n, _ := strconv.Atoi(line[1:])
	switch line[0] {
	case '+', '-', ':':
		return line, nil
	case '_':
		return "nil", nil
	case '$':
		if n < 0 {
			return "nil", nil
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if string(b[n:]) != "\r\n" {
			return "", fmt.Errorf("bulk without its end: %q", b[n:])
		}
		return strconv.Quote(string(b[:n])), nil
	case '*', '%':
		if n < 0 {
			return "nil", nil
		}
		open, end := "[", "]"
		if line[0] == '%' {
			n, open, end = 2*n, "{", "}"
		}
		parts := make([]string, n)
		for i := range parts {
			if parts[i], err = readReply(r); err != nil {
				return "", err
			}
		}
		return open + strings.Join(parts, " ") + end, nil
	}
	return "", fmt.Errorf("unknown reply %q", line)
}

func expect(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got %.300s\nwant %.300s", got, want)
	}
}

// expectPart wants text to begin with code and to hold part.
func expectPart(t testing.TB, got, code, part string) {
	t.Helper()
	if !strings.HasPrefix(got, code) || !strings.Contains(got, part) {
		t.Fatalf("got %.300s\nwant %s ... %s", got, code, part)
	}
}
