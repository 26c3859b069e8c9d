package membership

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
	"healkv/heal/control"
)

// A node process of the tests: control plane, membership and a liveness lock,
// nothing else.

// TestMain lets the test binary play such a process.
func TestMain(m *testing.M) {
	if spec := os.Getenv("MEMBERSHIP_TEST_CHILD"); spec != "" {
		if err := child(spec); err != nil {
			fmt.Fprintln(os.Stderr, "child", spec, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func lockPath(dir string, m proto.Member) string { return filepath.Join(dir, "alive-"+m.String()) }

// flockDead is a ProvenDead over lock files: the kernel frees a lock when its
// process is gone, and only then.
func flockDead(dir string) func(proto.Member) (bool, error) {
	return func(m proto.Member) (bool, error) {
		f, err := os.Open(lockPath(dir, m))
		if err != nil {
			return false, nil // it has not got as far as making its lock
		}
		defer f.Close()
		return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil, nil
	}
}

func child(spec string) error {
	fields := strings.Split(spec, ",")
	dir, lease := fields[0], time.Duration(0)
	i, _ := strconv.Atoi(fields[1])
	n, _ := strconv.Atoi(fields[2])
	lease, _ = time.ParseDuration(fields[3])
	burn, _ := strconv.Atoi(fields[4])
	run := filepath.Join(dir, "r")
	ctl, err := control.New(control.Config{RunDir: run, ClusterID: testCluster, Node: proto.NodeID(i), Configured: 1<<n - 1})
	if err != nil {
		return err
	}
	s, err := New(Config{
		Node: proto.NodeID(i), Configured: 1<<n - 1, ClusterID: testCluster, StateDir: filepath.Join(dir, fmt.Sprint("s", i)), Ephemeral: true,
		Initial: proto.View{Shards: 2}, Lease: lease, Control: ctl, ProvenDead: flockDead(run),
		Logger: testLog(i),
	})
	if err != nil {
		return err
	}
	if err := ctl.Start(); err != nil {
		return err
	}
	s.Start()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	inc, err := s.NextIncarnation(ctx)
	if err != nil {
		return err
	}
	m := proto.Member{Node: proto.NodeID(i), Incarnation: inc}
	alive, err := os.OpenFile(lockPath(run, m), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(alive.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	s.SetMember(m)
	for range runtime.NumCPU() * burn {
		go func() {
			for i := 0; i >= 0; i++ { // until the process ends
			}
		}()
	}
	if s.Current().Epoch == 0 {
		if _, err := s.Bootstrap(ctx); err != nil {
			return err
		}
	} else if err := rejoin(ctx, s, m); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin) // until killed, or the parent is gone
	runtime.KeepAlive(alive)      // else the collector closes the file, and the lock is free
	return nil
}

// rejoin is what a node does, without the data.
func rejoin(ctx context.Context, s *Service, m proto.Member) error {
	for {
		v, err := s.Admit(ctx, m, false)
		if err == nil && !v.Live.Has(m.Node) {
			v, err = s.Promote(ctx, m, v.Epoch)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// processes are nodes 1 to n-1 as child processes, and node 0 here.
type processes struct {
	gone [proto.NodesMax]chan struct{} // of those that were killed: closed when they have ended
	*cluster
	cmds []*exec.Cmd
	burn int // goroutines of a child that do nothing but spin, per processor

	tm        sync.Mutex
	decided   map[proto.Epoch]time.Time // when node 0 was told the view
	suspected time.Time                 // when it last suspected somebody
}

func startProcesses(t testing.TB, n, burn int, lease time.Duration) *processes {
	t.Helper()
	p := &processes{cluster: newCluster(t, n, lease), cmds: make([]*exec.Cmd, n), burn: burn}
	p.told = func(v proto.View) { p.tm.Lock(); defer p.tm.Unlock(); p.decided[v.Epoch] = time.Now() }
	p.noticed = func(proto.NodeID) { p.tm.Lock(); defer p.tm.Unlock(); p.suspected = time.Now() }
	p.decided = map[proto.Epoch]time.Time{}
	for i := 1; i < n; i++ {
		p.spawn(i)
	}
	x := p.startHere()
	x.incarnateAlive()
	if _, err := x.s.Bootstrap(patience(t)); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *processes) spawn(i int) {
	p.t.Helper()
	if gone := p.gone[i]; gone != nil {
		<-gone // it holds its acceptor's file until then
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("MEMBERSHIP_TEST_CHILD=%s,%d,%d,%v,%d", p.dir, i, p.n, p.lease, p.burn))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmds[i] = cmd
	p.t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
}

// startHere is start with the real proof of death.
func (p *processes) startHere() *node {
	p.provenDead = flockDead(p.run())
	return p.start(0)
}

func (x *node) incarnateAlive() {
	t := x.c.t
	inc, err := x.s.NextIncarnation(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	x.member = proto.Member{Node: x.id, Incarnation: inc}
	f, err := os.OpenFile(lockPath(x.c.run(), x.member), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	x.s.SetMember(x.member)
}

func (p *processes) kill(i int) {
	p.cmds[i].Process.Kill()
	gone := make(chan struct{})
	p.gone[i] = gone
	go func(c *exec.Cmd) { c.Wait(); close(gone) }(p.cmds[i])
}

// TestFailoverOfProcesses kills node processes with SIGKILL and measures how
// long it takes until another node knows the decided view without the victim.
func TestFailoverOfProcesses(t *testing.T) {
	const n, runs = 6, 9
	p := startProcesses(t, n, 0, 0) // the default lease: nothing here may wait for it
	x := p.nodes[0]
	full := proto.NodeSet(1<<n - 1)
	until(t, "all live", func() bool { return x.s.Current().Live == full && x.s.Lease().Valid() })
	generation := x.s.Lease().Generation()
	var took, noticed []time.Duration
	for r := range runs {
		victim := 1 + r%(n-1)
		before := x.s.Current().Epoch
		begin := time.Now()
		p.kill(victim)
		until(t, "view without the victim", func() bool { return !x.s.Current().Live.Has(proto.NodeID(victim)) })
		until(t, "told", func() bool { p.tm.Lock(); defer p.tm.Unlock(); return !p.decided[before+1].IsZero() })
		p.tm.Lock()
		took = append(took, p.decided[before+1].Sub(begin))
		noticed = append(noticed, p.suspected.Sub(begin))
		p.tm.Unlock()
		if v := x.s.Current(); v.Epoch != before+1 || v.Live != full.Without(proto.NodeID(victim)) {
			t.Fatalf("after the death of %d: %+v", victim, v)
		}
		p.spawn(victim)
		until(t, "victim live again", func() bool { return x.s.Current().Live == full })
	}
	slices.Sort(took)
	slices.Sort(noticed)
	st := x.s.Status()
	t.Logf("%d failovers of %d processes, SIGKILL to decided view: median %v (of which to the proven death %v), least %v, most %v; epoch %d, %+v",
		runs, n, took[runs/2], noticed[runs/2], took[0], took[runs-1], st.View.Epoch, st.Counts)
	if took[runs/2] > 500*time.Millisecond {
		t.Errorf("median %v: it waited for a lease", took[runs/2])
	}
	if g := x.s.Lease().Generation(); g != generation || !x.s.Lease().Valid() || st.Counts.LeasesLost != 0 {
		t.Errorf("the survivor lost its lease: %+v", st)
	}
}

// TestTwoProcessesAtOnce kills the node that would propose together with
// another.
func TestTwoProcessesAtOnce(t *testing.T) {
	const n = 5
	p := startProcesses(t, n, 0, 0)
	x := p.nodes[0]
	until(t, "all live", func() bool { return x.s.Current().Live == 0b11111 })
	begin := time.Now()
	p.kill(1)
	p.kill(2)
	until(t, "view without both", func() bool { return x.s.Current().Live == 0b11001 })
	t.Logf("two of five at once: %v, epoch %d", time.Since(begin), x.s.Current().Epoch)
	p.spawn(1)
	p.spawn(2)
	until(t, "both live again", func() bool { return x.s.Current().Live == 0b11111 })
}

// TestStoppedProcessLosesItsPlace: SIGSTOP proves nothing, the lease decides;
// the process is put out, and a later one of its node comes back.
func TestStoppedProcessLosesItsPlace(t *testing.T) {
	p := startProcesses(t, 3, 0, 400*time.Millisecond)
	x := p.nodes[0]
	until(t, "all live", func() bool { return x.s.Current().Live == 0b111 && x.s.Lease().Valid() })
	begin := time.Now()
	p.cmds[2].Process.Signal(unix.SIGSTOP)
	until(t, "view without it", func() bool { return x.s.Current().Live == 0b011 })
	took := time.Since(begin)
	if took < 280*time.Millisecond { // it stopped up to a quarter of a lease after it had asked
		t.Errorf("removed after %v, within its lease", took)
	}
	t.Logf("stopped process out after %v with a lease of 400 ms", took)
	p.kill(2)
	p.spawn(2)
	until(t, "back", func() bool { return x.s.Current().Live == 0b111 })
}

// TestLeasesLastUnderLoad: every process keeps all processors busy, far beyond
// what there are; with the default lease nobody loses it.
func TestLeasesLastUnderLoad(t *testing.T) {
	const n, load = 6, 4 * time.Second
	p := startProcesses(t, n, 1, 0)
	x := p.nodes[0]
	until(t, "all live", func() bool { return x.s.Current().Live == 1<<n-1 && x.s.Lease().Valid() })
	generation, epoch := x.s.Lease().Generation(), x.s.Current().Epoch
	least, looked := time.Duration(1<<62), 0
	for end := time.Now().Add(load); time.Now().Before(end); looked++ {
		least = min(least, x.s.Status().LeaseLeft)
		time.Sleep(time.Millisecond) // the load needs time to act
	}
	st := x.s.Status()
	if x.s.Lease().Generation() != generation || st.View.Epoch != epoch || !st.LeaseValid {
		t.Errorf("view or lease changed under load: %+v", st)
	}
	t.Logf("%v of load, looked %d times, at least %v of the lease left; %+v", load, looked, least, st.Counts)
}
