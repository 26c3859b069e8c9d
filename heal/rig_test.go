package heal

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/store"
	"healkv/rdma/sim"
)

const (
	rigSeed = 0x5eed
	rigTick = 10 * time.Microsecond
)

// rig is a group of lives on simulated time, network, control plane and view
// register, with pools of real files: one goroutine, one seed, one run. There
// is no failure detector: a test removes members from the view itself.
type rig struct {
	t     testing.TB
	seed  uint64
	rng   *rand.Rand
	sim   *flowsim.Sim
	net   *sim.Net
	dir   string
	view  proto.View
	log   []string // changes of the register and events of lives, in order
	nodes []*rigNode
	model proto.Model

	limits  Limits
	budget  int
	compare time.Duration     // Config.CompareEvery
	lease   time.Duration     // 0: lives know of none
	alive   proto.NodeSet     // of these nobody can tell that they are dead
	forget  proto.NodeSet     // the pools of these remember nothing of the others
	deaf    [2]proto.NodeID   // these two say no hello to each other, unless they are the same
	travel  time.Duration     // at most this long does a message of the control plane take; 0: a millisecond
	calls   map[string]int    // messages sent, by kind
	done    map[string]uint64 // key: the highest timestamp of a write that was answered
	spots   int               // looks at a key that found it readable and new enough
	on      func(n *rigNode, event string)
}

// rigNode is one node: at most one process at a time, one life after another
// in it.
type rigNode struct {
	r        *rig
	id       proto.NodeID
	p        *flowsim.Process
	handlers map[string]rigHandler
	host     *dataplane.Host
	self     proto.Member
	life     *Life
	running  func() proto.NodeSet
	noLink   func(m proto.Member, since int64)
	core     *dataplane.Core
	pool     *pmem.Pool
	end      *sim.Endpoint
	driven   *dataplane.Worker // gets rounds
	begun    bool
	doubtful string // Config.Doubtful of the lives to come
	lives    int
}

type rigHandler func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error)

type always struct{}

func (always) Valid() bool        { return true }
func (always) Generation() uint64 { return 1 }

func newRig(t testing.TB, nodes int, seed uint64) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "healkv-test-")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), done: map[string]uint64{}, calls: map[string]int{}, sim: flowsim.New(seed), dir: dir,
		net:    sim.New(sim.Options{Seed: seed, DelayMin: 1, DelayMax: 4, TickTime: rigTick, TearMarks: true}),
		limits: Limits{Batches: 2, BatchBytes: 4 << 10, FirstPageBytes: 64, PageBytes: 256, LastStepBytes: 2 << 10, WalkBytes: 4 << 10, WalkPause: 200 * time.Microsecond, Leftovers: 8}}
	t.Cleanup(func() {
		for _, n := range r.nodes {
			if n.p != nil {
				n.kill()
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, line := range r.log {
				t.Log(line)
			}
		}
	})
	var all proto.NodeSet
	for i := range nodes {
		n := &rigNode{r: r, id: proto.NodeID(i)}
		r.nodes = append(r.nodes, n)
		all = all.With(n.id)
		if err := pmem.Format(pmem.FormatOptions{Dir: n.dir(), IndexDir: n.dir(), Identity: n.identity(), SizeBytes: 14 << 20,
			MaxKeys: 4096, Domain: pmem.DomainMemory}); err != nil {
			t.Fatal(err)
		}
	}
	r.view = proto.View{Configured: all, Shards: 1}
	r.sim.At(rigTick, r.beat)
	return r
}

// beat moves the network on and gives about half of the workers that are awake
// a round.
func (r *rig) beat() {
	r.net.AdvanceTo(uint64(r.sim.Now() / int64(rigTick)))
	for _, n := range r.nodes {
		if n.driven == nil || n.end.Asleep() && !n.driven.Stopping() || r.rng.IntN(2) == 0 {
			continue
		}
		w := n.driven
		if !w.Round() {
			w.Halt()
			n.driven = nil
		}
		n.p.Run()
	}
	r.sim.At(2*rigTick, r.beat)
}

func (r *rig) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf("%v ", time.Duration(r.sim.Now()))+fmt.Sprintf(format, args...))
}

// boot starts all nodes with a first view in which all are live.
func (r *rig) boot() {
	r.t.Helper()
	for _, n := range r.nodes {
		n.start()
	}
	r.until("all lives begun", func() bool {
		for _, n := range r.nodes {
			if n.life == nil {
				return false
			}
		}
		return true
	})
	r.change(func(v *proto.View) error {
		*v = v.Next(v.Configured, 0)
		for _, n := range r.nodes {
			v.Incarnation[n.id] = n.self.Incarnation
		}
		return nil
	})
	r.until("all serve", func() bool { return r.serving() == len(r.nodes) })
}

func (r *rig) serving() (k int) {
	for _, n := range r.nodes {
		if n.core != nil && n.host.Core() == n.core && n.core.Serving() {
			k++
		}
	}
	return k
}

// until lets the simulation run until ok, at most 30 s of its time.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for limit := r.sim.Now() + int64(30*time.Second); !ok(); r.sim.Run(50 * time.Microsecond) {
		if r.sim.Now() > limit {
			r.t.Fatalf("seed %d: never: %s", r.seed, what)
		}
	}
}

// change is the register: compare and swap, then everybody hears of it some
// time later.
func (r *rig) change(f func(v *proto.View) error) (proto.View, error) {
	v := r.view
	if err := f(&v); err != nil {
		return r.view, err
	}
	if err := v.Validate(); err != nil || v.Epoch != r.view.Epoch+1 {
		r.t.Fatalf("view %+v over %+v: %v", v, r.view, err)
	}
	r.view = v
	r.note("view %d: live %v, shadow %v, lives %v", v.Epoch, v.Live, v.Shadow, v.Incarnation[:len(r.nodes)])
	for _, n := range r.nodes {
		r.sim.At(time.Duration(r.rng.IntN(int(2*time.Millisecond))), func() {
			if n.life != nil {
				n.life.SawView(v)
			}
			if n.p != nil {
				n.p.Run()
			}
		})
	}
	return v, nil
}

// remove takes a node out of the view, as failure detection does.
func (r *rig) remove(n *rigNode) {
	r.change(func(v *proto.View) error {
		*v = v.Next(v.Live.Without(n.id), v.Shadow.Without(n.id))
		return nil
	})
}

func (n *rigNode) dir() string { return filepath.Join(n.r.dir, fmt.Sprint(n.id)) }
func (n *rigNode) identity() pmem.Identity {
	return pmem.Identity{Node: uint8(n.id), Shards: 1, HashSeed: rigSeed}
}

// start begins a process.
func (n *rigNode) start() {
	n.p = n.r.sim.NewProcess(time.Duration(n.r.rng.IntN(int(time.Hour))), n.r.rng.IntN(200)-100)
	n.host = dataplane.NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, rigSeed) })
	n.handlers = map[string]rigHandler{}
	Serve(n, func() *Life { return n.life })
	n.p.Go(n.run)
}

// kill ends it, as SIGKILL does: what was written to the pool stays.
func (n *rigNode) kill() {
	n.r.note("node %d killed", n.id)
	n.p.Kill()
	if n.end != nil {
		n.r.net.Kill(int(n.id), uint32(n.self.Incarnation))
	}
	if n.pool != nil {
		if err := n.pool.Close(false); err != nil {
			n.r.t.Error(err)
		}
	}
	n.p, n.life, n.core, n.pool, n.end, n.driven = nil, nil, nil, nil, nil, nil
}

// run is healkv.Node's: one life after the other.
func (n *rigNode) run() {
	for full := ""; ; {
		err := n.live(full)
		var f *Fenced
		if !errors.As(err, &f) {
			n.r.t.Errorf("seed %d: node %d: %v", n.r.seed, n.id, err)
			return
		}
		n.r.note("node %d fenced: %s, full %v", n.id, f.Why, f.Full)
		if full = ""; f.Full {
			full = f.Why
		}
		n.p.Wait(50 * time.Millisecond)
	}
}

func (n *rigNode) live(full string) (err error) {
	r := n.r
	if n.pool, err = pmem.Open(pmem.OpenOptions{Dir: n.dir(), IndexDir: n.dir(), Identity: n.identity(), Domain: pmem.DomainMemory}); err != nil {
		return err
	}
	r.view.Issued[n.id]++
	n.self = proto.Member{Node: n.id, Incarnation: r.view.Issued[n.id]}
	if n.end, err = r.net.Endpoint(sim.Config{Node: int(n.id), Nodes: len(r.nodes), Incarnation: uint32(n.self.Incarnation)}); err != nil {
		return err
	}
	_, base := n.pool.Exposed()
	n.end.Expose(n.pool.Region().Bytes()[base:])
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := dataplane.NewWorker(dataplane.WorkerConfig{Nodes: len(r.nodes), Pool: n.pool, Endpoint: n.end, Model: r.model, Lease: always{}, Logger: log,
		OnFailure: func(_ int, err error) { r.t.Errorf("seed %d: node %d: %v", r.seed, n.id, err) },
		Env:       n.p, Limits: dataplane.Limits{Ops: 64, ClientBurst: 4, StreamBurst: 1 << 10, ForwardBurst: 2, AdoptBurst: 3}})
	n.core = dataplane.NewCore([]*dataplane.Worker{w}, always{})
	c := Config{Self: n.self, Configured: r.view.Configured, Core: n.core, Register: n, Control: n, Full: full, Logger: log, Env: n.p, Limits: r.limits, Budget: r.budget, Lease: r.lease,
		ProvenDead: func(m proto.Member) bool {
			x := r.nodes[m.Node]
			return !r.alive.Has(m.Node) && x.p == nil || x.self.Incarnation > m.Incarnation
		},
		Event: func(name string, e proto.Epoch, detail string) {
			r.note("node %d: %s %d %s", n.id, name, e, detail)
			if r.on != nil {
				r.sim.At(0, func() {
					if r.on != nil {
						r.on(n, name)
					}
				})
			}
			if name == "view_installed" && r.view.Live.Has(n.id) {
				r.look(n)
			}
		},
		Enter: func(full bool) error {
			n.begun = true
			if full && r.view.Live.Has(n.id) {
				r.t.Errorf("seed %d: node %d discards its records while view %d counts on them", r.seed, n.id, r.view.Epoch)
			}
			r.note("node %d enters, full %v", n.id, full)
			if err := w.Open(n.self, full); err != nil {
				return err
			}
			n.driven = w
			n.host.SetCore(n.core)
			return nil
		},
		Promoted: func() error { return n.core.Complete(n.life.Installed().Epoch) },
	}
	c.Running, c.NoLink = n.running, n.noLink
	c.Doubtful, c.CompareEvery = n.doubtful, r.compare
	c.Opened([]*pmem.Pool{n.pool}, &r.view, n.begun)
	if r.forget.Has(n.id) {
		clear(c.Seen)
	}
	n.life = New(c)
	n.lives++
	n.life.SawView(r.view)
	err = n.life.Run(context.Background())
	// Not deferred: a killed process does none of this.
	n.life = nil
	if n.host.Core() == n.core {
		n.host.SetCore(nil)
		n.core.Stop()
	}
	n.core = nil
	errs := errors.Join(n.end.Close(), n.pool.Close(false))
	n.end, n.pool = nil, nil
	if errs != nil {
		return errs
	}
	return err
}

// Handle, Call: the control plane.
func (n *rigNode) Handle(kind string, h func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error)) {
	n.handlers[kind] = h
}

var errRigCall = errors.New("no answer")

func (n *rigNode) Call(ctx context.Context, to proto.NodeID, kind string, req, resp any) error {
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	travel := int(cmp.Or(n.r.travel, time.Millisecond))
	n.r.calls[kind]++
	n.p.Wait(time.Duration(n.r.rng.IntN(travel)), ctx.Done())
	x := n.r.nodes[to]
	if d := n.r.deaf; x.p == nil || ctx.Err() != nil || kind == kindHello && d[0] != d[1] && (d == [2]proto.NodeID{n.id, to} || d == [2]proto.NodeID{to, n.id}) {
		return errors.Join(errRigCall, ctx.Err())
	}
	done := make(chan struct{})
	var answer any
	from := n.self
	x.p.Go(func() {
		ctx, cancel := x.p.Timeout(context.Background(), 2*time.Second)
		defer cancel()
		answer, err = x.handlers[kind](ctx, from, body)
		close(done)
		// The caller is another process: nobody else makes it look.
		n.r.sim.At(time.Duration(n.r.rng.IntN(travel)), func() {
			if n.p != nil {
				n.p.Run()
			}
		})
	})
	if n.p.Wait(3*time.Second, done, ctx.Done()) != 0 {
		return errors.Join(errRigCall, ctx.Err())
	}
	if err != nil || resp == nil {
		return err
	}
	if body, err = json.Marshal(answer); err != nil {
		return err
	}
	return json.Unmarshal(body, resp)
}

// Current, Update: the view register.
func (n *rigNode) Current() proto.View { return n.r.view }

func (n *rigNode) Update(ctx context.Context, f func(v *proto.View) error) (proto.View, error) {
	n.p.Wait(time.Duration(n.r.rng.IntN(int(time.Millisecond))), ctx.Done())
	if ctx.Err() != nil {
		return n.r.view, ctx.Err()
	}
	return n.r.change(f)
}

// writer overwrites keys through a node, one operation at a time, each value
// with a number of its own; it goes on until stopped, across lives.
type writer struct {
	n       *rigNode
	s       *dataplane.Session
	p       *flowsim.Process
	first   int // keys from here
	keys    int
	size    int
	stop    bool
	done    int
	op      dataplane.Op
	polled  [1]*dataplane.Op
	pending bool
}

func (n *rigNode) writer(first, keys, size int) *writer {
	return &writer{n: n, first: first, keys: keys, size: size, s: n.host.NewSession(), p: n.p}
}

func (n *rigNode) writes(first, keys, size int) *writer {
	c := n.writer(first, keys, size)
	c.step()
	return c
}

func (c *writer) step() {
	if c.p.Dead() {
		return
	}
	if c.pending && c.s.Poll(c.polled[:]) == 1 {
		c.pending = false
		if c.op.Err == nil {
			c.done++
			key := string(c.op.Key)
			c.n.r.done[key] = max(c.n.r.done[key], uint64(c.op.TS))
		}
	}
	if !c.pending {
		if c.stop {
			return
		}
		value := make([]byte, c.size)
		binary.LittleEndian.PutUint64(value, uint64(c.done))
		c.op = dataplane.Op{Kind: dataplane.OpPut, Key: fmt.Append(nil, "key-", c.first+c.n.r.rng.IntN(c.keys)), Value: value}
		if err := c.s.Submit(&c.op); err != nil {
			c.n.r.t.Fatal(err)
		}
		c.pending = true
	}
	c.n.r.sim.At(time.Duration(1+c.n.r.rng.IntN(200))*time.Microsecond, c.step)
}

// write does so until count operations are done, and waits for the last.
func (r *rig) write(n *rigNode, count, keys, size int) *writer {
	r.t.Helper()
	c := n.writes(0, keys, size)
	r.until("writes", func() bool { return c.done >= count })
	r.finish(c)
	return c
}

func (r *rig) finish(c *writer) {
	r.t.Helper()
	c.stop = true
	r.until("the last write", func() bool { return !c.pending })
}

// look requires of a serving node that what it lets be read is not older than
// what was answered.
func (r *rig) look(n *rigNode) {
	r.t.Helper()
	if n.core == nil || !n.core.Serving() {
		return
	}
	reader := n.pool.Store().NewReader()
	defer reader.Close()
	for key, ts := range r.done {
		_, got, st := reader.Get(xxh3.HashSeed([]byte(key), rigSeed), []byte(key), nil)
		if st != store.Locked && st != store.Damaged {
			r.spots++
			if got < ts {
				r.t.Errorf("seed %d: node %d serves %s of %#x (state %v), a write of %#x was answered", r.seed, n.id, key, got, st, ts)
			}
		}
	}
}

// same requires that all nodes hold the same for every key, and returns how
// many there are.
func (r *rig) same(keys int) (held int) {
	r.t.Helper()
	type found struct {
		value []byte
		ts    uint64
		st    store.State
	}
	r.until("everything settles", func() bool {
		for _, n := range r.nodes {
			if w := n.core.Workers()[0].Replica(); w.Outstanding() > 0 || w.ForwardPending() > 0 || n.locked(keys) > 0 {
				return false
			}
		}
		return true
	})
	for _, n := range r.nodes {
		r.look(n)
	}
	for k := range keys {
		key := fmt.Append(nil, "key-", k)
		var first found
		for i, n := range r.nodes {
			reader := n.pool.Store().NewReader()
			var f found
			f.value, f.ts, f.st = reader.Get(xxh3.HashSeed(key, rigSeed), key, nil)
			reader.Close()
			if i == 0 {
				if first = f; f.st == store.Found {
					held++
				}
				continue
			}
			if f.ts != first.ts || f.st != first.st || !bytes.Equal(f.value, first.value) {
				r.t.Errorf("seed %d: %s at node %d: state %v, ts %#x; node 0: state %v, ts %#x", r.seed, key, i, f.st, f.ts, first.st, first.ts)
			}
		}
	}
	return held
}

// locked counts keys that cannot be read at the node.
func (n *rigNode) locked(keys int) (locked int) {
	reader := n.pool.Store().NewReader()
	defer reader.Close()
	for k := range keys {
		key := fmt.Append(nil, "key-", k)
		if _, _, st := reader.Get(xxh3.HashSeed(key, rigSeed), key, nil); st == store.Locked {
			locked++
		}
	}
	return locked
}

// find gives the number of the first note at or after from that has the words.
func (r *rig) find(from int, words string) int {
	for i := from; i < len(r.log); i++ {
		if bytes.Contains([]byte(r.log[i]), []byte(words)) {
			return i
		}
	}
	return -1
}
