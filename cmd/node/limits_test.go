//go:build process

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"
)

// openFilesLimit sets the limit of a process that runs.
func openFilesLimit(t *testing.T, pid int, soft uint64) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		t.Fatal(err)
	}
	l.Cur = min(soft, l.Max)
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &l, nil); err != nil {
		t.Fatal(err)
	}
}

// A node that has no descriptors left serves those who are connected, neither
// ends nor spins, takes nobody else; and all is well when it has some again,
// without anybody's help.
func TestProcessDescriptorsRunOut(t *testing.T) {
	for _, provider := range []string{"shm", "tcp"} {
		t.Run(provider, func(t *testing.T) {
			g := newGroup(t, 3, "--domain", "memory", "--provider", provider, "--lease", "1s")
			ctx := t.Context()
			// One connection, for as long as it takes: there will be no other.
			old := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", g.resp+1), MaxRetries: -1, PoolSize: 1, ReadTimeout: -1, ConnMaxIdleTime: -1})
			defer old.Close()
			if err := old.Set(ctx, "before", "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
			before := g.status()
			pid := before[1].PID
			openFilesLimit(t, pid, 3) // below what it has: nothing new opens
			refused := 0
			var waiting []net.Conn // in the backlog
			for range 20 {
				c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", g.resp+1), time.Second)
				if err != nil {
					refused++
					continue
				}
				waiting = append(waiting, c)
			}
			status := &http.Client{Timeout: 300 * time.Millisecond}
			if r, err := status.Get(fmt.Sprintf("http://127.0.0.1:%d/status", g.admin+1)); err == nil {
				r.Body.Close()
				t.Error("status was answered without a descriptor for it")
			}
			// Node 2 dies and wants back: it needs a connection to node 1.
			if err := syscall.Kill(before[2].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			g.await("node 2 (pid")
			writes := 0
			write := func() {
				err := old.Set(ctx, fmt.Sprint("meanwhile-", writes), "y", 0).Err()
				switch {
				case err == nil:
					writes++
				case !strings.HasPrefix(err.Error(), "TRYAGAIN") && !strings.HasPrefix(err.Error(), "UNKNOWN"):
					t.Fatalf("a client that was connected: %v\n%s", err, g.logs())
				}
			}
			for began := time.Now(); writes == 0; { // until node 2 is out: its lease decides where no file can be opened
				if write(); time.Since(began) > 15*time.Second {
					t.Fatalf("no write of a client that was connected\n%s", g.logs())
				}
			}
			ticks, began := cpuTicks(t, pid), time.Now()
			for time.Since(began) < time.Second {
				write()
				time.Sleep(10 * time.Millisecond) // a light load, so that spinning shows
			}
			if writes < 5 {
				t.Errorf("only %d writes of a client that was connected\n%s", writes, g.logs())
			}
			if used := cpuTicks(t, pid) - ticks; used > 60 {
				t.Errorf("%d hundredths of a second of processor time in a second without descriptors", used)
			}
			if err := syscall.Kill(pid, 0); err != nil {
				t.Fatalf("node 1 has ended: %v\n%s", err, g.logs())
			}
			g.startNode(2) // gets nowhere yet
			g.awaitRole(2, "joining")
			openFilesLimit(t, pid, 1<<20)
			for _, c := range waiting {
				c.Close()
			}
			for i := range g.nodes {
				g.awaitLive(i)
			}
			if s := g.status()[1]; s.PID != pid {
				t.Errorf("node 1 is another process: %d, was %d", s.PID, pid)
			}
			for k := range writes {
				if v, err := g.client(2).Get(ctx, fmt.Sprint("meanwhile-", k)).Result(); err != nil || v != "y" {
					t.Fatalf("key %d at node 2: %q, %v", k, v, err)
				}
			}
			t.Logf("%d connections waited, %d refused; %d writes of a client that was there", len(waiting), refused, writes)
		})
	}
}

// startNode starts one node beside `node cluster`, and ends it with the test.
func (g *group) startNode(i int) {
	g.t.Helper()
	c := exec.Command(binary, "serve", "--config", g.config(i))
	var out said
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			g.t.Errorf("node %d: %v\n%s", i, err, out.String())
		}
	})
}

// awaitRole waits until a node says that it has the role.
func (g *group) awaitRole(i int, role string) {
	g.t.Helper()
	for began := time.Now(); ; {
		s := g.status()[i]
		if s.Role == role {
			return
		}
		if time.Since(began) > 20*time.Second {
			g.t.Fatalf("node %d is %s, not %s\n%s", i, s.Role, role, g.logs())
		}
	}
}

// A pool's file that is cut short under a running node (or whose media fails)
// ends neither the process nor the service of the others. The node says what is
// wrong, tries again by itself, and is back when the file is.
func TestProcessPoolFileCutShort(t *testing.T) {
	g := newGroup(t, 3, "--domain", "memory", "--lease", "1s")
	ctx := t.Context()
	for k := range 200 {
		if err := g.client(0).Set(ctx, fmt.Sprint("key-", k), strings.Repeat("v", 500), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	pid := g.status()[1].PID
	path := filepath.Join(g.setting(1, "pool_dir"), "shard-00.pool")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<20); err != nil {
		t.Fatal(err)
	}
	if v, err := g.client(1).Get(ctx, "key-7").Result(); err == nil {
		t.Errorf("read from a file that is not there: %d bytes", len(v))
	}
	g.awaitRole(1, "failed")
	if s := g.status()[1]; s.PID != pid {
		t.Fatalf("node 1 is process %d, was %d", s.PID, pid)
	}
	for k := range 50 {
		if err := g.client(2).Set(ctx, fmt.Sprint("meanwhile-", k), "w", 0).Err(); err != nil {
			t.Fatalf("write at another node: %v\n%s", err, g.logs())
		}
	}
	if _, text := get(t, g.admin+1, "/metrics"); !strings.Contains(text, `healkv_role{role="failed"} 1`) || strings.Contains(text, "healkv_failures_total 0") {
		t.Errorf("metrics of the node that failed:\n%s", text)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil { // the same file, whole again
		t.Fatal(err)
	}
	g.awaitLive(1)
	for k := range 50 {
		if v, err := g.client(1).Get(ctx, fmt.Sprint("meanwhile-", k)).Result(); err != nil || v != "w" {
			t.Fatalf("what it missed: %q, %v", v, err)
		}
	}
	s := g.status()[1]
	if s.PID != pid || s.LastRecovery == nil || s.LastRecovery.Kind != "heal" {
		t.Errorf("back: process %d, was %d, %+v", s.PID, pid, s.LastRecovery)
	}
}
