//go:build process

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// giveCertificates does what an operator does with what `node certs` has made:
// copies it to the nodes, one after the other.
func giveCertificates(t *testing.T, g *group, authority string) {
	t.Helper()
	for i := range g.nodes {
		for _, name := range []string{"ca.pem", "key.pem", "cert.pem"} {
			text, err := os.ReadFile(filepath.Join(authority, fmt.Sprint("node-", i), name))
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(g.nodeDir(i), "tls", name)
			if err := os.WriteFile(to+".new", text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(to+".new", to); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// established are the ends of TCP connections from or to these ports: from a up to
// b, and from c up to d.
func established(t *testing.T, a, b, c, d int) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "01" {
			continue
		}
		for _, end := range f[1:3] {
			var host, port int
			if _, err := fmt.Sscanf(end, "%X:%X", &host, &port); err == nil && (a <= port && port < b || c <= port && port < d) {
				found[f[1]+" "+f[2]] = true
			}
		}
	}
	return found
}

// The authority of a running cluster is replaced in its three steps, under load:
// no view changes, no operation fails, and in the end a node with a certificate
// of the old one is not let in.
func TestProcessCertificatesAreReplaced(t *testing.T) {
	flags, resp, admin, control, data := overTCP(t, 3)
	g := &group{t: t, nodes: 3, dir: filepath.Join(t.TempDir(), "d"), resp: resp, admin: admin}
	g.start(append([]string{"--nodes", "3", "--pool-size", "128MiB", "--domain", "memory", "--data-tls", "on"}, flags...)...)
	t.Cleanup(func() {
		g.stop()
		if out, complaint, code := node(t, nil, "cluster", "--destroy", "--dir", g.dir); code != 0 {
			t.Errorf("destroy: %s%s", out, complaint)
		}
	})
	authority := filepath.Join(g.dir, "authority")
	old, err := os.ReadFile(filepath.Join(g.nodeDir(0), "tls", "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}

	// Load: every node is written to and read from all the time.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var done, failed atomic.Uint64
	for i := range 3 {
		c := g.client(i)
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key, value := fmt.Sprint("k", i, "-", n%100), fmt.Sprint(n)
				err := c.Set(t.Context(), key, value, 0).Err()
				if err == nil {
					var got string
					if got, err = c.Get(t.Context(), key).Result(); err == nil && got != value {
						err = fmt.Errorf("read %q, written %q", got, value)
					}
				}
				if done.Add(1); err != nil && failed.Add(1) < 5 {
					t.Errorf("node %d: %v", i, err)
				}
			}
		})
	}
	before := g.status()
	first := established(t, control, control+3, data, data+3)
	if len(first) != 2*6+2*6 { // both ends of a connection per direction of each pair, of either kind
		t.Errorf("%d ends of connections, want 24", len(first))
	}
	for step, args := range [][]string{nil, {"--rotate-authority"}, nil, {"--drop-old-authority"}} {
		out, complaint, code := node(t, nil, append([]string{"certs", "--dir", authority, "--nodes", "3"}, args...)...)
		if code != 0 {
			t.Fatalf("step %d: %s%s", step, out, complaint)
		}
		was := strings.Count(g.logs(), "new certificates")
		giveCertificates(t, g, authority)
		for began := time.Now(); strings.Count(g.logs(), "new certificates") < was+3; time.Sleep(50 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("step %d: new certificates are not taken\n%s", step, g.logs())
			}
		}
		at := done.Load()
		for began := time.Now(); done.Load() < at+200; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("step %d: %d operations since, want 200\n%s", step, done.Load()-at, g.logs())
			}
		}
	}
	// Nothing of what was connected at the beginning is left: it was made with
	// certificates by the authority that is gone.
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		left := 0
		for x := range established(t, control, control+3, data, data+3) {
			if first[x] {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%d ends of %d are those of the beginning\n%s", left, len(first), g.logs())
		}
	}
	stop()
	wg.Wait()
	if n := strings.Count(g.logs(), "connection to a peer broken"); n != 0 {
		t.Errorf("%d data connections count as broken\n%s", n, g.logs())
	}
	after := g.status()
	for i := range 3 {
		if before[i].Epoch != after[i].Epoch || after[i].Role != "live" || before[i].Incarnation != after[i].Incarnation {
			t.Errorf("node %d: epoch %d, life %d, then epoch %d, life %d, %s", i, before[i].Epoch, before[i].Incarnation, after[i].Epoch, after[i].Incarnation, after[i].Role)
		}
	}
	t.Logf("%d operations, %d failed, view %d before and %d after", done.Load(), failed.Load(), before[0].Epoch, after[0].Epoch)
	if done.Load() == 0 || failed.Load() != 0 {
		t.Errorf("%d operations, %d failed\n%s", done.Load(), failed.Load(), g.logs())
	}
	if now, err := os.ReadFile(filepath.Join(g.nodeDir(0), "tls", "cert.pem")); err != nil || string(now) == string(old) {
		t.Errorf("the certificate is the old one: %v", err)
	}
	// Steps out of order are refused, and nothing is changed.
	for _, args := range [][]string{{"--drop-old-authority"}, {"--rotate-authority", "--drop-old-authority"}} {
		if out, complaint, code := node(t, nil, append([]string{"certs", "--dir", authority, "--nodes", "3"}, args...)...); code == 0 {
			t.Errorf("%v: %s%s", args, out, complaint)
		}
	}
}
