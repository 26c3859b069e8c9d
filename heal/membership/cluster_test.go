package membership

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/control"
)

const testCluster = "0123456789abcdef0123456789abcdef"

// cluster is a group of services in one process, with a stand-in for the
// liveness locks.
type cluster struct {
	t     testing.TB
	dir   string
	n     int
	lease time.Duration
	model proto.Model
	nodes []*node
	// Instead of the stand-in, and beside the notes, if set.
	provenDead func(proto.Member) (bool, error)
	hosts      bool // every node has its own: nothing proves a death
	told       func(proto.View)
	noticed    func(proto.NodeID)

	mu   sync.Mutex
	dead map[proto.Member]bool
}

type node struct {
	c        *cluster
	id       proto.NodeID
	ctl      *control.Server
	s        *Service
	member   proto.Member
	stuck    atomic.Bool // its shards do not move
	mu       sync.Mutex
	views    []proto.View
	suspects []string
}

func newCluster(t testing.TB, n int, lease time.Duration) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), n: n, lease: lease, dead: map[proto.Member]bool{}, nodes: make([]*node, n)}
	if err := os.Mkdir(c.run(), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := FormatState(c.state(i), testCluster, proto.NodeID(i), true); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *cluster) run() string            { return filepath.Join(c.dir, "r") }
func (c *cluster) state(i int) string     { return filepath.Join(c.dir, fmt.Sprint("s", i)) }
func (c *cluster) nodeset() proto.NodeSet { return 1<<c.n - 1 }

// testLog is no log unless the environment asks for one.
func testLog(i int) *slog.Logger {
	if os.Getenv("MEMBERSHIP_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", i)
}

func (c *cluster) config(i int, ctl *control.Server) Config {
	return Config{
		Node: proto.NodeID(i), Configured: c.nodeset(), ClusterID: testCluster, StateDir: c.state(i), Ephemeral: true,
		Initial: proto.View{Model: c.model, Shards: 2}, Lease: c.lease, RoundsAway: RoundsAway, Control: ctl,
		ProvenDead: func(m proto.Member) (bool, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.dead[m], nil
		},
	}
}

func (c *cluster) start(i int) *node {
	c.t.Helper()
	x := c.listen(i)
	x.s.Start()
	return x
}

// listen makes a node that can be asked and can ask, and does not take part yet.
func (c *cluster) listen(i int) *node {
	c.t.Helper()
	ctl, err := control.New(control.Config{RunDir: c.run(), ClusterID: testCluster, Node: proto.NodeID(i), Configured: c.nodeset()})
	if err != nil {
		c.t.Fatal(err)
	}
	x := &node{c: c, id: proto.NodeID(i), ctl: ctl}
	cfg := c.config(i, ctl)
	cfg.Progress = func() bool { return !x.stuck.Load() }
	if c.provenDead != nil {
		cfg.ProvenDead = c.provenDead
	}
	if c.hosts {
		cfg.ProvenDead = nil
	}
	cfg.OnView = func(v proto.View) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.views = append(x.views, v)
		if f := c.told; f != nil {
			f(v)
		}
	}
	cfg.OnSuspect = func(n proto.NodeID, why string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.suspects = append(x.suspects, fmt.Sprint(n, ": ", why))
		if f := c.noticed; f != nil {
			f(n)
		}
	}
	cfg.Logger = testLog(i)
	if x.s, err = New(cfg); err != nil {
		c.t.Fatal(err)
	}
	if err := ctl.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i] = x
	c.t.Cleanup(x.stop)
	return x
}

// stop ends a node's services; what others may conclude is up to die.
func (x *node) stop() {
	x.s.Close()
	x.ctl.Close()
}

// die is what the kernel does with a killed process: the connections end and
// the liveness lock is free.
func (x *node) die() {
	x.s.Close()
	x.c.mu.Lock()
	x.c.dead[x.member] = true
	x.c.mu.Unlock()
	x.ctl.Close()
}

func (x *node) incarnate() proto.Member {
	x.c.t.Helper()
	inc, err := x.s.NextIncarnation(patience(x.c.t))
	if err != nil {
		x.c.t.Fatal(err)
	}
	x.member = proto.Member{Node: x.id, Incarnation: inc}
	x.s.SetMember(x.member)
	return x.member
}

func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// up starts all nodes and makes the first view.
func up(t testing.TB, n int, lease time.Duration) *cluster {
	t.Helper()
	c := newCluster(t, n, lease)
	c.bringUp()
	return c
}

// bringUp starts all nodes and makes the first view.
func (c *cluster) bringUp() {
	t := c.t
	t.Helper()
	for i := range c.n {
		c.start(i)
	}
	var wg sync.WaitGroup
	for _, x := range c.nodes {
		wg.Go(func() {
			inc, err := x.s.NextIncarnation(patience(t))
			if err != nil {
				t.Error(err)
				return
			}
			x.member = proto.Member{Node: x.id, Incarnation: inc}
			x.s.SetMember(x.member)
			if v, err := x.s.Bootstrap(patience(t)); err != nil || v.Epoch != 1 || v.Live != c.nodeset() {
				t.Errorf("bootstrap of %d: %+v, %v", x.id, v, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	c.serving(c.nodeset())
}

// serving waits until all of set hold a lease in one view of exactly them.
func (c *cluster) serving(set proto.NodeSet) {
	c.t.Helper()
	for _, i := range set.Nodes(nil) {
		x := c.nodes[i]
		until(c.t, fmt.Sprintf("node %d serves with %v", i, set.Nodes(nil)), func() bool {
			v := x.s.Current()
			return v.Live == set && v.Shadow == 0 && x.s.Lease().Valid()
		})
	}
}

// agree checks that all views anybody was told are the same per epoch and
// came in order.
func (c *cluster) agree() int {
	c.t.Helper()
	seen, n := map[proto.Epoch]proto.View{}, 0
	for _, x := range c.nodes {
		x.mu.Lock()
		last := proto.Epoch(0)
		for _, v := range x.views {
			if v.Epoch <= last {
				c.t.Errorf("node %d was told epoch %d after %d", x.id, v.Epoch, last)
			}
			last = v.Epoch
			v.Issued = [proto.NodesMax]proto.Incarnation{} // changes within an epoch
			if o, ok := seen[v.Epoch]; ok && o != v {
				c.t.Errorf("two views of epoch %d: %+v and %+v", v.Epoch, o, v)
			}
			seen[v.Epoch] = v
			n++
		}
		x.mu.Unlock()
	}
	return n
}
