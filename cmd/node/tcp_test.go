//go:build process

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// overTCP is the flags of a cluster over TCP and its four ranges of ports.
func overTCP(t *testing.T, nodes int) (flags []string, resp, admin, control, data int) {
	a, b := freePorts(t, 2*nodes)
	resp, admin, control, data = a, a+nodes, b, b+nodes
	for _, f := range []struct {
		name string
		port int
	}{{"resp", resp}, {"admin", admin}, {"control", control}, {"data", data}} {
		flags = append(flags, "--"+f.name+"-port", fmt.Sprint(f.port))
	}
	return append(flags, "--provider", "tcp"), resp, admin, control, data
}

// The demo over TCP, whole: six processes with certificates made for them, a
// node killed, healed, copied in full, everything compared.
func TestProcessDemoOverTCP(t *testing.T) {
	flags, _, _, _, data := overTCP(t, 6)
	dir := t.TempDir()
	out, complaint, code := nodeWithin(t, 3*time.Minute, append([]string{"demo", "--out", dir, "--keys", "20000", "--rate", "3000", "--steady", "2s",
		"--away", "1s", "--after", "1s", "--overwrite", "10", "--pool-size", "128MiB"}, flags...)...)
	if code != 0 {
		t.Fatalf("exit status %d\n%s%s", code, out, complaint)
	}
	device := fmt.Sprintf("tcp (127.0.0.1:%d)", data)
	for _, want := range []string{device, "domain memory", "heal: node 2 serves again", "full: node 2 serves again", "linearizable", "OK"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil || !bytes.Contains(page, []byte(device)) {
		t.Errorf("report.html does not name %s: %v", device, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "cluster")); err == nil {
		t.Error("the cluster with its keys is left over")
	}
}

func TestProcessClusterOverTCP(t *testing.T) {
	flags, resp, admin, control, data := overTCP(t, 3)
	g := &group{t: t, nodes: 3, dir: filepath.Join(t.TempDir(), "d"), resp: resp, admin: admin}
	g.start(append([]string{"--nodes", "3", "--pool-size", "128MiB", "--domain", "memory", "--shards", "2"}, flags...)...)
	t.Cleanup(func() {
		g.stop()
		if out, complaint, code := node(t, nil, "cluster", "--destroy", "--dir", g.dir); code != 0 {
			t.Errorf("destroy: %s%s", out, complaint)
		}
		if _, err := os.Lstat(g.dir); err == nil {
			t.Errorf("%s is left over", g.dir)
		}
	})
	put := func(key, value string) {
		t.Helper()
		if err := g.client(0).Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatalf("%v\n%s", err, g.logs())
		}
		for i := range 3 {
			if got, err := g.client(i).Get(t.Context(), key).Result(); err != nil || got != value {
				t.Fatalf("node %d: %q %v", i, got, err)
			}
		}
	}
	put("k", "v")

	// What it says of itself.
	out, _, _ := node(t, nil, "status", "--dir", g.dir, "--json")
	for _, want := range []string{`"provider": "tcp"`, fmt.Sprintf(`"device": "127.0.0.1:%d"`, data+2), fmt.Sprintf(`"control": "tcp 127.0.0.1:%d, TLS 1.3"`, control+1), `"domain": "memory"`} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %s", want)
		}
	}
	if table, _, _ := node(t, nil, "status", "--dir", g.dir); !strings.Contains(table, "DEVICE") || !strings.Contains(table, fmt.Sprint("127.0.0.1:", data)) {
		t.Errorf("status:\n%s", table)
	}
	if code, text := get(t, admin, "/metrics"); code != http.StatusOK || !strings.Contains(text, fmt.Sprintf(`provider="tcp",device="127.0.0.1:%d"`, data)) {
		t.Errorf("metrics do not name the device:\n%.600s", text)
	}
	if ours, clients := unixSockets(t, g); len(ours) != 0 || len(clients) != 3 {
		t.Errorf("unix sockets between nodes: %v; for clients: %v", ours, clients)
	}
	keys, err := filepath.Glob(filepath.Join(g.dir, "*", "*key.pem"))
	more, err2 := filepath.Glob(filepath.Join(g.dir, "node-*", "tls", "key.pem"))
	if keys = append(keys, more...); err != nil || err2 != nil || len(keys) != 4 {
		t.Errorf("keys %q, want one of the authority and one for each node", keys)
	}
	for _, k := range keys {
		if info, err := os.Stat(k); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", k, info.Mode(), err)
		}
	}

	// Garbage on control and data ports disturbs nobody.
	garbage := bytes.Repeat([]byte("\x16\x03\x01\x00\xff*9999999999\r\nGET"), 2000)
	for _, port := range []int{control, control + 2, data, data + 5} {
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write(garbage) // the node may close it first
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
	put("after", "garbage")

	// A node is killed; nothing proves it, its lease runs out, the others go on.
	if err := syscall.Kill(g.status()[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", resp), MaxRetries: -1, ReadTimeout: time.Minute, ContextTimeoutEnabled: true})
	defer c.Close()
	for began := time.Now(); ; {
		err := c.Set(t.Context(), "while-away", "w", 0).Err()
		if err == nil {
			t.Logf("writes go on %v after the kill", time.Since(began).Round(10*time.Millisecond))
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("writes do not go on: %v\n%s", err, g.logs())
		}
	}
	g.stop()

	// Files that will not do: said at the start, with what to do.
	serve := func(what string, want ...string) {
		t.Helper()
		_, complaint, code := node(t, nil, "serve", "--config", g.config(0))
		lines := strings.Split(strings.TrimSpace(complaint), "\n")
		for _, w := range want {
			if last := lines[len(lines)-1]; code == 0 || !strings.Contains(last, w) {
				t.Errorf("%s: exit status %d, lacks %q: %s", what, code, w, last)
			}
		}
	}
	mine := filepath.Join(g.nodeDir(0), "tls", "key.pem")
	if err := os.Chmod(mine, 0o644); err != nil {
		t.Fatal(err)
	}
	serve("a key for all", mine, "0644", "chmod 0600")
	if err := os.Chmod(mine, 0o600); err != nil {
		t.Fatal(err)
	}
	out, complaint, code := node(t, nil, "certs", "--dir", filepath.Join(g.dir, "../other"), "--nodes", "3")
	if code != 0 {
		t.Fatal(out, complaint)
	}
	old, err := os.ReadFile(filepath.Join(g.nodeDir(0), "tls", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	strange, err := os.ReadFile(filepath.Join(g.dir, "../other", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.nodeDir(0), "tls", "ca.pem"), strange, 0o600); err != nil {
		t.Fatal(err)
	}
	serve("another authority", "not signed by this cluster's authority", "node certs")
	if err := os.WriteFile(filepath.Join(g.nodeDir(0), "tls", "ca.pem"), old, 0o600); err != nil {
		t.Fatal(err)
	}

	// The same directory again has the same data.
	g.start()
	for i := range 3 {
		if got, err := g.client(i).Get(t.Context(), "while-away").Result(); err != nil || got != "w" {
			t.Errorf("after a restart, node %d: %q %v", i, got, err)
		}
	}
}
