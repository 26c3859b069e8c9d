package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma"
	"healkv/rdma/shm"
)

const rigSeed = 0x5eed

// rig is a group of nodes in one process, all of it on the Go heap, so that
// the race detector sees rings, logs and indexes. There is no control plane:
// tests install views.
type rig struct {
	t     testing.TB
	dir   *shm.Dir
	view  proto.View
	nodes []*rigNode
	logs  *logBook
}

type rigNode struct {
	id      proto.NodeID
	lease   rigLease
	workers []*Worker
	eps     []*shm.Endpoint
	pools   []*pmem.Pool
	core    *Core
	host    *Host
	failed  atomic.Pointer[error]
	stopped bool
}

// rigLease holds until told otherwise.
type rigLease struct {
	gone       atomic.Bool
	generation atomic.Uint64
}

func (l *rigLease) Valid() bool        { return !l.gone.Load() }
func (l *rigLease) Generation() uint64 { return l.generation.Load() }

// logBook fails no test by itself: faults are asked for.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

type rigOptions struct {
	nodes, shards int
	model         proto.Model
	spin          int
	ringBytes     int
	poolBytes     int64
	maxKeys       [3]uint64 // by node; 0: the pool's default
	driven        bool      // the test calls Turn, and Halt at the end; no goroutines
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	o.nodes, o.shards = max(1, o.nodes), max(1, o.shards)
	if o.ringBytes == 0 {
		o.ringBytes = 1 << 20
	}
	if o.poolBytes == 0 {
		o.poolBytes = 24 << 20
	}
	r := &rig{t: t, dir: shm.Heap(), logs: new(logBook)}
	r.view = proto.View{Epoch: 1, Model: o.model, Shards: uint8(o.shards)}
	logger := slog.New(slog.NewTextHandler(r.logs, nil))
	for i := range o.nodes {
		n := &rigNode{id: proto.NodeID(i)}
		r.nodes = append(r.nodes, n)
		self := proto.Member{Node: n.id, Incarnation: 1}
		r.view.Configured, r.view.Live = r.view.Configured.With(n.id), r.view.Live.With(n.id)
		r.view.Incarnation[i], r.view.Issued[i] = 1, 1
		for s := range o.shards {
			p, err := pmem.NewHeapPool(pmem.FormatOptions{SizeBytes: o.poolBytes, SegmentBytes: 2 << 20, MaxKeys: o.maxKeys[i%3],
				Identity: pmem.Identity{Node: uint8(i), Shard: uint8(s), Shards: uint8(o.shards), HashSeed: rigSeed}})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Begin(1); err != nil {
				t.Fatal(err)
			}
			ep, err := shm.New(shm.Config{Dir: r.dir, Node: i, Nodes: o.nodes, Shard: s, Incarnation: 1, RingBytes: o.ringBytes})
			if err != nil {
				t.Fatal(err)
			}
			w := NewWorker(WorkerConfig{Shard: s, Nodes: o.nodes, Pool: p, Endpoint: ep, Model: o.model, Lease: &n.lease, SpinTurns: o.spin,
				OnFailure: func(_ int, err error) { n.failed.CompareAndSwap(nil, &err) }, Logger: logger})
			if err := w.Begin(self, nil); err != nil {
				t.Fatal(err)
			}
			n.workers, n.eps, n.pools = append(n.workers, w), append(n.eps, ep), append(n.pools, p)
		}
		n.core = NewCore(n.workers, &n.lease)
		n.host = NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, rigSeed) })
		n.host.SetCore(n.core)
	}
	if o.driven {
		r.turnUntil(func() {
			for _, n := range r.nodes {
				r.install(n, &r.view)
			}
		})
		t.Cleanup(func() { r.turnUntil(r.close) })
	} else {
		for _, n := range r.nodes {
			for _, w := range n.workers {
				w.Start()
			}
		}
		for _, n := range r.nodes {
			r.install(n, &r.view)
		}
		t.Cleanup(r.close)
	}
	for _, n := range r.nodes {
		n.core.SetServing(true)
	}
	return r
}

// turnUntil gives driven workers turns until fn, which waits for them, is over.
func (r *rig) turnUntil(fn func()) {
	over := make(chan struct{})
	go func() { defer close(over); fn() }()
	for {
		for _, n := range r.nodes {
			for _, w := range n.workers {
				if w.Stopping() {
					select {
					case <-w.stopped:
					default:
						w.Halt()
					}
				}
				w.Turn()
			}
		}
		select {
		case <-over:
			return
		default:
			runtime.Gosched()
		}
	}
}

// install brings a view to all shards of a node.
func (r *rig) install(n *rigNode, v *proto.View) {
	r.t.Helper()
	for s, w := range n.workers {
		var links Links
		var old proto.View
		if !w.Do(func() { old = *w.rep.View() }) {
			r.t.Fatal("the worker has ended")
		}
		for _, m := range v.Members().Without(n.id).Nodes(nil) {
			if old.Has(v.Member(m)) {
				continue
			}
			l, err := n.eps[s].Prepare(int(m), uint32(v.Incarnation[m]))
			if err != nil {
				r.t.Fatal(err)
			}
			links[m] = l
		}
		var gone []rdma.Link
		w.Do(func() { gone = w.InstallView(v, &links) })
		for _, l := range gone {
			l.Close()
		}
	}
}

func (n *rigNode) stop() {
	if !n.stopped {
		n.stopped = true
		n.core.Stop()
	}
}

func (r *rig) close() {
	for _, n := range r.nodes {
		n.stop()
	}
	for _, n := range r.nodes {
		for i, ep := range n.eps {
			ep.Close()
			if err := n.pools[i].Close(false); err != nil {
				r.t.Error(err)
			}
		}
	}
	if text := r.logs.text.String(); strings.Contains(text, "refused") {
		r.t.Errorf("a stream was refused:\n%s", text)
	}
}

// freeze stops a node's workers inside a letter until the returned function is
// called: a node that is there but does nothing.
func (n *rigNode) freeze() (thaw func()) {
	release := make(chan struct{})
	for _, w := range n.workers {
		in := make(chan struct{})
		go w.Do(func() { close(in); <-release })
		<-in
	}
	return sync.OnceFunc(func() { close(release) })
}

// counters adds up a node's.
func (n *rigNode) counters() (c WorkerCounters) {
	for _, w := range n.workers {
		w.Do(func() {
			c.Sleeps += w.Counters.Sleeps
			c.RingFullTurns += w.Counters.RingFullTurns
			c.NoRoom += w.Counters.NoRoom
			c.Unknown += w.Counters.Unknown
			c.Reads += w.Counters.Reads
		})
	}
	return c
}

// stamped values say who wrote them and as what; any length from 16 on.
func stamped(dst []byte, who, number, length int) []byte {
	dst = dst[:length]
	binary.LittleEndian.PutUint64(dst, uint64(who))
	binary.LittleEndian.PutUint64(dst[8:], uint64(number))
	for i := 16; i < length; i++ {
		dst[i] = byte(who*31 + number + i)
	}
	return dst
}

func checkStamped(v []byte) error {
	if len(v) < 16 {
		return fmt.Errorf("value of %d bytes", len(v))
	}
	who, number := int(binary.LittleEndian.Uint64(v)), int(binary.LittleEndian.Uint64(v[8:]))
	for i := 16; i < len(v); i++ {
		if v[i] != byte(who*31+number+i) {
			return fmt.Errorf("value %d of writer %d is torn at byte %d", number, who, i)
		}
	}
	return nil
}

// outcome sorts an operation's error into the three the client is promised.
func outcome(err error) string {
	switch {
	case err == nil, errors.Is(err, ErrNotFound):
		return "done"
	case errors.Is(err, ErrUnknown):
		return "unknown"
	case errors.Is(err, ErrTryAgain), errors.Is(err, ErrOverload), errors.Is(err, ErrNoRoom), errors.Is(err, ErrDeadline), errors.Is(err, ErrScope):
		return "rejected"
	}
	return "?" + err.Error()
}

// collect polls until n operations came back, each given to f.
func collect(t testing.TB, s *Session, n int, f func(*Op)) {
	t.Helper()
	var done [64]*Op
	limit := time.Now().Add(time.Minute)
	for n > 0 {
		got := s.Poll(done[:min(n, 64)])
		for _, op := range done[:got] {
			f(op)
		}
		if n -= got; n > 0 && got == 0 && !s.Wait(time.Second) && time.Now().After(limit) {
			t.Fatalf("%d operations do not come back, %d outstanding", n, s.Outstanding())
		}
	}
}
