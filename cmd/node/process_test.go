//go:build process

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"healkv/cmd/node/config"
)

// The tests of this file run the binary that users run.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "healkv-node-*")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "node")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=test", "-o", binary, ".")
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// node runs the binary to its end.
func node(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return nodeFor(t, time.Minute, env, args...)
}

// nodeWithin is node for what takes longer.
func nodeWithin(t *testing.T, limit time.Duration, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return nodeFor(t, limit, nil, args...)
}

func nodeFor(t *testing.T, limit time.Duration, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit) // clean-up comes here too
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
}

// said collects what a process prints.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// group is a running `node cluster`.
type group struct {
	t           *testing.T
	dir         string
	nodes       int
	resp, admin int
	cmd         *exec.Cmd
	out         *said
	ended       chan struct{}
}

func freePorts(t *testing.T, n int) (int, int) {
	t.Helper()
next:
	for base := 20000 + os.Getpid()%500*24; base < 32000; base += 2 * n {
		for i := range 2 * n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if err != nil {
				continue next
			}
			_ = l.Close()
		}
		return base, base + n
	}
	t.Fatal("no free ports")
	return 0, 0
}

func newGroup(t *testing.T, nodes int, flags ...string) *group {
	t.Helper()
	g := &group{t: t, nodes: nodes, dir: filepath.Join(t.TempDir(), "d")}
	g.resp, g.admin = freePorts(t, nodes)
	g.start(append([]string{"--nodes", fmt.Sprint(nodes), "--resp-port", fmt.Sprint(g.resp), "--admin-port", fmt.Sprint(g.admin),
		"--pool-size", "128MiB"}, flags...)...)
	t.Cleanup(func() {
		g.stop()
		if out, complaint, code := node(t, nil, "cluster", "--destroy", "--dir", g.dir); code != 0 {
			t.Errorf("destroy: %s%s", out, complaint)
		}
		if _, err := os.Lstat(g.dir); err == nil {
			t.Errorf("%s is left over", g.dir)
		}
	})
	return g
}

func (g *group) start(flags ...string) {
	g.t.Helper()
	g.cmd = exec.Command(binary, append([]string{"cluster", "--dir", g.dir}, flags...)...)
	g.out = &said{more: make(chan struct{}, 1)}
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.ended = make(chan struct{})
	go func() { _ = g.cmd.Wait(); close(g.ended) }()
	g.await("ready\n")
}

func (g *group) await(what string) {
	g.t.Helper()
	late := time.After(time.Minute)
	for !strings.Contains(g.out.String(), what) {
		select {
		case <-g.out.more:
		case <-g.ended:
			g.t.Fatalf("node cluster ended (%v) before %q:\n%s", g.cmd.ProcessState, what, g.out.String())
		case <-late:
			g.t.Fatalf("no %q:\n%s\n%s", what, g.out.String(), g.logs())
		}
	}
}

func (g *group) logs() string {
	var all strings.Builder
	for i := range g.nodes {
		text, _ := os.ReadFile(filepath.Join(g.nodeDir(i), "log"))
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		all.WriteString(strings.Join(lines[max(0, len(lines)-8):], "\n") + "\n")
	}
	return all.String()
}

func (g *group) nodeDir(i int) string { return filepath.Join(g.dir, fmt.Sprintf("node-%d", i)) }
func (g *group) config(i int) string  { return filepath.Join(g.nodeDir(i), "node.toml") }

// stop ends the cluster as a user does and wants exit status 0.
func (g *group) stop() {
	g.t.Helper()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.ended:
	case <-time.After(time.Minute):
		_ = g.cmd.Process.Kill()
		g.t.Fatalf("node cluster does not stop:\n%s", g.logs())
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		g.t.Errorf("node cluster: exit status %d:\n%s\n%s", code, g.out.String(), g.logs())
	}
}

func (g *group) client(i int) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", g.resp+i), MaxRetries: -1})
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

type nodeStatus struct {
	Node         int
	PID          int
	Role         string
	Epoch        int
	Incarnation  int
	Model        string
	Provider     string
	Domain       string
	Keys         uint64
	PoolBytes    uint64 `json:"pool_bytes"`
	LastRecovery *struct {
		Kind  string
		Total int64
	} `json:"last_recovery"`
}

func (g *group) status() []nodeStatus {
	g.t.Helper()
	out, complaint, code := node(g.t, nil, "status", "--dir", g.dir, "--json")
	var parsed struct{ Nodes []nodeStatus }
	if err := json.Unmarshal([]byte(out), &parsed); err != nil || code != 0 || len(parsed.Nodes) != g.nodes {
		g.t.Fatalf("status: %d %v\n%s%s", code, err, out, complaint)
	}
	return parsed.Nodes
}

func (g *group) awaitLive(i int) nodeStatus {
	g.t.Helper()
	for began := time.Now(); ; {
		s := g.status()[i]
		if s.Role == "live" {
			return s
		}
		if time.Since(began) > 30*time.Second {
			g.t.Fatalf("node %d is %s\n%s", i, s.Role, g.logs())
		}
	}
}

// A user's whole way: make, use, kill, bring back, stop, start again.
func TestProcessClusterLife(t *testing.T) {
	g := newGroup(t, 3)
	ctx := t.Context()

	clients := []*redis.Client{g.client(0), g.client(1), g.client(2)}
	for i := range 300 {
		key, value := fmt.Sprintf("go-%d", i), fmt.Sprintf("value-%d", i)
		if err := clients[i%3].Set(ctx, key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got, err := clients[(i+1)%3].Get(ctx, key).Result(); err != nil || got != value {
			t.Fatalf("%s at another node: %q %v", key, got, err)
		}
	}
	size, err := clients[0].DBSize(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}

	before := g.status()
	for i, s := range before {
		if s.Role != "live" || s.Node != i || s.PID == 0 || s.Epoch == 0 || s.Incarnation == 0 || s.Model != "synchronous" ||
			s.Provider != "shm" || s.Keys != uint64(size) || s.PoolBytes == 0 || s.Domain == "" || s.Domain == "auto" {
			t.Errorf("status of node %d: %+v, want %d keys", i, s, size)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, _ := get(t, g.admin+2, path); code != http.StatusOK {
			t.Errorf("%s: %d", path, code)
		}
	}
	if _, text := get(t, g.admin, "/metrics"); !strings.Contains(text, "healkv_role{role=\"live\"} 1") || !strings.Contains(text, "healkv_keys "+fmt.Sprint(size)) {
		t.Errorf("metrics:\n%s", text)
	}

	// Killed: reported, down, not restarted; the others go on.
	if err := syscall.Kill(before[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.await("node 1 (pid")
	for began := time.Now(); ; {
		err := clients[0].Set(ctx, "while-away", "w", 0).Err()
		if err == nil {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("writes do not go on after a kill: %v\n%s", err, g.logs())
		}
	}
	if s := g.status()[1]; s.Role != "down" {
		t.Errorf("killed node is %s", s.Role)
	}

	// A second process for a node that runs is refused.
	if _, complaint, code := node(t, nil, "serve", "--config", g.config(0)); code == 0 || !strings.Contains(complaint, "still running") {
		t.Errorf("second process: %d %q", code, complaint)
	}

	// Brought back by hand, it has what it missed.
	byHand := exec.Command(binary, "serve", "--config", g.config(1))
	var log bytes.Buffer
	byHand.Stderr = &log
	if err := byHand.Start(); err != nil {
		t.Fatal(err)
	}
	after := g.awaitLive(1)
	if after.Incarnation <= before[1].Incarnation || after.LastRecovery == nil || after.LastRecovery.Kind != "heal" {
		t.Errorf("brought back: %+v (before %+v)", after, before[1])
	}
	for began := time.Now(); ; {
		got, err := clients[1].Get(ctx, "while-away").Result()
		if err == nil && got == "w" {
			break
		}
		if err == nil || time.Since(began) > 20*time.Second {
			t.Fatalf("at the node that was away: %q %v", got, err)
		}
	}

	// SIGTERM: exit status 0.
	if err := byHand.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := byHand.Wait(); err != nil {
		t.Errorf("serve after SIGTERM: %v\n%s", err, log.String())
	}
	g.stop()

	// The pool of another node is refused.
	_, complaint, code := node(t, nil, "serve", "--config", g.config(0), "--pool-dir", g.setting(1, "pool_dir"), "--index-dir", g.setting(1, "index_dir"))
	lines := strings.Split(strings.TrimSpace(complaint), "\n")
	if last := lines[len(lines)-1]; code != 1 || !strings.Contains(last, "node is 1 in the pool and 0 in the config") {
		t.Errorf("pool of another node: exit status %d: %s", code, complaint)
	}

	// The same directory again has the same data.
	g.start()
	for i := range g.nodes {
		if got, err := g.client(i).Get(ctx, "go-299").Result(); err != nil || got != "value-299" {
			t.Errorf("after a restart, node %d: %q %v", i, got, err)
		}
		if s := g.status()[i]; s.Keys != uint64(size)+1 {
			t.Errorf("after a restart, node %d has %d keys, want %d", i, s.Keys, size+1)
		}
	}
}

func get(t *testing.T, port int, path string) (int, string) {
	t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// Everything a user can get wrong: one line that says what and what to do,
// nothing started, nothing lost.
func TestProcessRefusals(t *testing.T) {
	g := newGroup(t, 1, "--resp-password", "secret", "--domain", "memory")
	good, err := os.ReadFile(g.config(0))
	if err != nil {
		t.Fatal(err)
	}
	// Copies of the configuration with one line changed.
	changed := func(old, replaced string) string {
		t.Helper()
		text := strings.Replace(string(good), old, replaced, 1)
		if text == string(good) {
			t.Fatalf("no %q in the configuration", old)
		}
		path := filepath.Join(t.TempDir(), "node.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	state := filepath.Join(t.TempDir(), "state")
	port, adminPort := freePorts(t, 1)
	elsewhere := []string{"--resp-listen", fmt.Sprintf("127.0.0.1:%d", port), "--admin-listen", fmt.Sprintf("127.0.0.1:%d", adminPort)}
	apart := append(slices.Clone(elsewhere), "--resp-socket", "")
	cases := []struct {
		what string
		env  []string
		args []string
		code int
		want []string
	}{
		{"no command", nil, []string{"fly"}, 2, []string{`unknown command "fly"`, "node help"}},
		{"no file", nil, []string{"serve"}, 2, []string{"--config is missing"}},
		{"missing file", nil, []string{"serve", "--config", "/none.toml"}, 2, []string{"/none.toml", "no such file"}},
		{"unknown flag", nil, []string{"serve", "--fast"}, 2, []string{"-fast", "node help serve"}},
		{"unknown key", nil, []string{"serve", "--config", changed("pool_size =", "pool_sise =")}, 2, []string{`node.toml:`, `unknown key "pool_sise"`, `did you mean "pool_size"`}},
		{"bad value", nil, []string{"serve", "--config", changed(`model = "synchronous"`, `model = "sync"`)}, 2, []string{"node.toml", `model = "sync"`, "synchronous, strict"}},
		{"bad environment", []string{"HEALKV_LEASE=1h"}, []string{"serve", "--config", g.config(0)}, 2, []string{"environment HEALKV_LEASE", `lease = "1h0m0s"`, "100ms to 60s"}},
		{"unknown environment", []string{"HEALKV_SPEED=1"}, []string{"serve", "--config", g.config(0)}, 2, []string{"HEALKV_SPEED"}},
		{"bad flag", nil, []string{"serve", "--config", g.config(0), "--shards", "65"}, 2, []string{"flag --shards", "shards = 65", "1 to 64"}},
		{"beyond loopback", nil, []string{"serve", "--config", changed(`password = "secret"`, `password = ""`), "--resp-listen", "0.0.0.0:7000"}, 2, []string{"resp.listen", "password"}},
		{"second process", nil, append([]string{"serve", "--config", g.config(0)}, elsewhere...), 1, []string{"node 0", "still running"}},
		{"port in use", nil, []string{"serve", "--config", g.config(0), "--state-dir", state, "--ephemeral"}, 1, []string{"another process has the port"}},
		{"socket file in use", nil, append([]string{"serve", "--config", g.config(0), "--state-dir", state, "--ephemeral"}, elsewhere...), 1, []string{"resp-0.sock", "another process serves it"}},
		{"pool in use", nil, append([]string{"serve", "--config", g.config(0), "--state-dir", state, "--ephemeral"}, apart...), 1, []string{"in use", "pid"}},
		{"format again", nil, []string{"format", "--config", g.config(0), "--state-dir", state, "--ephemeral"}, 1, []string{"exists"}},
		{"another cluster in the same place", nil, []string{"cluster", "--dir", g.dir}, 1, []string{"still running"}},
		{"contradiction", nil, []string{"cluster", "--dir", g.dir, "--model", "eventual"}, 1, []string{"flag --model", "eventual", "synchronous", "--destroy"}},
		{"destroy while running", nil, []string{"cluster", "--dir", g.dir, "--destroy"}, 1, []string{"still running"}},
		{"ports of another cluster", nil, []string{"cluster", "--nodes", "1", "--dir", t.TempDir(), "--resp-port", fmt.Sprint(g.resp), "--admin-port", fmt.Sprint(adminPort)}, 1, []string{"address already in use", "--resp-port"}},
		{"environment of one node for all", []string{"HEALKV_NODE=1"}, []string{"cluster", "--dir", t.TempDir()}, 2, []string{"HEALKV_NODE", "unset"}},
		{"provider", nil, []string{"cluster", "--dir", t.TempDir(), "--provider", "rdma"}, 2, []string{`provider = "rdma"`, "shm, tcp, verbs"}},
		{"status of nothing", nil, []string{"status", "--dir", t.TempDir()}, 1, []string{"cluster.toml does not exist"}},
	}
	for _, c := range cases {
		out, complaint, code := node(t, c.env, c.args...)
		last := complaint
		if lines := strings.Split(strings.TrimSpace(complaint), "\n"); len(lines) > 0 {
			last = lines[len(lines)-1] // before it may stand the node's log
		}
		for _, part := range c.want {
			if !strings.Contains(last, part) {
				t.Errorf("%s: lacks %q: %q", c.what, part, last)
			}
		}
		if code != c.code || strings.Contains(complaint, "goroutine ") || strings.Contains(out+complaint, "secret") {
			t.Errorf("%s: exit status %d, want %d: %s%s", c.what, code, c.code, out, complaint)
		}
	}
	t.Logf("%d refusals", len(cases))

	// Garbage on the Redis port and on the control port disturbs nobody.
	garbage := bytes.Repeat([]byte("\x00\xff*9999999999\r\n$-5\r\nGET"), 2000)
	sockets := 0
	ours, clients := unixSockets(t, g)
	for _, a := range slices.Concat([][2]string{{"tcp", fmt.Sprintf("127.0.0.1:%d", g.resp)}, {"tcp", fmt.Sprintf("127.0.0.1:%d", g.admin)}}, ours, clients) {
		c, err := net.Dial(a[0], a[1])
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Write(garbage) // the node may close it first
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		sockets++
	}
	if len(ours) == 0 || len(clients) == 0 {
		t.Errorf("%d sockets got garbage, of them %d control sockets and %d socket files for clients", sockets, len(ours), len(clients))
	}
	// A socket file is served as the port is, and asks for the password as well.
	for _, pass := range []string{"secret", "wrong"} {
		c := redis.NewClient(&redis.Options{Network: clients[0][0], Addr: clients[0][1], Password: pass, MaxRetries: -1})
		if err := c.Ping(t.Context()).Err(); (err == nil) != (pass == "secret") {
			t.Errorf("over the socket file, password %q: %v", pass, err)
		}
		c.Close()
	}
	c := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", g.resp), Password: "secret", MaxRetries: -1})
	defer c.Close()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Errorf("after garbage: %v\n%s", err, g.logs())
	}
	// Too large a value is refused and the connection lives.
	if err := c.Set(t.Context(), "k", strings.Repeat("x", 1<<20+1), 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR") {
		t.Errorf("too large a value: %v", err)
	}
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("after too large a value: %q %v", got, err)
	}
	stranger := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", g.resp), MaxRetries: -1})
	defer stranger.Close()
	if err := stranger.Get(t.Context(), "k").Err(); err == nil || !strings.HasPrefix(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}

	// A full pool refuses what cannot fit and still takes deletes.
	value := strings.Repeat("y", 1<<20)
	stored := 0
	for ; stored < 200; stored++ {
		if err = c.Set(t.Context(), fmt.Sprintf("big-%d", stored), value, 0).Err(); err != nil {
			break
		}
	}
	if err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Errorf("full pool after %d MiB: %v", stored, err)
	}
	for i := range stored {
		if err := c.Del(t.Context(), fmt.Sprintf("big-%d", i)).Err(); err != nil {
			t.Errorf("delete %d of %d in a full pool: %v", i, stored, err)
			break
		}
	}
	for began := time.Now(); ; {
		if err = c.Set(t.Context(), "again", value, 0).Err(); err == nil {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Errorf("no room after everything was deleted: %v", err)
			break
		}
	}
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("a small key after a full pool: %q %v", got, err)
	}
	t.Logf("%d MiB went into a pool of 128 MiB", stored)

	// Pools of others are refused, and nothing is lost by trying.
	g.stop()
	for _, wrong := range []struct {
		flag, value, want string
	}{
		{"--cluster-id", strings.Repeat("ab", 16), "abababab"},
		{"--hash-seed", strings.Repeat("ab", 8), "seed"},
		{"--domain", "file", "formatted for memory"},
		{"--pool-dir", t.TempDir(), "node format"},
	} {
		out, complaint, code := node(t, nil, "serve", "--config", g.config(0), wrong.flag, wrong.value)
		lines := strings.Split(strings.TrimSpace(complaint), "\n")
		if code != 1 || !strings.Contains(lines[len(lines)-1], wrong.want) {
			t.Errorf("%s %s: %d, lacks %q: %s%s", wrong.flag, wrong.value, code, wrong.want, out, complaint)
		}
	}
	g.start()
	if got, err := c.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("after refused starts: %q %v", got, err)
	}
}

// setting reads one key of a node's configuration.
func (g *group) setting(i int, key string) string {
	g.t.Helper()
	s := config.New()
	if err := s.File(g.config(i)); err != nil {
		g.t.Fatal(err)
	}
	k := config.Lookup(key)
	if k == nil {
		g.t.Fatalf("no key %s", key)
	}
	return k.Text(&s.Config)
}

// A pool in memory is gone after a reboot: the node comes back with a blank
// one, as its state file names it, and gets a full copy. On a disk a missing
// pool is an error.
func TestProcessBlankPool(t *testing.T) {
	g := newGroup(t, 3, "--domain", "memory")
	ctx := t.Context()
	const keys = 500
	for i := range keys {
		if err := g.client(0).Set(ctx, fmt.Sprintf("k-%d", i), "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Kill(g.status()[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	g.await("node 1 (pid")
	for _, key := range []string{"pool_dir", "index_dir"} {
		if err := os.RemoveAll(g.setting(1, key)); err != nil {
			t.Fatal(err)
		}
	}
	byHand := exec.Command(binary, "serve", "--config", g.config(1))
	byHand.Stderr = os.Stderr
	if err := byHand.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = byHand.Process.Signal(syscall.SIGTERM)
		if err := byHand.Wait(); err != nil {
			t.Error(err)
		}
	}()
	s := g.awaitLive(1)
	if s.LastRecovery == nil || s.LastRecovery.Kind != "full" || s.Keys != keys {
		t.Errorf("with a blank pool: %+v, recovery %+v", s, s.LastRecovery)
	}
}

// unixSockets finds the sockets in the run directory of a group: the nodes' own,
// and those for clients.
func unixSockets(t *testing.T, g *group) (ours, clients [][2]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, "cluster.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), `run_dir = "`)
		if !ok {
			continue
		}
		err := filepath.WalkDir(strings.TrimSuffix(name, `"`), func(path string, d os.DirEntry, err error) error {
			switch {
			case err != nil || d.Type()&os.ModeSocket == 0:
			case strings.HasPrefix(d.Name(), "resp-"):
				clients = append(clients, [2]string{"unix", path})
			default:
				ours = append(ours, [2]string{"unix", path})
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return ours, clients
}
