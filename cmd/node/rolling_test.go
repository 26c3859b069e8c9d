//go:build process

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"healkv/bench/workload"
)

// wanderer is a client with one connection to each node. It uses the node it is
// at until that refuses a command or hangs up before one is sent, and moves on
// then: an operation fails only if it may have been applied and was not
// answered, or if nobody takes it.
type wanderer struct {
	g     *group
	at    int
	conns []*wire
	away  []time.Time // nothing is asked of that node before
}

type wire struct {
	nc net.Conn
	r  *bufio.Reader
}

// outcomes counts what clients met.
type outcomes struct {
	done, refused, moved atomic.Int64
	mu                   sync.Mutex
	failed               []string
	longest              time.Duration // of one operation, retries included
}

func (o *outcomes) fail(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = append(o.failed, fmt.Sprintf(format, args...))
}

// reply reads one answer: an error reply, or anything else.
func (w *wire) reply() (text string, err error) {
	line, err := w.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if strings.HasPrefix(line, "$") && line != "$-1" {
		var n int
		if _, err := fmt.Sscanf(line, "$%d", &n); err != nil {
			return "", err
		}
		_, err = io.CopyN(io.Discard, w.r, int64(n)+2)
	}
	return line, err
}

// hungUp looks whether the node has closed the connection, as pools of real
// clients do before they use one again.
func (w *wire) hungUp() bool {
	raw, err := w.nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = err != syscall.EAGAIN || n > 0
		return true
	})
	return gone || err != nil
}

const (
	patience = 20 * time.Second       // of a client, for one operation
	stayAway = 300 * time.Millisecond // from a node that refused, or is not there
)

// do carries one command out somewhere.
func (x *wanderer) do(o *outcomes, command string) {
	began := time.Now()
	defer func() {
		took := time.Since(began)
		o.mu.Lock()
		o.longest = max(o.longest, took)
		o.mu.Unlock()
	}()
	for ; time.Since(began) < patience; x.at = (x.at + 1) % x.g.nodes {
		if time.Now().Before(x.away[x.at]) {
			continue
		}
		w := x.conns[x.at]
		if w != nil && w.hungUp() {
			_ = w.nc.Close()
			w, x.conns[x.at] = nil, nil
		}
		if w == nil {
			nc, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", x.g.resp+x.at), patience)
			if err != nil { // nothing was sent
				o.moved.Add(1)
				x.away[x.at] = time.Now().Add(stayAway)
				continue
			}
			w = &wire{nc, bufio.NewReader(nc)}
			x.conns[x.at] = w
		}
		_ = w.nc.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(w.nc, command); err != nil {
			o.fail("node %d: sending: %v", x.at, err)
			return
		}
		answer, err := w.reply()
		switch {
		case err != nil:
			o.fail("node %d: no answer: %v", x.at, err)
			_ = w.nc.Close()
			x.conns[x.at] = nil
			return
		case strings.HasPrefix(answer, "-TRYAGAIN"):
			o.refused.Add(1)
			x.away[x.at] = time.Now().Add(stayAway)
			continue
		case strings.HasPrefix(answer, "-"):
			o.fail("node %d: %s", x.at, answer)
			return
		}
		o.done.Add(1)
		return
	}
	o.fail("no node took an operation within %v", patience)
}

func setCommand(key, value []byte) string {
	return fmt.Sprintf("*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
}

func getCommand(key []byte) string {
	return fmt.Sprintf("*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
}

// Six nodes are restarted one after the other under TAOBench A. No operation of
// a client that repeats rejected ones fails, and every node comes back with
// only what it missed.
func TestProcessRollingRestart(t *testing.T) {
	rollingRestart(t, newGroup(t, 6, "--domain", "memory", "--drain-grace", "500ms"))
}

// The same over connections, where nothing proves that a process has ended: a
// node that leaves in order is not waited for all the same.
func TestProcessRollingRestartOverTCP(t *testing.T) {
	flags, resp, admin, _, _ := overTCP(t, 3)
	g := &group{t: t, nodes: 3, dir: filepath.Join(t.TempDir(), "d"), resp: resp, admin: admin}
	g.start(append([]string{"--nodes", "3", "--pool-size", "128MiB", "--domain", "memory", "--drain-grace", "500ms"}, flags...)...)
	t.Cleanup(func() {
		g.stop()
		if out, complaint, code := node(t, nil, "cluster", "--destroy", "--dir", g.dir); code != 0 {
			t.Errorf("destroy: %s%s", out, complaint)
		}
	})
	rollingRestart(t, g)
}

func rollingRestart(t *testing.T, g *group) {
	nodes, clients := g.nodes, g.nodes
	spec, err := workload.New("taobench-a", workload.Options{Keys: 5000, ValueBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	var o outcomes
	stop := make(chan struct{})
	var all sync.WaitGroup
	for k := range clients {
		all.Go(func() {
			x := &wanderer{g: g, at: k % nodes, conns: make([]*wire, nodes), away: make([]time.Time, nodes)}
			defer func() {
				for _, w := range x.conns {
					if w != nil {
						_ = w.nc.Close()
					}
				}
			}()
			gen := spec.NewGenerator(1, k, clients)
			for stamp := uint64(1); ; stamp++ {
				select {
				case <-stop:
					return
				default:
				}
				a := gen.Next()
				key := spec.AppendKey(nil, a.Key)
				if a.Kind == workload.Read {
					x.do(&o, getCommand(key))
				} else {
					x.do(&o, setCommand(key, spec.AppendValue(nil, a.Key, stamp)))
				}
			}
		})
	}
	before := g.status()
	began := time.Now()
	out, complaint, code := nodeWithin(t, time.Minute, "rolling", "--dir", g.dir, "--within", "50s")
	took := time.Since(began)
	close(stop)
	all.Wait()
	if code != 0 {
		t.Fatalf("rolling: exit status %d after %v\n%s%s\n%s", code, took, out, complaint, g.logs())
	}
	for _, f := range o.failed[:min(10, len(o.failed))] {
		t.Errorf("failed: %s", f)
	}
	for i, s := range g.status() {
		if s.Role != "live" || s.PID == before[i].PID || s.Incarnation <= before[i].Incarnation || s.LastRecovery == nil || s.LastRecovery.Kind != "heal" {
			t.Errorf("node %d: %+v, recovery %+v; before: %+v", i, s, s.LastRecovery, before[i])
		}
		if want := fmt.Sprintf("node %d (pid %d) was drained and is started again", i, before[i].PID); !strings.Contains(g.out.String(), want) {
			t.Errorf("node cluster does not say %q:\n%s", want, g.out.String())
		}
	}
	if strings.Contains(g.out.String(), "bring it back") {
		t.Errorf("node cluster calls a drained node dead:\n%s", g.out.String())
	}
	if o.done.Load() < 500 || o.refused.Load() == 0 {
		t.Errorf("%d operations done, %d refused: the load was too small to show anything", o.done.Load(), o.refused.Load())
	}
	t.Logf("%s%d operations done, %d failed, %d refused and repeated, %d times a node was not there, longest operation %v, in %v",
		out, o.done.Load(), len(o.failed), o.refused.Load(), o.moved.Load(), o.longest, took)
}

// A node is drained by order, stays or ends, comes back; what must not be is
// refused in words.
func TestProcessDrain(t *testing.T) {
	g := newGroup(t, 3, "--domain", "memory", "--drain-grace", "0s")
	before := g.status()
	run := func(code int, want string, args ...string) {
		t.Helper()
		out, complaint, got := node(t, nil, append([]string{"drain"}, args...)...)
		if got != code || !strings.Contains(out+complaint, want) || strings.Count(complaint, "\n") > 1 {
			t.Errorf("drain %v: exit status %d, want %d and %q:\n%s%s", args, got, code, want, out, complaint)
		}
	}
	run(2, "--dir and --node are missing")
	run(2, "has nodes 0 to 2", "--dir", g.dir, "--node", "3")
	run(2, "contradict", "--dir", g.dir, "--node", "1", "--stay", "--back")
	run(1, "node 1 is not drained", "--dir", g.dir, "--node", "1", "--back")
	run(0, "node drain --back", "--dir", g.dir, "--node", "1", "--stay")
	if s := g.status()[1]; s.Role != "drained" || s.PID != before[1].PID {
		t.Errorf("drained to stay: %+v", s)
	}
	if out, _, _ := node(t, nil, "status", "--dir", g.dir); !strings.Contains(out, "live 0,2, shadow -, away 1") || !strings.Contains(out, "node 1, drained: drained by order") {
		t.Errorf("status:\n%s", out)
	}
	if err := g.client(0).Set(t.Context(), "while-away", "w", 0).Err(); err != nil {
		t.Error(err)
	}
	run(0, "node 1 is live after", "--config", g.config(1), "--back", "--within", "1m")
	if got, err := g.client(1).Get(t.Context(), "while-away").Result(); err != nil || got != "w" {
		t.Errorf("at the node that was away: %q %v", got, err)
	}
	run(0, "its process has ended", "--dir", g.dir, "--node", "1")
	g.await("node 1 (pid " + fmt.Sprint(before[1].PID) + ") has left and stopped in order")
	run(1, "the node does not run", "--dir", g.dir, "--node", "1")
	run(1, "--force", "--dir", g.dir, "--node", "2")
	if s := g.status()[2]; s.Role != "live" {
		t.Errorf("refused and %s", s.Role)
	}
	_, complaint, code := node(t, nil, "rolling", "--dir", g.dir)
	if code != 1 || !strings.Contains(complaint, "node 1 is down") || !strings.Contains(complaint, "no other node was touched") {
		t.Errorf("rolling beside a node that is down: %d %q", code, complaint)
	}
	// The order is in the log, with who gave it.
	if text := g.logs(); !strings.Contains(text, "operator: order") {
		t.Errorf("no order in the logs:\n%s", text)
	}
}

// aloneGroup is a cluster two of whose nodes were killed, and the pid of node 1,
// which goes on and finds no majority. Of four there is one to leave to, of
// three there is none.
func aloneGroup(t *testing.T, nodes int) (*group, int) {
	g := newGroup(t, nodes, "--domain", "memory", "--drain-grace", "0s", "--stop-timeout", "4s", "--lease", "20s")
	pid := g.status()[1].PID
	for _, i := range []int{0, 2} {
		if err := syscall.Kill(g.status()[i].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	return g, pid
}

// A node that cannot tell anybody that it leaves says so with exit status 1.
func TestProcessDrainAlone(t *testing.T) {
	g, pid := aloneGroup(t, 4)
	_, complaint, code := node(t, nil, "drain", "--config", g.config(1), "--force", "--within", "1s")
	if code != 1 || !strings.Contains(complaint, "not in order") || !strings.Contains(complaint, "no majority") || !strings.Contains(complaint, "node serve") || strings.Count(complaint, "\n") > 1 {
		t.Errorf("drained alone: %d %s", code, complaint)
	}
	g.await(fmt.Sprintf("node 1 (pid %d) has left and stopped in order", pid)) // the process did end, by the order
}

// A node does not leave the view to those who do not answer; SIGTERM ends its
// process all the same.
func TestProcessDrainToNobody(t *testing.T) {
	g, pid := aloneGroup(t, 3)
	_, complaint, code := node(t, nil, "drain", "--config", g.config(1), "--force", "--within", "1s")
	if code != 1 || !strings.Contains(complaint, "no other live member answers") || strings.Count(complaint, "\n") > 1 {
		t.Errorf("drained with nobody to leave to: %d %s", code, complaint)
	}
	if now := g.status()[1]; now.PID != pid {
		t.Errorf("the node is process %d after the refusal, it was %d", now.PID, pid)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.await(fmt.Sprintf("(pid %d)", pid))
}

// SIGTERM takes over an order that is under way, and no other order gets in
// between.
func TestProcessDrainTakenOver(t *testing.T) {
	g, pid := aloneGroup(t, 4)
	ordered := make(chan string, 1)
	go func() {
		_, complaint, code := node(t, nil, "drain", "--config", g.config(1), "--stay", "--within", "5m")
		ordered <- fmt.Sprint(code, " ", complaint)
	}()
	for began := time.Now(); g.status()[1].Role != "draining"; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("it is %s", g.status()[1].Role)
		}
	}
	if _, complaint, code := node(t, nil, "drain", "--config", g.config(1), "--back"); code != 1 || !strings.Contains(complaint, "busy: drain is under way since ") {
		t.Errorf("beside a drain: %d %s", code, complaint)
	}
	began := time.Now()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	g.await(fmt.Sprintf("node 1 (pid %d) has left and stopped in order", pid))
	took, limit := time.Since(began), 4*time.Second+2*time.Second // stop_timeout, and the listeners
	if took > limit {
		t.Errorf("ended %v after SIGTERM, with an order of 5 m under way; want %v", took, limit)
	}
	if said := <-ordered; !strings.HasPrefix(said, "1 ") {
		t.Errorf("the order that was taken over: %s", said)
	}
	t.Logf("ended %v after SIGTERM, with an order of 5m under way", took)
}
