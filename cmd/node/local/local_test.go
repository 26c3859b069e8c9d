package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"healkv/cmd/node/admin"
	"healkv/cmd/node/config"
)

// The test binary is also the node program: run as "serve" it is a fake node
// that has a /status page, a lock and the manners its directory asks for.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		os.Exit(fakeNode(os.Args[3], os.Args[4:]))
	}
	os.Exit(m.Run())
}

// Manners of a fake node, in a file "manners" beside its node.toml.
const (
	crashes = "crash at the start"
	stays   = "ignore every signal"
	fails   = "exit 3 when told to stop"
	again   = "exit 75 when told to stop"
)

func fakeNode(path string, flags []string) int {
	s := config.New()
	if err := s.File(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c := s.Config
	manners, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "manners"))
	if string(manners) == crashes {
		fmt.Fprintln(os.Stderr, "line one\nthe pool is broken")
		return 1
	}
	lock, err := LockNode(c.StateDir, c.Node, time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer lock.Release()
	server, err := admin.Listen(c.Admin.Listen, admin.Source{
		Status: func() any {
			return map[string]any{"node": c.Node, "pid": os.Getpid(), "role": "live", "epoch": 2, "flags": flags,
				"last_recovery": map[string]any{"kind": "heal", "total": 2500000, "bytes": 4096, "records": 17}}
		},
		Metrics: func() []admin.Metric { return nil },
		Ready:   func() bool { return true },
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGHUP)
	<-term
	switch string(manners) {
	case stays:
		select {}
	case fails:
		return 3
	case again:
		_ = os.Remove(filepath.Join(filepath.Dir(path), "manners")) // once
		return RestartStatus
	}
	_ = server.Close(context.Background())
	return 0
}

// freePorts finds n ports in a row, twice, that nobody listens on.
func freePorts(t *testing.T, n int) (int, int) {
	t.Helper()
	for base := 20000 + os.Getpid()%10000; base < 60000; base += 2 * n {
		var addresses []string
		for i := range 2 * n {
			addresses = append(addresses, at(base+i))
		}
		if checkPorts(addresses) == nil {
			return base, base + n
		}
	}
	t.Fatal("no free ports")
	return 0, 0
}

type fixture struct {
	o       Options
	formats []int
	mu      sync.Mutex
}

func newFixture(t *testing.T, nodes int) *fixture {
	t.Helper()
	f := &fixture{o: Options{Dir: filepath.Join(t.TempDir(), "d"), Source: config.New()}}
	f.o.Ports.Resp, f.o.Ports.Admin = freePorts(t, nodes)
	f.o.Source.Config.Nodes = nodes
	f.o.Source.Config.StopTimeout = config.Duration(100 * time.Millisecond)
	f.o.Format = func(c *config.Config) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.formats = append(f.formats, c.Node)
		return os.MkdirAll(c.PoolDir, 0o700)
	}
	t.Cleanup(func() {
		if l, err := readLayout(f.o.Dir); err == nil {
			if err := Destroy(f.o.Dir); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(l.RunDir); err == nil {
				t.Errorf("%s is left over", l.RunDir)
			}
		}
	})
	return f
}

// running runs a cluster in the background.
type running struct {
	c      *Cluster
	out    *lines
	cancel context.CancelFunc
	force  chan struct{}
	err    chan error
}

// lines is a writer that tells of new text.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (r *running) await(t *testing.T, what string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !strings.Contains(r.out.String(), what) {
		select {
		case <-r.out.more:
		case err := <-r.err:
			t.Fatalf("ended with %v while waiting for %q; said %q", err, what, r.out.String())
		case <-late:
			t.Fatalf("no %q; said %q", what, r.out.String())
		}
	}
}

func start(t *testing.T, c *Cluster, flags ...string) *running {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{c: c, out: &lines{more: make(chan struct{}, 1)}, cancel: cancel, force: make(chan struct{}), err: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.err <- c.Run(ctx, RunOptions{Program: program, Flags: flags, ReadyWithin: 20 * time.Second, Out: r.out, Force: r.force})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

func TestClusterLife(t *testing.T) {
	f := newFixture(t, 3)
	c, err := Create(f.o)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.formats) != 3 {
		t.Fatalf("formatted %v", f.formats)
	}
	checkModes(t, c.Dir)
	checkModes(t, c.RunDir)
	if _, err := Create(f.o); err == nil {
		t.Error("made twice")
	}

	r := start(t, c, "--log-level=debug")
	r.await(t, "ready\n")
	states := c.Ask(t.Context(), time.Second)
	if !Everyone(states) || states[1].Node != 1 || !bytes.Contains(states[2].Raw, []byte("--log-level=debug")) {
		t.Fatalf("states %+v", states)
	}
	if err := c.Run(t.Context(), RunOptions{}); !errors.Is(err, ErrRunning) {
		t.Errorf("second supervisor: %v", err)
	}
	if err := Destroy(c.Dir); !errors.Is(err, ErrRunning) {
		t.Errorf("removed while running: %v", err)
	}

	// A killed node is reported, shown as down, not restarted; brought back by
	// hand it joins and survives the supervisor.
	if err := syscall.Kill(states[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await(t, "node 1 (pid")
	if !strings.Contains(r.out.String(), "killed") || !strings.Contains(r.out.String(), "serve --config "+c.ConfigPath(1)) {
		t.Errorf("said %q", r.out.String())
	}
	states = c.Ask(t.Context(), time.Second)
	if states[1].Role != "down" || Everyone(states) || states[0].Role != "live" {
		t.Errorf("states %+v", states)
	}
	var table, text bytes.Buffer
	if err := errors.Join(Table(&table, states), JSON(&text, c.Dir, states)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "down") || !strings.Contains(table.String(), "heal 2.5 ms") || strings.Count(table.String(), "\n") != 5 {
		t.Errorf("table:\n%s", table.String())
	}
	var parsed struct {
		Nodes []struct {
			Node int
			Role string
		}
	}
	if err := json.Unmarshal(text.Bytes(), &parsed); err != nil || len(parsed.Nodes) != 3 || parsed.Nodes[1].Role != "down" || parsed.Nodes[2].Node != 2 {
		t.Errorf("json %s: %v", text.String(), err)
	}
	program, _ := os.Executable()
	byHand := exec.Command(program, "serve", "--config", c.ConfigPath(1))
	byHand.Stderr = os.Stderr
	if err := byHand.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !Everyone(c.Ask(t.Context(), time.Second)); {
		if time.Since(began) > 10*time.Second {
			t.Fatal("brought back by hand and not seen")
		}
	}
	r.cancel()
	if err := <-r.err; err != nil {
		t.Errorf("stop: %v", err)
	}
	if !strings.Contains(r.out.String(), "node 1 (process "+fmt.Sprint(byHand.Process.Pid)+") was started by hand") {
		t.Errorf("said %q", r.out.String())
	}
	if err := Destroy(c.Dir); !errors.Is(err, ErrRunning) {
		t.Errorf("removed under a node started by hand: %v", err)
	}
	if err := byHand.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := byHand.Wait(); err != nil {
		t.Errorf("by hand: %v", err)
	}

	// The same directory again: nothing is formatted, and what was fixed stays.
	c, err = Open(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	r.await(t, "ready\n")
	if len(f.formats) != 3 {
		t.Errorf("formatted again: %v", f.formats)
	}
	r.cancel()
	if err := <-r.err; err != nil {
		t.Errorf("second stop: %v", err)
	}
}

func checkModes(t *testing.T, dir string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		seen++
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s: mode %04o, want %04o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || seen < 3 {
		t.Errorf("%s: %d entries, %v", dir, seen, err)
	}
}

func manners(t *testing.T, c *Cluster, node int, how string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.NodeDir(node), "manners"), []byte(how), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStartFailsWithTheNodesLastWords(t *testing.T) {
	c, err := Create(newFixture(t, 2).o)
	if err != nil {
		t.Fatal(err)
	}
	manners(t, c, 1, crashes)
	r := start(t, c)
	err = <-r.err
	if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), "node 1 ended (exit status 1): the pool is broken") {
		t.Errorf("%v", err)
	}
	if held := c.Running(); len(held) != 0 {
		t.Errorf("left running: %v", held)
	}
}

// A node that was drained for a restart is started again, one that left in
// order is not called dead, and neither counts as unclean at the end.
func TestDrainedNodes(t *testing.T) {
	c, err := Create(newFixture(t, 3).o)
	if err != nil {
		t.Fatal(err)
	}
	manners(t, c, 1, again)
	r := start(t, c)
	r.await(t, "ready\n")
	before := c.Ask(t.Context(), time.Second)
	if got := parentOf(before[1].PID); got != fmt.Sprint(os.Getpid()) || c.Supervisor() != got {
		t.Errorf("parent of node 1 %q, supervisor %q, want %d", got, c.Supervisor(), os.Getpid())
	}
	for i := 1; i <= 2; i++ {
		if err := syscall.Kill(before[i].PID, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	r.await(t, fmt.Sprintf("node 1 (pid %d) was drained and is started again (pid", before[1].PID))
	r.await(t, fmt.Sprintf("node 2 (pid %d) has left and stopped in order", before[2].PID))
	for began := time.Now(); ; {
		s := c.Ask(t.Context(), time.Second)
		if s[1].Role == "live" && s[1].PID != before[1].PID && s[2].Role == "down" {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("states %+v; said %q", s, r.out.String())
		}
	}
	r.cancel()
	if err := <-r.err; err != nil {
		t.Errorf("stop: %v", err)
	}
	if strings.Contains(r.out.String(), "bring it back") {
		t.Errorf("said %q", r.out.String())
	}
	if got := parentOf(1 << 30); got != "" || c.Supervisor() != "" {
		t.Errorf("nobody's parent %q, supervisor %q", got, c.Supervisor())
	}
}

func TestStopKillsLeftoversAndSaysSo(t *testing.T) {
	c, err := Create(newFixture(t, 3).o)
	if err != nil {
		t.Fatal(err)
	}
	manners(t, c, 0, stays)
	manners(t, c, 2, fails)
	r := start(t, c)
	r.await(t, "ready\n")
	r.cancel()
	close(r.force)
	err = <-r.err
	if !errors.Is(err, ErrStop) || !strings.Contains(err.Error(), "node 0 was not waited for and was killed") {
		t.Errorf("%v", err)
	}
	if held := c.Running(); len(held) != 0 {
		t.Errorf("left running: %v", held)
	}
	// Without the second signal it is the deadline that ends it.
	manners(t, c, 2, "")
	r = start(t, c)
	r.await(t, "ready\n")
	r.cancel()
	if err = <-r.err; !errors.Is(err, ErrStop) || !strings.Contains(err.Error(), "did not stop within") {
		t.Errorf("%v", err)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t, 2)
	refused := func(what, want string, change func(*Options)) {
		t.Helper()
		o := f.o
		source := *f.o.Source
		o.Source = &source
		change(&o)
		_, err := Create(o)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one line with %q", what, err, want)
		}
		if _, err := os.Lstat(layoutPath(f.o.Dir)); err == nil {
			t.Errorf("%s: something was made", what)
		}
	}
	l, err := net.Listen("tcp", at(f.o.Ports.Admin+1))
	if err != nil {
		t.Fatal(err)
	}
	refused("port in use", "address already in use; stop what listens there, or choose", func(*Options) {})
	if _, err := os.Lstat(f.o.Dir); err == nil {
		t.Error("port in use: the directory was made")
	}
	_ = l.Close()
	refused("overlapping ports", "overlap", func(o *Options) { o.Ports.Admin = o.Ports.Resp + 1 })
	refused("port out of range", "want a port from 1 to 65534", func(o *Options) { o.Ports.Resp = 65535 })
	refused("too many nodes", "nodes = 17", func(o *Options) { o.Source.Config.Nodes = 17 })
	refused("bad model", "model = \"x\"", func(o *Options) { o.Source.Config.Model = "x" })
	refused("no room", "free; use", func(o *Options) { o.Source.Config.PoolSize = config.TiB })
	refused("no memory", "of memory", func(o *Options) { o.Source.Config.PoolSize, o.Source.Config.Domain = config.TiB, "memory" })
	refused("long run directory", "too long", func(o *Options) { o.Source.Config.RunDir = "/dev/shm/" + strings.Repeat("x", 70) })
	refused("run directory on a disk", "not on tmpfs", func(o *Options) { o.Source.Config.RunDir = t.TempDir() + "/r" })
	refused("run directory of others", "mode 0700", func(o *Options) { o.Source.Config.RunDir = "/dev/shm" })
	mine := "/dev/shm/healkv-test-" + filepath.Base(filepath.Dir(f.o.Dir)) + fmt.Sprint(os.Getpid())
	if err := os.MkdirAll(mine+"/letters", 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(mine)
	refused("run directory with other things", "holds other things", func(o *Options) { o.Source.Config.RunDir = mine })
	if _, err := os.Stat(mine + "/letters"); err != nil {
		t.Error(err)
	}
	refused("format fails", "node 0: no", func(o *Options) {
		o.Format = func(c *config.Config) error { return fmt.Errorf("no") }
	})
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "letter"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("foreign directory", "holds letter but no cluster.toml", func(o *Options) { o.Dir = foreign })
	if left, _ := os.ReadDir(foreign); len(left) != 1 {
		t.Errorf("in the foreign directory: %v", left)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNotCluster) {
		t.Errorf("open nothing: %v", err)
	}
	if err := Destroy(foreign); !errors.Is(err, ErrNotCluster) {
		t.Errorf("destroy something else: %v", err)
	}

	// An existing cluster and settings that contradict it.
	c, err := Create(f.o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range [][3]int{{3, 0, 0}, {0, 1, 0}, {0, 0, 1}} {
		if err := c.AgreesPorts(p[0], Ports{Resp: p[1], Admin: p[2]}); !errors.Is(err, ErrDiffers) {
			t.Errorf("%v: %v", p, err)
		}
	}
	if err := c.AgreesPorts(2, Ports{Resp: f.o.Ports.Resp}); err != nil {
		t.Error(err)
	}
	given := config.New()
	if err := given.Env([]string{"HEALKV_MODEL=synchronous", "HEALKV_LOG_LEVEL=warn", "HEALKV_DOMAIN=auto"}); err != nil {
		t.Fatal(err)
	}
	if flags, err := c.Agrees(given); err != nil || len(flags) != 1 || flags[0] != "--log-level=warn" {
		t.Errorf("%v %v", flags, err)
	}
	if err := given.Env([]string{"HEALKV_SHARDS=2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Agrees(given); !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "shards = 2") {
		t.Errorf("other shards: %v", err)
	}

	// Damaged and foreign descriptions.
	for text, want := range map[string]string{
		"layout = 2\ncluster_id = \"x\"\n": "layout 2",
		"layout = 1\nsurprise = 3\n":       "unknown key \"surprise\"",
		"layout = 1\nnodes = 2\n":          "damaged",
		"layout = ":                        "cluster.toml:1",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(layoutPath(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	// node.toml of another node.
	text, err := os.ReadFile(c.ConfigPath(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.ConfigPath(1), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.Dir); err == nil || !strings.Contains(err.Error(), "is of node 0") {
		t.Errorf("node.toml of another node: %v", err)
	}
}

func TestInterruptedStartIsMadeAnew(t *testing.T) {
	f := newFixture(t, 2)
	c, err := Create(f.o)
	if err != nil {
		t.Fatal(err)
	}
	c.Complete = false
	if err := c.Layout.write(c.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(c.Dir); !errors.Is(err, ErrUnfinished) {
		t.Errorf("%v", err)
	}
	f.o.Source.Config.ClusterID, f.o.Source.Config.RunDir = "", ""
	again, err := Create(f.o)
	if err != nil {
		t.Fatal(err)
	}
	if again.ClusterID == c.ClusterID || len(f.formats) != 4 {
		t.Errorf("not made anew: %v", f.formats)
	}
	if _, err := os.Lstat(c.RunDir); err == nil {
		t.Errorf("%s is left over", c.RunDir)
	}
}

// What rm -rf of a cluster directory leaves in memory goes with the next
// cluster that is made; what belongs to a cluster that is there stays.
func TestSweep(t *testing.T) {
	f, g := newFixture(t, 1), newFixture(t, 1)
	gone, err := Create(f.o)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := Create(g.o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(gone.Dir); err != nil {
		t.Fatal(err)
	}
	removed := strings.Join(sweep(), " ")
	if !strings.Contains(removed, gone.RunDir) || strings.Contains(removed, stays.RunDir) {
		t.Errorf("removed %q; want %s and not %s", removed, gone.RunDir, stays.RunDir)
	}
}

// Children end with their supervisor, however that ends.
func TestChildrenDieWithTheSupervisor(t *testing.T) {
	if dir := os.Getenv("HEALKV_TEST_SUPERVISE"); dir != "" {
		c, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		program, _ := os.Executable()
		t.Fatal(c.Run(context.Background(), RunOptions{Program: program, Out: os.Stdout}))
	}
	c, err := Create(newFixture(t, 2).o)
	if err != nil {
		t.Fatal(err)
	}
	program, _ := os.Executable()
	supervisor := exec.Command(program, "-test.run=^TestChildrenDieWithTheSupervisor$")
	supervisor.Env = append(os.Environ(), "HEALKV_TEST_SUPERVISE="+c.Dir)
	out, err := supervisor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Start(); err != nil {
		t.Fatal(err)
	}
	var said [64]byte
	if n, err := out.Read(said[:]); err != nil || !strings.Contains(string(said[:n]), "ready") {
		t.Fatalf("%q %v", said[:n], err)
	}
	if held := c.Running(); len(held) != 2 {
		t.Fatalf("running: %v", held)
	}
	_ = supervisor.Process.Kill()
	_ = supervisor.Wait()
	for began := time.Now(); len(c.Running()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("outlive their supervisor: %v", c.Running())
		}
	}
}
