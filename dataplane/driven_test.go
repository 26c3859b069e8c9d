package dataplane

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma"
	"healkv/rdma/sim"
)

// driven is a group of workers without goroutines, on simulated time.
type driven struct {
	t     *testing.T
	rng   *rand.Rand
	sim   *flowsim.Sim
	net   *sim.Net
	nodes []*drivenNode
}

type drivenNode struct {
	p      *flowsim.Process
	w      *Worker
	end    *sim.Endpoint
	lease  rigLease
	core   *Core
	host   *Host
	frozen bool
	halted bool
	given  int // times it gave a peer's stream up
}

const drivenTick = 10 * time.Microsecond

// newDriven makes two nodes of one shard, both live in view 1.
func newDriven(t *testing.T, seed uint64, limits Limits) *driven {
	t.Helper()
	d := &driven{t: t, rng: rand.New(rand.NewPCG(seed, 2)), sim: flowsim.New(seed),
		net: sim.New(sim.Options{Seed: seed, DelayMin: 1, DelayMax: 5, TickTime: drivenTick})}
	view := proto.View{Epoch: 1, Shards: 1}
	for i := range proto.NodeID(2) {
		view.Configured, view.Live = view.Configured.With(i), view.Live.With(i)
		view.Incarnation[i] = 1
		pool, err := pmem.NewHeapPool(pmem.FormatOptions{SizeBytes: 14 << 20, Identity: pmem.Identity{Node: uint8(i), Shards: 1, HashSeed: rigSeed}, MaxKeys: 1 << 12})
		if err != nil {
			t.Fatal(err)
		}
		n := &drivenNode{p: d.sim.NewProcess(time.Duration(i)*time.Hour, int(i)*100)}
		if n.end, err = d.net.Endpoint(sim.Config{Node: int(i), Nodes: 2, Incarnation: 1}); err != nil {
			t.Fatal(err)
		}
		n.w = NewWorker(WorkerConfig{Nodes: 2, Pool: pool, Endpoint: n.end, Lease: &n.lease, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Env: n.p, Limits: limits, OnFailure: func(_ int, err error) { t.Error(err) },
			OnRefused: func(_ int, peer proto.Member, err error) {
				if n.given++; peer.Node != 1-i || err == nil {
					t.Errorf("node %d gave up %v: %v", i, peer, err)
				}
			}})
		if err := n.w.Open(proto.Member{Node: i, Incarnation: 1}, false); err != nil {
			t.Fatal(err)
		}
		n.core = NewCore([]*Worker{n.w}, &n.lease)
		n.host = NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, rigSeed) })
		n.host.SetCore(n.core)
		d.nodes = append(d.nodes, n)
	}
	d.sim.At(drivenTick, d.beat)
	installed := 0
	for i, n := range d.nodes {
		n.p.Go(func() {
			var links Links
			x := 1 - i
			link, err := n.end.Prepare(x, 1)
			if err != nil {
				t.Error(err)
			}
			links[x] = link
			var gone []rdma.Link
			if !n.w.Do(func() { gone = n.w.InstallView(&view, &links) }) || len(gone) > 0 {
				t.Errorf("node %d: not installed, or %d links gone", i, len(gone))
			}
			n.core.SetServing(true)
			installed++
		})
	}
	d.until("views", func() bool { return installed == 2 })
	return d
}

// beat moves the network and gives workers their rounds.
func (d *driven) beat() {
	d.net.AdvanceTo(uint64(d.sim.Now() / int64(drivenTick)))
	for _, n := range d.nodes {
		if n.frozen || n.halted || n.end.Asleep() && !n.w.Stopping() || d.rng.IntN(3) == 0 {
			continue
		}
		if !n.w.Round() {
			n.w.Halt()
			n.halted = true
		}
		n.p.Run()
	}
	d.sim.At(drivenTick, d.beat)
}

func (d *driven) until(what string, ok func() bool) {
	d.t.Helper()
	for limit := d.sim.Now() + int64(time.Minute); !ok(); {
		if d.sim.Now() > limit || !d.sim.Step() {
			d.t.Fatalf("never: %s", what)
		}
	}
}

// settle makes one write through each node: everybody has been promised room
// for more.
func (d *driven) settle() {
	d.t.Helper()
	for i, n := range d.nodes {
		s := n.host.NewSession()
		op := Op{Kind: OpPut, Key: fmt.Append(nil, "first-", i), Value: []byte("value")}
		if err := s.Submit(&op); err != nil {
			d.t.Fatal(err)
		}
		var done [1]*Op
		d.until("the first write", func() bool { return s.Poll(done[:]) == 1 })
		if op.Err != nil {
			d.t.Fatal(op.Err)
		}
		s.Close()
	}
}

// A worker that is driven, with limits so small that everything takes many
// turns, answers asynchronous sessions as one on a thread does.
func TestDrivenWorker(t *testing.T) {
	d := newDriven(t, 1, Limits{Ops: 8, ClientBurst: 1, StreamBurst: 200, ForwardBurst: 1, CleanBurst: 1 << 10})
	const each = 200
	total, overload := 0, 0
	for i, n := range d.nodes {
		s := n.host.NewSession()
		var ops [20]Op
		free := make([]*Op, 0, len(ops))
		for k := range ops {
			free = append(free, &ops[k])
		}
		var polled [4]*Op
		begun, done := 0, 0
		d.until("operations", func() bool {
			for begun < each && len(free) > 0 {
				op := free[len(free)-1]
				free = free[:len(free)-1]
				*op = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", begun%7), Value: stamped(make([]byte, 64), i, begun, 64)}
				if begun%3 == 0 {
					op.Kind = OpGet
				}
				if err := s.Submit(op); err != nil {
					t.Fatal(err)
				}
				begun++
			}
			for _, op := range polled[:s.Poll(polled[:])] {
				switch {
				case errors.Is(op.Err, ErrOverload):
					overload++
				case op.Err != nil && !errors.Is(op.Err, ErrNotFound):
					t.Fatalf("operation %+v", op)
				case op.Kind == OpGet && op.Err == nil && checkStamped(op.Value) != nil:
					t.Fatal(checkStamped(op.Value))
				}
				free = append(free, op)
				done++
				total++
			}
			return done == each
		})
		s.Close()
	}
	for i, n := range d.nodes {
		if n.w.Counters.Sleeps == 0 {
			t.Errorf("worker %d never slept", i)
		}
	}
	if overload == 0 {
		t.Error("8 slots were enough for 20 operations")
	}
	t.Logf("%d operations, %d of them overload", total, overload)
}

// Deadlines are on the worker's clock, and pass while nothing really waits.
func TestDrivenDeadline(t *testing.T) {
	d := newDriven(t, 2, Limits{})
	a, b := d.nodes[0], d.nodes[1]
	s := a.host.NewSession()
	s.SetTimeout(500 * time.Millisecond)
	d.settle()
	b.frozen = true
	op := Op{Kind: OpPut, Key: []byte("key"), Value: []byte("value")}
	begun := a.p.Now()
	if err := s.Submit(&op); err != nil {
		t.Fatal(err)
	}
	var done [1]*Op
	d.until("the deadline", func() bool { return s.Poll(done[:]) == 1 })
	if took := time.Duration(a.p.Now() - begun); !errors.Is(op.Err, ErrUnknown) || took < 500*time.Millisecond || took > time.Second {
		t.Errorf("%v after %v", op.Err, took)
	}
	s.Close()
}

// Stop waits, in a task, for whoever drives the workers; what was under way is
// answered, and Do refuses.
func TestDrivenStop(t *testing.T) {
	d := newDriven(t, 3, Limits{})
	a, b := d.nodes[0], d.nodes[1]
	d.settle()
	s := a.host.NewSession()
	b.frozen = true
	ops := make([]Op, 10)
	for i := range ops {
		ops[i] = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", i), Value: []byte("value")}
		if err := s.Submit(&ops[i]); err != nil {
			t.Fatal(err)
		}
		if i == 5 { // the worker has these, the others stay in the lane
			s.Kick()
			d.until("half of them", func() bool { return a.w.Replica().Outstanding() == 6 })
		}
	}
	var order []string
	a.p.Go(func() {
		a.core.Stop()
		order = append(order, "stopped")
		if a.w.Do(func() { t.Error("ran after the end") }) {
			t.Error("Do after the end")
		}
		order = append(order, "refused")
	})
	d.until("the end", func() bool { return len(order) == 2 })
	if !a.halted || a.w.Turn() || a.w.Round() {
		t.Error("a stopped worker goes on")
	}
	var done [16]*Op
	unknown, rejected := 0, 0
	for _, op := range done[:s.Poll(done[:])] {
		switch outcome(op.Err) {
		case "unknown":
			unknown++
		case "rejected":
			rejected++
		default:
			t.Errorf("%s: %v", op.Key, op.Err)
		}
	}
	if unknown != 6 || rejected != 4 || s.Outstanding() != 0 {
		t.Errorf("%d unknown, %d rejected, %d outstanding", unknown, rejected, s.Outstanding())
	}
	s.Close()
	// A task that waits in Do when its process dies goes with it.
	waited := false
	b.p.Go(func() {
		defer func() { waited = true }()
		b.w.Do(func() {})
		t.Error("a frozen worker answered")
	})
	b.p.Run()
	b.p.Kill()
	if !waited || b.p.Tasks() != 0 {
		t.Errorf("unwound %v, %d tasks left", waited, b.p.Tasks())
	}
}

// A stream whose bytes stay damaged here would stop its owner's writes for as
// long as this life is a member: after some looks, not at the first, it is given
// up (H29).
func TestBrokenStreamIsGivenUp(t *testing.T) {
	d := newDriven(t, 3, Limits{})
	d.settle()
	a, b := d.nodes[0], d.nodes[1]
	s := a.host.NewSession()
	s.SetTimeout(time.Hour) // the operation stays under way, with the session
	op := Op{Kind: OpPut, Key: []byte("key"), Value: make([]byte, 512)}
	d.net.Corrupt(0, 1)
	if err := s.Submit(&op); err != nil {
		t.Fatal(err)
	}
	s.Kick()
	d.until("given up", func() bool { return b.given > 0 })
	if looks := b.w.Counters.StreamFaults; looks != faultsMax || a.given != 0 {
		t.Errorf("given up after %d looks, want %d; the other one gave up %d times", looks, faultsMax, a.given)
	}
}
