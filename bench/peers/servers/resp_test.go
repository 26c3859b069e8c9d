package servers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// script answers what it is sent, whole messages at a time, with canned bytes.
func script(t *testing.T, wait int, answers ...string) (Client, <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, len(answers))
	go func() {
		defer l.Close()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		for _, a := range answers {
			one := make([]byte, 4096)
			n, err := in.Read(one)
			if err != nil {
				return
			}
			got <- string(one[:n])
			if _, err := io.WriteString(conn, a); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, in) // until the client goes
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	c, err := dialRESP(ctx, l.Addr().String(), wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, got
}

func TestRESP(t *testing.T) {
	ctx := context.Background()
	ran := 0
	for _, c := range []struct {
		name, answer string
		wait         int
		ok           bool
		broken       bool // the next operation fails too
	}{
		{"ok", "+OK\r\n", 0, true, false},
		{"error", "-TRYAGAIN no lease\r\n", 0, false, false},
		{"something else", ":1\r\n", 0, false, false},
		{"no RESP", "hello\n", 0, false, true},
		{"waited for", "+OK\r\n:1\r\n", 1, true, false},
		{"too few replicas", "+OK\r\n:0\r\n", 1, false, false},
		{"error, and the answer of WAIT", "-OOM\r\n:0\r\n", 1, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran++
			client, got := script(t, c.wait, c.answer, "$5\r\nvalue\r\n")
			if err := client.Write(ctx, "key", []byte("value")); (err == nil) != c.ok {
				t.Errorf("write: %v", err)
			}
			want := "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"
			if c.wait > 0 {
				want += "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n"
			}
			if sent := <-got; sent != want {
				t.Errorf("sent %q, want %q", sent, want)
			}
			value, err := client.Read(ctx, "key")
			switch {
			case c.broken && err == nil:
				t.Error("a connection that is out of step goes on being used")
			case !c.broken && (err != nil || string(value) != "value"):
				t.Errorf("then read %q, %v", value, err)
			}
		})
	}
	if ran == 0 {
		t.Fatal("no case ran")
	}
}

func TestRESPReads(t *testing.T) {
	client, got := script(t, 0, "$-1\r\n", "-ERR no\r\n", "$0\r\n\r\n", "$99999999\r\n")
	ctx := context.Background()
	if _, err := client.Read(ctx, "k"); !errors.Is(err, ErrAbsent) {
		t.Errorf("null: %v, want %v", err, ErrAbsent)
	}
	if sent := <-got; sent != "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
		t.Errorf("sent %q", sent)
	}
	if _, err := client.Read(ctx, "k"); !errors.Is(err, errReply) {
		t.Errorf("error: %v, want %v", err, errReply)
	}
	if v, err := client.Read(ctx, "k"); err != nil || v == nil || len(v) != 0 {
		t.Errorf("empty value: %q, %v", v, err)
	}
	if _, err := client.Read(ctx, "k"); !errors.Is(err, errProtocol) {
		t.Errorf("a length beyond all values: %v, want %v", err, errProtocol)
	}
}

// A write whose context ends is unknown, and its late answer must not become
// that of the next operation.
func TestRESPLateAnswer(t *testing.T) {
	client, _ := script(t, 0, "", "+OK\r\n")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := client.Write(ctx, "k", []byte("v")); err == nil {
		t.Fatal("acknowledged by nobody")
	}
	if err := client.Write(context.Background(), "k", []byte("v")); err == nil {
		t.Error("the connection was used again")
	}
}

func TestDialRefused(t *testing.T) {
	first, err := Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := dialRESP(context.Background(), addr(first), 0); err == nil || c != nil {
		t.Errorf("client %v, %v: want none, and no typed nil", c, err)
	}
}

func TestPortsAreHandedOutOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 20 {
		first, err := Ports(3)
		if err != nil {
			t.Fatal(err)
		}
		for p := first; p < first+3; p++ {
			if seen[p] {
				t.Fatalf("port %d twice", p)
			}
			seen[p] = true
		}
	}
	if len(seen) != 60 {
		t.Fatalf("%d ports", len(seen))
	}
}

func TestMissingPrograms(t *testing.T) {
	if _, err := New("healkv", Options{Program: t.TempDir() + "/node"}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("no bin/node: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	for name, pkg := range map[string]string{"etcd": "etcd-server", "redis": "redis-server", "zookeeper": "default-jre-headless"} {
		if _, err := New(name, Options{}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install "+pkg) {
			t.Errorf("%s without its program: %v", name, err)
		}
	}
	if _, err := New("nosuch", Options{}); err == nil {
		t.Error("a system that does not exist")
	}
}
