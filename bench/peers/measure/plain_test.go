package measure

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/bench/peers/servers"
)

// plainMemory is memory behind connections that a loop serves. A request is a
// line "W key" or "R key", and a line with the value of a write; an answer is a
// line "+value", "-" where there is none, or "!" and an error.
type plainMemory struct {
	*memory
	end   func(n int) bool // whether a server hangs up instead of giving its n-th answer
	twice bool             // every answer is given twice
}

type plainMemoryClient struct {
	servers.Client
	m    *plainMemory
	node int
}

func (m *plainMemory) Connect(ctx context.Context, node int) (servers.Client, error) {
	c, err := m.memory.Connect(ctx, node)
	return &plainMemoryClient{c, m, node}, err
}

func (c *plainMemoryClient) Socket() (int, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	file := os.NewFile(uintptr(ends[1]), "server")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return -1, err
	}
	go c.serve(conn)
	return ends[0], nil
}

func (c *plainMemoryClient) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	line := func() []byte {
		text, err := in.ReadBytes('\n')
		if err != nil {
			return nil
		}
		return text[:len(text)-1]
	}
	for n := 0; ; n++ {
		request := line()
		if request == nil || c.m.end != nil && c.m.end(n) {
			return
		}
		key, answer := string(request[2:]), "+\n"
		if request[0] == 'W' {
			value, err := strconv.Unquote(string(line()))
			if err != nil {
				return
			}
			if err := c.Client.Write(context.Background(), key, []byte(value)); err != nil {
				answer = "!" + err.Error() + "\n"
			}
		} else if value, err := c.Client.Read(context.Background(), key); err != nil {
			answer = "-\n"
		} else {
			answer = "+" + strconv.Quote(string(value)) + "\n"
		}
		if c.m.twice {
			answer += answer
		}
		// In two parts now and then.
		cut := n % len(answer)
		for _, part := range []string{answer[:cut], answer[cut:]} {
			if _, err := io.WriteString(conn, part); err != nil {
				return
			}
		}
	}
}

// Values are bytes of any kind, the lines are text.
func (c *plainMemoryClient) AppendWrite(out []byte, key string, value []byte) []byte {
	return fmt.Appendf(out, "W %s\n%q\n", key, value)
}

func (c *plainMemoryClient) AppendRead(out []byte, key string) []byte {
	return fmt.Appendf(out, "R %s\n", key)
}

func (c *plainMemoryClient) Written(in []byte) (n int, err error) {
	n = bytes.IndexByte(in, '\n') + 1
	if n > 0 && in[0] != '+' {
		err = errors.New(string(in[1 : n-1]))
	}
	return n, err
}

func (c *plainMemoryClient) Found(in []byte) (n int, value []byte, err error) {
	n = bytes.IndexByte(in, '\n') + 1
	switch {
	case n == 0:
		return 0, nil, nil
	case in[0] == '-':
		return n, nil, servers.ErrAbsent
	}
	text, err := strconv.Unquote(string(in[1 : n-1]))
	return n, []byte(text), err
}

func TestPlainLoad(t *testing.T) {
	m := &plainMemory{memory: newMemory()}
	l := small
	l.ValueBytes = 6000 // answers to reads are longer than the first buffer
	s := openAt(t, m, l)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, reads := range []bool{false, true, false} {
		f, err := s.Run(context.Background(), reads)
		if err != nil {
			t.Fatal(err)
		}
		if f.Operations == 0 || f.Checked == 0 || f.Wrong != 0 || f.Errors != 0 || f.P50 < 1 || f.P99 < f.P50 || f.Max < f.P999 {
			t.Errorf("reads %v: %+v", reads, f)
		}
		if want := float64(f.Operations) / l.Time.Seconds(); f.Rate != want {
			t.Errorf("rate %v, want %v", f.Rate, want)
		}
		t.Logf("reads %v: %d operations, %d keys read back", reads, f.Operations, f.Checked)
	}
	for _, w := range s.workers {
		if w.plain == nil {
			t.Error("a connection was served by a goroutine of its own")
		}
	}
}

// The clock may jump: a process that is stopped for a while, with its server in
// it, gave nobody time to answer.
func TestPlainPatience(t *testing.T) {
	s := openAt(t, &plainMemory{memory: newMemory()}, small)
	all, err := s.plains()
	if err != nil {
		t.Fatal(err)
	}
	l := plainLoop{s: s, reads: true, load: context.Background(), epoll: -1, all: all, active: len(all), now: time.Now()}
	for _, p := range all {
		if err := l.begin(p); err != nil {
			t.Fatal(err)
		}
	}
	given := func() (n int) {
		for _, p := range all {
			if errors.Is(p.broken, errLate) {
				n++
			}
		}
		return n
	}
	l.now = l.now.Add(time.Hour)
	ticks := 0
	for ; given() == 0 && ticks < 1000; ticks++ {
		if err := l.tick(); err != nil {
			t.Fatal(err)
		}
	}
	if want := int(servers.OpPatience/plainTick) + 1; ticks != want || given() != len(all) {
		t.Errorf("%d of %d operations without an answer given up after %d ticks, want all after %d", given(), len(all), ticks, want)
	}
	t.Logf("%d operations given up after %d ticks", given(), ticks)
}

func TestPlainLostWriteIsSeen(t *testing.T) {
	m := &plainMemory{memory: newMemory()}
	m.lose = Key(3)
	s := openAt(t, m, small)
	if f, err := s.Run(context.Background(), false); !errors.Is(err, ErrWrong) || f.Wrong != 1 {
		t.Errorf("%d of %d wrong, %v; want one, %v", f.Wrong, f.Checked, err, ErrWrong)
	}
	m = &plainMemory{memory: newMemory()}
	s = openAt(t, m, small)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	m.values[Key(5)] = m.values[Key(6)]
	if _, err := s.Run(context.Background(), true); !errors.Is(err, ErrWrong) {
		t.Errorf("a wrong read during the load: %v, want %v", err, ErrWrong)
	}
}

func TestPlainErrors(t *testing.T) {
	m := &plainMemory{memory: newMemory()}
	s := openAt(t, m, small)
	if err := s.Fill(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []*bool{&m.fail, &m.refuse} {
		m.mu.Lock()
		*fault = true
		m.mu.Unlock()
		f, err := s.Run(context.Background(), false)
		if err != nil || f.Errors == 0 || f.Operations != 0 || f.FirstError == "" || f.Checked == 0 {
			t.Errorf("%+v, %v", f, err)
		}
		m.mu.Lock()
		*fault = false
		m.mu.Unlock()
		if f, err = s.Run(context.Background(), false); err != nil || f.Operations == 0 {
			t.Errorf("afterwards: %+v, %v", f, err)
		}
	}
}

// A connection that ends, or on which more comes than was asked for, is not used
// any more, and what its last operation did is not known.
func TestPlainBroken(t *testing.T) {
	for _, c := range []struct {
		name string
		m    *plainMemory
		err  error
		some bool // operations succeed first
	}{
		{"the server hangs up", &plainMemory{memory: newMemory(), end: func(n int) bool { return n == 3 }}, errHungUp, true},
		{"two answers", &plainMemory{memory: newMemory(), twice: true}, errUnasked, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := small
			l.Warm, l.Time = 0, 100*time.Millisecond
			s := openAt(t, c.m, l)
			f, err := s.Run(context.Background(), false)
			if err != nil || f.Errors == 0 || f.Wrong != 0 || c.some && f.Operations == 0 {
				t.Errorf("%+v, %v", f, err)
			}
			broken := 0
			for _, w := range s.workers {
				if errors.Is(w.plain.broken, c.err) {
					broken++
				}
			}
			if broken == 0 || c.some && broken != len(s.workers) {
				t.Errorf("%d of %d connections ended with %v", broken, len(s.workers), c.err)
			}
			f, err = s.Run(context.Background(), false) // those that are broken stay so
			if err != nil || c.some && f.Operations != 0 || f.Errors == 0 {
				t.Errorf("afterwards: %+v, %v", f, err)
			}
		})
	}
}
