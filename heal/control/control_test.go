package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

const testCluster = "0123456789abcdef0123456789abcdef"

// TestMain lets the test binary play a peer process (see startChild).
func TestMain(m *testing.M) {
	if dir := os.Getenv("CONTROL_TEST_CHILD"); dir != "" {
		s, err := New(Config{RunDir: dir, ClusterID: testCluster, Node: 1, Configured: 0b11})
		if err == nil {
			err = s.Start()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s.SetMember(proto.Member{Node: 1, Incarnation: 7})
		io.Copy(io.Discard, os.Stdin) // until killed or the parent is gone
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runDir(t testing.TB) string {
	d := t.TempDir()
	if err := os.Chmod(d, 0o700); err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t testing.TB, ss ...*Server) {
	t.Helper()
	for _, s := range ss {
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range ss {
		for _, o := range ss {
			until(t, "connected", func() bool { return s.Connected(o.cfg.Node) })
		}
	}
}

// until waits for a condition that another goroutine or process brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	patience := 10 * time.Second
	if plant.On { // a planted bug shows by then
		patience = 4 * time.Second
	}
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

type echo struct{ Text string }

func handleEcho(_ context.Context, from proto.Member, body json.RawMessage) (any, error) {
	var e echo
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, err
	}
	return echo{from.String() + " " + e.Text}, nil
}

func TestCallBetweenAllAndOneself(t *testing.T) { everywhere(t, callBetweenAllAndOneself) }

func callBetweenAllAndOneself(t *testing.T, p *place) {
	var ss []*Server
	for n := range proto.NodeID(3) {
		s := server(t, p, n, 0b111)
		s.Handle("echo", handleEcho)
		s.SetMember(proto.Member{Node: n, Incarnation: proto.Incarnation(n) + 10})
		ss = append(ss, s)
	}
	start(t, ss...)
	var calls atomic.Int64
	var wg sync.WaitGroup
	for _, a := range ss {
		for _, b := range ss {
			for i := range 20 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					var got echo
					want := fmt.Sprintf("%d.%d %d", a.cfg.Node, a.cfg.Node+10, i)
					if err := a.Call(ctx, b.cfg.Node, "echo", echo{fmt.Sprint(i)}, &got); err != nil || got.Text != want {
						t.Errorf("call %d→%d: %q, %v; want %q", a.cfg.Node, b.cfg.Node, got.Text, err, want)
					}
					calls.Add(1)
				})
			}
		}
	}
	wg.Wait()
	t.Logf("%d concurrent calls", calls.Load())
}

func TestCallErrors(t *testing.T) { everywhere(t, callErrors) }

func callErrors(t *testing.T, p *place) {
	a, b := server(t, p, 0, 0b111), server(t, p, 1, 0b111)
	b.Handle("fail", func(context.Context, proto.Member, json.RawMessage) (any, error) { return nil, errors.New("no flour") })
	b.Handle("hang", func(ctx context.Context, _ proto.Member, _ json.RawMessage) (any, error) {
		<-ctx.Done() // the caller's deadline travels with the call
		return nil, ctx.Err()
	})
	b.Handle("large", func(context.Context, proto.Member, json.RawMessage) (any, error) {
		return strings.Repeat("x", FrameBytesMax), nil
	})
	start(t, a, b)
	for _, c := range []struct {
		wait time.Duration // 0: as long as it takes
		node proto.NodeID
		kind string
		req  any
		want error
		text string
	}{
		{0, 1, "fail", nil, ErrRemote, "no flour"},
		{0, 1, "nonesuch", nil, ErrUnknownKind, `"nonesuch"`},
		{0, 0, "nonesuch", nil, ErrUnknownKind, `"nonesuch"`},
		{30 * time.Millisecond, 1, "hang", nil, context.DeadlineExceeded, "hang"},
		{0, 2, "echo", nil, ErrUnreachable, "node 2"},
		{0, 9, "echo", nil, ErrUnreachable, "not configured"},
		{0, 1, "fail", strings.Repeat("x", FrameBytesMax), ErrTooLarge, "limit"},
		{0, 1, "large", nil, ErrTooLarge, "limit"},
	} {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		if c.wait > 0 {
			ctx, cancel = context.WithTimeout(ctx, c.wait)
		}
		err := a.Call(ctx, c.node, c.kind, c.req, nil)
		cancel()
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("call %d %s: %v; want %v with %q", c.node, c.kind, err, c.want, c.text)
		}
	}
	if !a.Connected(1) || b.Stats().UnknownKind != 1 {
		t.Errorf("after errors: connected %v, stats %+v", a.Connected(1), b.Stats())
	}
}

func TestNotifyNeverBlocks(t *testing.T) { everywhere(t, notifyNeverBlocks) }

func notifyNeverBlocks(t *testing.T, p *place) {
	a, b := server(t, p, 0, 0b111), server(t, p, 1, 0b111)
	release := make(chan struct{})
	var got atomic.Int64
	b.Handle("note", func(ctx context.Context, _ proto.Member, _ json.RawMessage) (any, error) {
		got.Add(1)
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, nil
	})
	start(t, a, b)
	a.Notify(2, "note", nil) // not connected
	const n = 3000
	for range n {
		a.Notify(1, "note", echo{strings.Repeat("y", 1000)})
	}
	until(t, "every notice dropped, refused or handled", func() bool {
		st := a.Stats()
		return got.Load() > 0 && st.Notices+st.Dropped >= n+1 && uint64(got.Load())+b.Stats().Busy >= st.Notices-1
	})
	close(release)
	t.Logf("%d sent, %d dropped, %d handled, %d refused", a.Stats().Notices, a.Stats().Dropped, got.Load(), b.Stats().Busy)
}

func TestReconnectsByItself(t *testing.T) { everywhere(t, reconnectsByItself) }

func reconnectsByItself(t *testing.T, p *place) {
	a, b := server(t, p, 0, 0b11), server(t, p, 1, 0b11)
	start(t, a, b)
	for i := range 3 {
		b.Close()
		until(t, "noticed", func() bool { return !a.Connected(1) })
		if err := a.Call(t.Context(), 1, "echo", echo{}, nil); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("call to a closed node: %v", err)
		}
		b = server(t, p, 1, 0b11)
		b.Handle("echo", handleEcho)
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "reconnected", func() bool { return a.Connected(1) && b.Connected(0) })
		var got echo
		if err := a.Call(t.Context(), 1, "echo", echo{"again"}, &got); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

func TestCallEndsWithTheConnection(t *testing.T) { everywhere(t, callEndsWithTheConnection) }

func callEndsWithTheConnection(t *testing.T, p *place) {
	a, b := server(t, p, 0, 0b11), server(t, p, 1, 0b11)
	entered := make(chan struct{})
	b.Handle("hang", func(ctx context.Context, _ proto.Member, _ json.RawMessage) (any, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	start(t, a, b)
	done := make(chan error, 1)
	go func() { done <- a.Call(context.Background(), 1, "hang", nil, nil) }()
	<-entered
	b.Close()
	if err := <-done; !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrRemote) {
		t.Fatalf("call over a connection that ended: %v", err)
	}
}

func frame(b string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func TestHostileBytes(t *testing.T) { everywhere(t, hostileBytes) }

func hostileBytes(t *testing.T, p *place) {
	a, b := server(t, p, 0, 0b11), server(t, p, 1, 0b11)
	b.Handle("echo", handleEcho)
	start(t, a, b)
	msg := func(change func(*envelope)) []byte {
		e := envelope{Version: version, Cluster: testCluster, From: 0, To: 1, Kind: "echo", ID: 5, Body: json.RawMessage(`{"Text":"x"}`)}
		change(&e)
		j, _ := json.Marshal(e)
		return frame(string(j))
	}
	cases := []struct {
		name  string
		bytes []byte
		code  string // of the answer; "": closed without one
		stays bool   // the connection
		count func(Stats) uint64
	}{
		{"oversized", binary.BigEndian.AppendUint32(nil, FrameBytesMax+1), "too_large", false, func(s Stats) uint64 { return s.TooLarge }},
		{"huge", []byte{255, 255, 255, 255, 1}, "too_large", false, func(s Stats) uint64 { return s.TooLarge }},
		{"empty", frame(""), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"not json", frame("GET / HTTP/1.1"), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), "too_large", false, func(s Stats) uint64 { return s.TooLarge }},
		{"wrong types", frame(`{"kind":5}`), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"no kind", msg(func(e *envelope) { e.Kind = "" }), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"long kind", msg(func(e *envelope) { e.Kind = strings.Repeat("k", 100) }), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"node beyond", msg(func(e *envelope) { e.From = 16 }), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"answer", msg(func(e *envelope) { e.Reply = true }), "garbage", false, func(s Stats) uint64 { return s.Garbage }},
		{"other version", msg(func(e *envelope) { e.Version = version + 1 }), "version", false, func(s Stats) uint64 { return s.WrongVersion }},
		{"of before versions", msg(func(e *envelope) { e.Version = 0 }), "version", false, func(s Stats) uint64 { return s.WrongVersion }},
		{"other cluster", msg(func(e *envelope) { e.Cluster = "ff" }), "wrong_cluster", false, func(s Stats) uint64 { return s.WrongCluster }},
		{"other node", msg(func(e *envelope) { e.To = 0 }), "wrong_node", false, func(s Stats) uint64 { return s.WrongNode }},
		{"from unconfigured", msg(func(e *envelope) { e.From = 9 }), "wrong_node", false, func(s Stats) uint64 { return s.WrongNode }},
		{"from itself", msg(func(e *envelope) { e.From = 1 }), "wrong_node", false, func(s Stats) uint64 { return s.WrongNode }},
		{"unknown kind", msg(func(e *envelope) { e.Kind = "nonesuch" }), "unknown_kind", true, func(s Stats) uint64 { return s.UnknownKind }},
		{"body garbage", msg(func(e *envelope) { e.Body = json.RawMessage(`[1]`) }), "failed", true, nil},
		{"cut off", []byte{0, 0, 0, 50, '{'}, "", false, func(s Stats) uint64 { return s.CutOff }},
	}
	for _, c := range cases {
		conn, r := raw(t, p, 1)
		before := b.Stats()
		if _, err := conn.Write(c.bytes); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if c.code == "" {
			conn.CloseWrite()
		} else {
			j, err := readFrame(r)
			if err != nil {
				t.Fatalf("%s: no answer: %v", c.name, err)
			}
			a, err := decode(j)
			if err != nil || a.Code != c.code || a.Error == "" {
				t.Fatalf("%s: answer %s, %v; want code %s", c.name, j, err, c.code)
			}
		}
		if c.stays {
			conn.Write(msg(func(*envelope) {}))
			if _, err := readFrame(r); err != nil {
				t.Errorf("%s: connection gone: %v", c.name, err)
			}
		} else if _, err := readFrame(r); err == nil {
			t.Errorf("%s: connection goes on", c.name)
		}
		if c.count != nil {
			until(t, c.name+" counted", func() bool { return c.count(b.Stats()) == c.count(before)+1 })
		}
		conn.Close()
	}
	var got echo
	if err := a.Call(t.Context(), 1, "echo", echo{"still here"}, &got); err != nil {
		t.Fatalf("after %d hostile messages: %v", len(cases), err)
	}
	t.Logf("%d hostile messages", len(cases))
}

func TestOtherUserRefused(t *testing.T) {
	p := onHost(t)
	b := server(t, p, 1, 0b11)
	b.wire.(*unixTransport).uid++ // so that we are somebody else
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	_, r := raw(t, p, 1)
	if _, err := readFrame(r); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("another user is listened to: %v", err)
	}
	until(t, "counted", func() bool { return b.Stats().WrongUser == 1 })
}

func TestOtherClusterRefused(t *testing.T) {
	p := onHost(t)
	a := server(t, p, 0, 0b11)
	b, err := New(Config{RunDir: p.dir, ClusterID: "another", Node: 1, Configured: 0b11})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := errors.Join(a.Start(), b.Start()); err != nil {
		t.Fatal(err)
	}
	until(t, "refused, with the reason", func() bool {
		return b.Stats().WrongCluster > 0 && strings.Contains(a.Peers()[0].Error, "another")
	})
	if a.Connected(1) {
		t.Fatal("connected to another cluster")
	}
}

func TestBadConfig(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  Config
		text string
	}{
		{Config{RunDir: open, ClusterID: "x", Configured: 1}, "chmod 0700"},
		{Config{RunDir: file, ClusterID: "x", Configured: 1}, "not a directory"},
		{Config{RunDir: runDir(t), Configured: 1}, "cluster id"},
		{Config{RunDir: runDir(t), ClusterID: "x", Node: 16}, "below 16"},
		{Config{RunDir: filepath.Join(runDir(t), strings.Repeat("p", 100)), ClusterID: "x", Configured: 1}, "limit 107"},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("New(%+v): %v; want %q", c.cfg, err, c.text)
		}
	}
	p := onHost(t)
	a := server(t, p, 0, 0b11)
	start(t, a)
	if err := server(t, p, 0, 0b11).Start(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second server on one socket: %v", err)
	}
}

func startChild(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CONTROL_TEST_CHILD="+dir)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

func TestProcessExitIsSeen(t *testing.T) {
	p := onHost(t)
	a := server(t, p, 0, 0b11)
	var mu sync.Mutex
	var seen []Event
	a.OnEvent(func(e Event) { mu.Lock(); defer mu.Unlock(); seen = append(seen, e) })
	has := func(k EventKind, pid int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range seen {
				if e.Kind == k && e.Member == (proto.Member{Node: 1, Incarnation: 7}) && (pid == 0 || e.PID == pid) {
					return true
				}
			}
			return false
		}
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := startChild(t, p.dir)
	until(t, "child connected and known", func() bool { return a.Connected(1) && a.Peers()[0].Incarnation == 7 })
	if !has(PeerHello, 0)() || has(PeerExited, 0)() {
		t.Fatalf("events before the kill: %+v", seen)
	}
	begin := time.Now()
	cmd.Process.Kill()
	until(t, "exit seen", has(PeerExited, cmd.Process.Pid))
	t.Logf("exit seen %v after SIGKILL", time.Since(begin))
	until(t, "close seen", has(PeerClosed, 0))
}

func FuzzDecode(f *testing.F) {
	f.Add(frame(`{"cluster":"x","from":1,"to":2,"kind":"echo","id":3,"body":{"a":1}}`))
	f.Add(frame(`{"kind":"x","reply":true}`))
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		e, err := decode(j)
		if err != nil {
			if !errors.Is(err, ErrGarbage) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		again, err := e.encode()
		if err != nil {
			return // escaping made it longer than a frame
		}
		if e2, err := decode(again[headBytes:]); err != nil || e2.Kind != e.Kind || e2.From != e.From || e2.ID != e.ID {
			t.Fatalf("round trip: %+v, %v; was %+v", e2, err, e)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	p := onHost(b)
	x, y := server(b, p, 0, 0b11), server(b, p, 1, 0b11)
	y.Handle("echo", handleEcho)
	start(b, x, y)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.Call(b.Context(), 1, "echo", echo{"x"}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
