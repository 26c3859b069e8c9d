package resp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConfig(t *testing.T) {
	ok := Config{Listen: "127.0.0.1:0"}
	for _, l := range []string{"127.0.0.1:7000", "[::1]:7000", "localhost:7000", "127.9.9.9:1"} {
		c := ok
		c.Listen = l
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
	for _, l := range []string{":7000", "0.0.0.0:7000", "[::]:7000", "10.1.2.3:7000", "example.org:7000", "[::ffff:10.0.0.1]:7000"} {
		c := ok
		c.Listen = l
		if err := c.Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "password") {
			t.Errorf("%s without a password: %v", l, err)
		}
		c.Password = "x"
		if err := c.Validate(); err != nil {
			t.Errorf("%s with a password: %v", l, err)
		}
	}
	for name, change := range map[string]func(*Config){
		"no port":       func(c *Config) { c.Listen = "127.0.0.1" },
		"bad port":      func(c *Config) { c.Listen = "127.0.0.1:99999" },
		"long password": func(c *Config) { c.Password = strings.Repeat("x", 1025) },
		"connections":   func(c *Config) { c.ConnsMax = -1 },
		"pipeline":      func(c *Config) { c.PipelineMax = 2000 },
		"query":         func(c *Config) { c.QueryBytesMax = 1000 },
		"reply":         func(c *Config) { c.ReplyBytesMax = 1 },
		"op timeout":    func(c *Config) { c.OpTimeout = 1 },
		"write timeout": func(c *Config) { c.WriteTimeout = -1 },
		"idle timeout":  func(c *Config) { c.IdleTimeout = 1 },
	} {
		c := ok
		change(&c)
		if _, err := Listen(c, newFake(1)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := start(t, newFake(1), nil)
	_, err := Listen(Config{Listen: s.Addr().String()}, newFake(1))
	if !errors.Is(err, ErrListen) || !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another process has the port") {
		t.Errorf("port in use: %v", err)
	}
}

func TestSizeLimits(t *testing.T) {
	s := start(t, newFake(11), func(c *Config) { c.QueryBytesMax = 4 << 20; c.ReplyBytesMax = 3 << 20 })
	c := dial(t, s)
	big := strings.Repeat("v", 1<<20)
	key := strings.Repeat("k", 1024)
	expect(t, c.do("SET", key, big), "+OK")
	expect(t, c.do("STRLEN", key), ":1048576")
	expect(t, c.do("GET", key), `"`+big+`"`)
	expect(t, c.do("SET", "a", big+"v"), "-ERR value or argument of 1048577 bytes, at most 1048576")
	expect(t, c.do("GET", "a"), "nil")
	expect(t, c.do("SET", "a", strings.Repeat("w", 20<<20)), "-ERR value or argument of 20971520 bytes, at most 1048576")
	expect(t, c.do("SET", "a", ""), "+OK")
	expect(t, c.do("GET", "a"), `""`)
	expectPart(t, c.do("MSET", "a", big, "b", big, "c", big, "d", big, "e", big), "-ERR", "command longer than the limit of 4194304 bytes")
	expect(t, c.do("MSET", "a", big, "b", big, "c", big), "+OK")
	expect(t, c.do("EXISTS", "a", "b", "c", "d"), ":3")
	expectPart(t, c.do("MGET", "a", "b", "c", "a"), "-ERR", "longer than the limit of 3145728 bytes")
	expect(t, c.do("MGET", "a", "b"), `["`+big+`" "`+big+`"]`)
	many := make([]string, argsMax+1)
	many[0] = "DEL"
	for i := range many[1:] {
		many[i+1] = "x"
	}
	expect(t, c.do(many[:argsMax]...), ":0")
	expect(t, c.do(many...), fmt.Sprintf("-ERR command of %d arguments, at most %d", argsMax+1, argsMax))
	// Pipelines of large values, more than may be held at once.
	go c.send(strings.Repeat(cmd("GET", "a"), 40))
	for range 40 {
		expect(t, c.reply(), `"`+big+`"`)
	}
	go c.send(strings.Repeat(cmd("SET", "a", big), 40))
	for range 40 {
		expect(t, c.reply(), "+OK")
	}
	expect(t, c.do("PING"), "+PONG")
}

func TestProtocolErrors(t *testing.T) {
	s := start(t, newFake(12), nil)
	for _, x := range []struct{ raw, want string }{
		{"*x\r\n", "-ERR Protocol error: invalid multibulk length"},
		{"*1048577\r\n", "-ERR Protocol error: invalid multibulk length"},
		{"*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length"},
		{"*1111111111111111111111111111111111111111", "-ERR Protocol error: invalid multibulk length"},
		{"*1\r\n:3\r\n", "-ERR Protocol error: expected '$', got :"},
		{"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length"},
		{"*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length"},
		{"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length"},
		{"*1\r\n$4\r\nPINGxx", "-ERR Protocol error: bulk string without its line end"},
		{"PING \"a\r\n", "-ERR Protocol error: unbalanced quotes in request"},
		{"PING 'a'b\r\n", "-ERR Protocol error: unbalanced quotes in request"},
		{strings.Repeat("x", 70_000), "-ERR Protocol error: too big inline request"},
	} {
		c := dial(t, s)
		// Commands before the garbage are answered, those behind it are not run.
		c.send(cmd("SET", "a", "1") + cmd("GET", "a") + x.raw + strings.Repeat(cmd("SET", "b", "1"), 3000))
		expect(t, c.reply(), "+OK")
		expect(t, c.reply(), `"1"`)
		expect(t, c.reply(), x.want)
		c.closed()
	}
	// A web page that makes a browser post commands gets nothing.
	for _, raw := range []string{"POST / HTTP/1.1\r\nSET b 1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nSET b 1\r\n"} {
		c := dial(t, s)
		c.send(raw)
		io.Copy(io.Discard, c.r)
	}
	c := dial(t, s)
	expect(t, c.do("EXISTS", "b"), ":0")
}

func TestInlineAndEmpty(t *testing.T) {
	c := dial(t, start(t, newFake(13), nil))
	c.send("\r\n  \r\n*0\r\n*-1\r\nSET a \"x \\x41\\n\\\"\" \r\nGET a\nGET\t'a'\r\nECHO 'it\\'s'\r\nECHO \"\"\r\nPING\r\n")
	for _, want := range []string{"+OK", `"x A\n\""`, `"x A\n\""`, `"it's"`, `""`, "+PONG"} {
		expect(t, c.reply(), want)
	}
	// Byte by byte.
	for _, b := range []byte(cmd("SET", "a", "slow") + "GET a\r\n") {
		c.send(string([]byte{b}))
	}
	expect(t, c.reply(), "+OK")
	expect(t, c.reply(), `"slow"`)
}

func TestMaxConnections(t *testing.T) {
	s := start(t, newFake(14), func(c *Config) { c.ConnsMax = 3 })
	var cs []*client
	for range 3 {
		c := dial(t, s)
		expect(t, c.do("PING"), "+PONG")
		cs = append(cs, c)
	}
	c := dial(t, s)
	c.send(cmd("PING"))
	expect(t, c.reply(), "-ERR max number of clients reached")
	c.closed()
	expect(t, cs[0].do("QUIT"), "+OK")
	cs[0].closed()
	cs[0].nc.Close()
	for deadline := time.Now().Add(testPatience); ; {
		c := dial(t, s)
		c.send(cmd("PING"))
		if c.reply() == "+PONG" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no room after a client left")
		}
	}
	if st := s.Stats(); st.Refused == 0 || st.Conns != 3 {
		t.Fatalf("%+v", st)
	}
}

// A client that shut its sending side down still gets every answer.
func TestHalfClosed(t *testing.T) {
	b := newFake(15)
	c := dial(t, start(t, b, nil))
	b.stall(true)
	const n = 300
	for i := range n {
		c.send(cmd("SET", fmt.Sprint(i), "v"))
	}
	c.send(cmd("GET", "7") + "*2\r\n$3\r\nGE") // the last one is never whole
	c.nc.CloseWrite()
	b.waitInFlight(n)
	b.stall(false)
	for range n {
		expect(t, c.reply(), "+OK")
	}
	expect(t, c.reply(), `"v"`)
	c.closed()
}

// A client that vanishes with ops in flight: its memory is not reused before
// they end, and others do not notice.
func TestVanishedClient(t *testing.T) {
	b := newFake(16)
	s := start(t, b, nil)
	b.stall(true)
	for i := range 5 {
		c := dial(t, s)
		for j := range 100 {
			c.send(cmd("SET", fmt.Sprint(i, j), "v"))
		}
		b.waitInFlight(100 * (i + 1))
		reset(c.nc)
	}
	d := dial(t, s)
	expect(t, d.do("PING"), "+PONG")
	b.stall(false)
	waitConns(t, s, 1)
	// Nobody waits for what a client that is gone had under way.
	for deadline := time.Now().Add(testPatience); d.do("DBSIZE") != ":500"; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s keys of 500", d.do("DBSIZE"))
		}
	}
}

func waitConns(t testing.TB, s *Server, n int) {
	t.Helper()
	for deadline := time.Now().Add(testPatience); s.Stats().Conns != n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, waited for %d", s.Stats().Conns, n)
		}
	}
}

// A client that writes a long pipeline before it reads any reply: many more
// bytes of replies than the sockets hold, in both directions.
func TestClientWritesFirst(t *testing.T) {
	b := newFake(17)
	c := dial(t, start(t, b, nil))
	value := strings.Repeat("v", 1000)
	expect(t, c.do("SET", "k", value), "+OK")
	const n = 40_000
	c.send(strings.Repeat(cmd("SET", "pad", value[:200])+cmd("GET", "k"), n)) // 10 MB in, 40 MB out
	for range n {
		expect(t, c.reply(), "+OK")
		expect(t, c.reply(), `"`+value+`"`)
	}
}

// A client that never reads is cut after WriteTimeout and frees what it held.
func TestSlowClient(t *testing.T) {
	b := newFake(18)
	s := start(t, b, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	c := dial(t, s)
	expect(t, c.do("SET", "k", strings.Repeat("v", 1<<20)), "+OK")
	go io.WriteString(c.nc, strings.Repeat(cmd("GET", "k"), 100_000))
	waitConns(t, s, 0)
	if s.Stats().SlowClosed != 1 {
		t.Fatalf("%+v", s.Stats())
	}
	d := dial(t, s)
	expect(t, d.do("STRLEN", "k"), ":1048576")
}

func TestIdleTimeout(t *testing.T) {
	s := start(t, newFake(19), func(c *Config) { c.IdleTimeout = 30 * time.Millisecond })
	c := dial(t, s)
	expect(t, c.do("SET", "a", "b"), "+OK")
	c.closed()
}

func TestShutdownAnswersWhatIsUnderWay(t *testing.T) {
	b := newFake(20)
	s, err := Listen(settings(t), b)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	var cs []*client
	for range 5 {
		c := dial(t, s)
		expect(t, c.do("PING"), "+PONG")
		cs = append(cs, c)
	}
	b.stall(true)
	const n = 50
	for i := range 3 { // two stay idle
		for j := range n {
			cs[i].send(cmd("SET", fmt.Sprint(i, j), "v"))
		}
	}
	b.waitInFlight(3 * n)
	// Too short a time: cut, with a reason.
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(ctx) }()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Fatal(err)
	}
	for _, c := range cs[3:] {
		c.closed()
	}
	b.stall(false)
	for _, c := range cs[:3] {
		for range n {
			expect(t, c.reply(), "+OK")
		}
		c.closed()
	}
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := net.Dial(network, place(s)); err == nil {
		t.Fatal("still listening")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions != 0 || b.inFlight != 0 || len(b.broken) > 0 {
		t.Fatalf("%d sessions, %d ops left, %v", b.sessions, b.inFlight, b.broken)
	}
}

// What had arrived when the server was told to stop is answered, though the
// connection had not read it yet, and the client gets every answer before the
// end.
func TestShutdownAnswersWhatHasArrived(t *testing.T) {
	b := newFake(22)
	s, err := Listen(settings(t), b)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	busy, idle := dial(t, s), dial(t, s)
	expect(t, idle.do("PING"), "+PONG")
	b.stall(true)
	busy.send(cmd("SET", "a", "1"))
	b.waitInFlight(1)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Fatal(err)
	}
	const late = 20
	for i := range late {
		busy.send(cmd("SET", "b", fmt.Sprint(i)))
	}
	b.waitInFlight(1 + late)
	b.stall(false)
	for range 1 + late {
		expect(t, busy.reply(), "+OK")
	}
	busy.closed()
	idle.closed()
	busy.nc.Close()
	idle.nc.Close()
	if err := <-down; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commands answered that came after the end was decided", late)
}

func TestShutdownCutsAtItsDeadline(t *testing.T) {
	b := newFake(21)
	s := start(t, b, nil) // its own shutdown runs again, after the stall
	c := dial(t, s)
	b.stall(true)
	c.send(cmd("SET", "a", "b"))
	b.waitInFlight(1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 connections cut") {
		t.Fatalf("shutdown: %v", err)
	}
	if _, err := c.r.ReadByte(); err == nil {
		t.Fatal("an answer to a write that is still under way")
	}
}

// Closing a server beside clients whose input is just arriving must end: the
// reader that takes it in and the one that cuts the connection may not wait
// for each other.
func TestCloseBesideArrivingInput(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 300
	}
	for range rounds {
		s, nc := startQuick(t)
		io.WriteString(nc, "PING\r\n")
		if _, err := io.ReadFull(nc, make([]byte, len("+PONG\r\n"))); err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() { s.Close(); close(closed) }()
		io.WriteString(nc, "PING\r\n")
		nc.Close()
		select {
		case <-closed:
		case <-time.After(testPatience):
			t.Fatal("Close does not return")
		}
	}
	t.Logf("%d servers closed", rounds)
}
