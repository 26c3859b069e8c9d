//go:build verbs

package verbs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// wireExchange is rdma.Exchange with one peer in another process, over a
// socket: frames of length, kind, number, bytes.
type wireExchange struct {
	mu      sync.Mutex
	conn    net.Conn
	number  uint32
	waiting map[uint32]chan frame
	answer  func(ctx context.Context, from int, request []byte) ([]byte, error)
	busy    sync.WaitGroup
	peer    int
	ended   func() // the connection has; nil: nothing follows
}

type frame struct {
	kind byte // 0 request, 1 answer, 2 error
	body []byte
}

func (x *wireExchange) connect(c net.Conn) {
	x.mu.Lock()
	x.conn, x.waiting = c, map[uint32]chan frame{}
	x.mu.Unlock()
	go x.listen(c)
}

func (x *wireExchange) listen(c net.Conn) {
	defer func() {
		x.mu.Lock()
		if x.conn == c {
			x.conn = nil
			for _, w := range x.waiting {
				close(w)
			}
			x.waiting = nil
		}
		x.mu.Unlock()
		c.Close()
		if x.ended != nil {
			x.ended()
		}
	}()
	for {
		var head [9]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.LittleEndian.Uint32(head[:]))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		kind, number := head[4], binary.LittleEndian.Uint32(head[5:])
		x.mu.Lock()
		if kind != 0 {
			if w := x.waiting[number]; w != nil {
				w <- frame{kind, body}
				delete(x.waiting, number)
			}
			x.mu.Unlock()
			continue
		}
		answer := x.answer
		x.busy.Add(1)
		x.mu.Unlock()
		go func() {
			defer x.busy.Done()
			b, err := []byte(nil), rdma.ErrNoPeer
			if answer != nil {
				b, err = answer(context.Background(), x.peer, body)
			}
			kind := byte(1)
			if err != nil {
				kind, b = 2, []byte(err.Error())
			}
			x.write(c, kind, number, b)
		}()
	}
}

func (x *wireExchange) write(c net.Conn, kind byte, number uint32, b []byte) error {
	f := binary.LittleEndian.AppendUint32(nil, uint32(len(b)))
	f = append(f, kind)
	f = binary.LittleEndian.AppendUint32(f, number)
	_, err := c.Write(append(f, b...)) // one write: frames do not mix
	return err
}

func (x *wireExchange) Call(ctx context.Context, peer int, request []byte) ([]byte, error) {
	x.mu.Lock()
	c := x.conn
	if c == nil || peer != x.peer {
		x.mu.Unlock()
		return nil, fmt.Errorf("%w: no connection to node %d", rdma.ErrNoPeer, peer)
	}
	x.number++
	number, w := x.number, make(chan frame, 1)
	x.waiting[number] = w
	x.mu.Unlock()
	if err := x.write(c, 0, number, request); err != nil {
		return nil, fmt.Errorf("%w: %w", rdma.ErrNoPeer, err)
	}
	select {
	case f, ok := <-w:
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: node %d is gone", rdma.ErrNoPeer, peer)
		case f.kind == 2:
			return nil, errors.New(string(f.body))
		}
		return f.body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (x *wireExchange) Serve(answer func(ctx context.Context, from int, request []byte) ([]byte, error)) {
	x.mu.Lock()
	x.answer = answer
	x.mu.Unlock()
	if answer == nil {
		x.busy.Wait()
	}
}

// helperProcess is node 1 in a process of its own: it takes what node 0 sends
// and sleeps in between, until it is killed.
func helperProcess(incarnation string) int {
	if incarnation == "open" { // says what New says
		_, err := New(rdma.Config{Nodes: 3, Incarnation: 1, RingBytes: 1 << 20, Exchange: &wireExchange{},
			Verbs: rdma.Verbs{Device: os.Getenv("HEALKV_VERBS_DEVICE"), GIDIndex: -1}})
		fmt.Println(err)
		return 0
	}
	inc, err := strconv.Atoi(incarnation)
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "helper:", err)
		return 1
	}
	if err != nil {
		return fail(err)
	}
	file := os.NewFile(3, "exchange")
	conn, err := net.FileConn(file)
	if err != nil {
		return fail(err)
	}
	file.Close()
	x := &wireExchange{peer: 0, ended: func() { os.Exit(1) }} // who started it is gone
	b, err := New(rdma.Config{Node: 1, Nodes: conformance.Nodes, Incarnation: uint32(inc), RingBytes: conformance.RingBytes, Exchange: x,
		Verbs: rdma.Verbs{Device: os.Getenv("HEALKV_VERBS_DEVICE"), GIDIndex: -1}})
	if err != nil {
		return fail(err)
	}
	mem, err := mapMemory(2 << 20)
	if err != nil {
		return fail(err)
	}
	for i := range mem {
		mem[i] = byte(inc)
	}
	if err := b.Expose(rdma.Exposed{Mem: mem, Size: int64(len(mem))}); err != nil {
		return fail(err)
	}
	x.connect(conn)
	l, err := b.Prepare(0, 1)
	if err != nil {
		return fail(err)
	}
	b.Attach(l)
	for {
		if takeAll(b) {
			continue
		}
		b.PrepareSleep()
		if takeAll(b) {
			b.CancelSleep()
			continue
		}
		b.Sleep(-1)
	}
}

// takeAll is a turn of the reader; false if nothing came.
func takeAll(b *Endpoint) (moved bool) {
	b.Poll()
	if m := b.Mirror(0); m != nil {
		for w, _ := m.Window(); w != nil; w, _ = m.Window() {
			m.Advance(entryBytes)
			moved = true
		}
		b.PublishMarks(0, &rdma.Marks{Applied: m.Cursor(), Visible: m.Cursor() + 1})
	}
	b.WakePeers()
	return moved
}

// life is one process that runs node 1.
type life struct {
	cmd *exec.Cmd
	inc uint32
}

func startLife(t *testing.T, x *wireExchange, inc uint32) *life {
	t.Helper()
	fds, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	ours := os.NewFile(uintptr(fds[0]), "ours")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	x.connect(conn)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprint("HEALKV_VERBS_HELPER=", inc))
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	l := &life{cmd, inc}
	t.Cleanup(l.kill) // whatever becomes of the test
	return l
}

// kill may be called again.
func (l *life) kill() {
	l.cmd.Process.Kill()
	l.cmd.Wait()
}

// The peer's process is killed in each phase: the lane breaks, the control
// plane says that the life is gone, mending ends, and the next life is fed.
func TestProcessKilled(t *testing.T) {
	x := &wireExchange{peer: 1}
	c := newCluster(t)
	a, err := New(rdma.Config{Node: 0, Nodes: conformance.Nodes, Incarnation: 1, RingBytes: conformance.RingBytes, Exchange: x, Verbs: c.verbs})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	p := &pair{c: c, a: a}
	inc := uint32(0)
	table, runs := "", 0
	for _, phase := range []string{"streaming", "asleep", "attaching", "recovering by READ"} {
		states, began := map[string]int{}, time.Now()
		for range rounds {
			inc++
			b := startLife(t, x, inc)
			states[p.killedWhile(t, phase, b)]++
			b.kill()
			runs++
			if t.Failed() {
				t.Fatalf("process killed while %s", phase)
			}
		}
		table += fmt.Sprintf("%-26s %-20s %v %v\n", "process killed", phase, states, (time.Since(began) / rounds).Round(time.Millisecond))
	}
	if runs != 4*rounds {
		t.Fatalf("%d runs", runs)
	}
	t.Logf("%d runs, %d processes\n%s", runs, inc, table)
}

func (p *pair) killedWhile(t *testing.T, phase string, b *life) string {
	within := func(what string, ok func() bool) bool {
		t.Helper()
		for deadline := time.Now().Add(40 * time.Second); !ok(); {
			if time.Now().After(deadline) {
				t.Errorf("hangs: %s: %+v", what, p.a.Counters())
				return false
			}
			p.write()
		}
		return true
	}
	var l rdma.Link
	if !within("the life can be connected", func() bool {
		var err error
		l, err = p.a.Prepare(1, b.inc)
		if err != nil && !errors.Is(err, rdma.ErrNoPeer) && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		return err == nil
	}) {
		return "hangs"
	}
	p.a.Out().Reclaim(p.a.Out().Tail())
	at := p.a.Out().Tail()
	applied := func() bool {
		var m rdma.Marks
		p.a.Marks(1, &m)
		return m.Applied == p.a.Out().Tail()
	}
	begin := func() bool {
		p.a.Attach(l)
		p.a.Feed(1, at)
		p.send(20)
		return within("the life takes the stream", applied)
	}
	switch phase {
	case "streaming":
		if !begin() {
			return "hangs"
		}
		p.send(5)
		b.kill()
	case "asleep":
		if !begin() || !within("the life sleeps", func() bool {
			s := p.a.peers[1].in.line.sleep
			return s != 0 && s != p.a.peers[1].rungFor
		}) {
			return "hangs"
		}
		p.send(1) // it can be woken
		if !within("the life is woken", applied) {
			return "hangs"
		}
		b.kill()
	case "attaching":
		b.kill()
		p.a.Attach(l)
		p.a.Feed(1, at)
	case "recovering by READ":
		if !begin() {
			return "hangs"
		}
		r, err := p.a.Remote(1, b.inc)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<20)
		if _, err := r.ReadAt(buf, 0); err != nil || buf[77] != byte(b.inc) {
			t.Errorf("read of a living process: %v", err)
		}
		b.kill()
		began := time.Now()
		if _, err := r.ReadAt(buf, 1<<20); !errors.Is(err, ErrRead) || time.Since(began) > 2*readTime {
			t.Errorf("read of a dead process: %v in %v", err, time.Since(began))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	link := l.(*link)
	p.send(1)
	if !within("the life is known to be gone", func() bool {
		p.a.mu.Lock()
		defer p.a.mu.Unlock()
		return link.gone && !p.a.mending[1]
	}) {
		return "hangs"
	}
	began := time.Now()
	if p.a.Detach(1) != l {
		t.Error("Detach gave another link")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("detaching a dead peer took %v", d)
	}
	return "lane broken, life gone, detached"
}

// A user without rights on the device, or with too little memory to lock, is
// told what to do.
func TestOpenSaysWhatIsForbidden(t *testing.T) {
	v := needDevice(t)
	if os.Geteuid() != 0 {
		skip(t, "root, who can become a user without rights")
	}
	all, err := Discover()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(f Found) bool { return v.Device == "" || f.Name == v.Device })
	file := all[i].File
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(file, before.Mode().Perm())
	try := func(mode os.FileMode, kib int) string {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -l %d && exec %s", kib, os.Args[0]))
		cmd.Env = append(os.Environ(), "HEALKV_VERBS_HELPER=open")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, c := range []struct {
		mode os.FileMode
		kib  int
		says []string
	}{
		{0o600, 64, []string{file, "permission denied", "group rdma"}},
		{0o666, 64, []string{"1048576 bytes", "65536 bytes", "RLIMIT_MEMLOCK", "ulimit -l"}},
		{0o666, 8192, []string{"<nil>"}},
	} {
		said := try(c.mode, c.kib)
		for _, s := range c.says {
			if !strings.Contains(said, s) {
				t.Errorf("mode %o, %d KiB: %s; want %q in it", c.mode, c.kib, said, s)
			}
		}
	}
}
