package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// client drives one session with a window of operations on few keys and checks
// what the API promises: every operation comes back exactly once, with one of
// the three outcomes; what a session does on one key takes effect in the order
// of Submit, so timestamps never step back along it; values are whole.
type client struct {
	t        testing.TB
	s        *Session
	who      int
	rand     *rand.Rand
	slots    []clientOp
	free     []int
	order    map[string][]int // submitted on the key and not yet judged, oldest first
	highest  map[string]proto.TS
	outcomes map[string]int
	gets     int
}

type clientOp struct {
	op    Op
	key   string
	out   bool // submitted, not come back
	known bool // came back; waits for its turn to be judged
	buf   []byte
}

func newClient(t testing.TB, h *Host, who, window int) *client {
	c := &client{t: t, s: h.NewSession(), who: who, rand: rand.New(rand.NewPCG(uint64(who), 11)), slots: make([]clientOp, window),
		order: map[string][]int{}, highest: map[string]proto.TS{}, outcomes: map[string]int{}}
	for i := range c.slots {
		c.slots[i].buf = make([]byte, 512)
		c.free = append(c.free, i)
	}
	return c
}

// submit sends one random operation; false if the session refused it.
func (c *client) submit(number int) bool {
	i := c.free[len(c.free)-1]
	s := &c.slots[i]
	s.key = fmt.Sprint("key-", c.rand.IntN(7))
	s.op = Op{Key: []byte(s.key), Tag: uint64(i)}
	switch k := c.rand.IntN(10); {
	case k < 5:
		s.op.Kind, s.op.Value = OpPut, stamped(s.buf, c.who, number, 16+c.rand.IntN(300))
	case k < 9:
		s.op.Kind, s.op.Value = OpGet, s.buf[:0]
	default:
		s.op.Kind = OpDelete
	}
	if err := c.s.Submit(&s.op); err != nil {
		if !errors.Is(err, ErrOverload) && !errors.Is(err, ErrClosed) {
			c.t.Errorf("submit: %v", err)
		}
		return false
	}
	c.free = c.free[:len(c.free)-1]
	s.out, s.known = true, false
	c.order[s.key] = append(c.order[s.key], i)
	return true
}

// back takes one operation in.
func (c *client) back(op *Op) {
	s := &c.slots[op.Tag]
	if op != &s.op || !s.out {
		c.t.Errorf("client %d: operation %d came back though it was not out", c.who, op.Tag)
		return
	}
	s.out, s.known = false, true
	o := outcome(op.Err)
	c.outcomes[o]++
	if o[0] == '?' {
		c.t.Errorf("client %d: %s", c.who, o)
	}
	queue := c.order[s.key]
	for len(queue) > 0 && c.slots[queue[0]].known {
		c.judge(queue[0])
		c.free = append(c.free, queue[0])
		queue = queue[1:]
	}
	c.order[s.key] = queue
}

func (c *client) judge(i int) {
	s := &c.slots[i]
	op := &s.op
	if op.Err != nil || op.TS == 0 { // nothing was there to delete
		return
	}
	last := c.highest[s.key]
	if op.TS < last || op.TS == last && op.Kind != OpGet {
		c.t.Errorf("client %d: %v of %s took effect at %v, after %v of an operation submitted before", c.who, op.Kind, s.key, op.TS, last)
	}
	c.highest[s.key] = op.TS
	if op.Kind == OpGet {
		c.gets++
		if err := checkStamped(op.Value); err != nil {
			c.t.Errorf("client %d: %s: %v", c.who, s.key, err)
		}
	}
}

// run does n operations, or until stop is set.
func (c *client) run(n int, stop *atomic.Bool) {
	var done [32]*Op
	sent, idle := 0, 0
	for (sent < n && !stop.Load()) || c.s.Outstanding() > 0 {
		for sent < n && len(c.free) > 0 && !stop.Load() && c.rand.IntN(8) > 0 {
			if !c.submit(sent) {
				break
			}
			sent++
		}
		got := c.s.Poll(done[:1+c.rand.IntN(len(done))])
		for _, op := range done[:got] {
			c.back(op)
		}
		if got == 0 && c.s.Outstanding() > 0 && !c.s.Wait(time.Second) {
			if idle++; idle > 60 {
				c.t.Errorf("client %d: %d operations do not come back", c.who, c.s.Outstanding())
				return
			}
		}
	}
	for i := range c.slots {
		if c.slots[i].out {
			c.t.Errorf("client %d: operation %d is still out", c.who, i)
		}
	}
	c.s.Close()
}

func TestSessionsConcurrently(t *testing.T) {
	ops := 4000
	if testing.Short() {
		ops = 1200
	}
	for _, o := range []rigOptions{
		{nodes: 3, shards: 2, model: proto.Synchronous, spin: 1},
		{nodes: 3, shards: 1, model: proto.Strict, spin: 50},
		{nodes: 3, shards: 1, model: proto.ReadEnforced, spin: 1, ringBytes: 1 << 14},
		{nodes: 2, shards: 1, model: proto.Eventual, spin: 1},
	} {
		t.Run(fmt.Sprint(o.model, "-", o.nodes, "x", o.shards), func(t *testing.T) {
			r := newRig(t, o)
			var wg sync.WaitGroup
			var stop atomic.Bool
			var clients []*client
			for i := range 2 * o.nodes {
				c := newClient(t, r.nodes[i%o.nodes].host, i+1, 8<<(i%4))
				clients = append(clients, c)
				wg.Go(func() { c.run(ops, &stop) })
			}
			wg.Wait()
			total, gets := map[string]int{}, 0
			for _, c := range clients {
				gets += c.gets
				for k, n := range c.outcomes {
					total[k] += n
				}
			}
			if total["done"] != ops*len(clients) {
				t.Errorf("outcomes %v, want %d done", total, ops*len(clients))
			}
			if gets == 0 {
				t.Error("no read found a value")
			}
			t.Logf("%d clients, outcomes %v, %d reads with a value", len(clients), total, gets)
			r.sameEverywhere(7)
		})
	}
}

// sameEverywhere compares what all nodes in service answer.
func (r *rig) sameEverywhere(keys int) {
	r.t.Helper()
	for k := range keys {
		key := fmt.Append(nil, "key-", k)
		var first []byte
		var firstTS proto.TS
		for i, n := range r.nodes {
			s := n.host.NewSession()
			v, ts, err := s.Get(key, nil)
			s.Close()
			if err != nil && !errors.Is(err, ErrNotFound) {
				r.t.Fatalf("node %d: %v", i, err)
			}
			if i == 0 {
				first, firstTS = v, ts
			} else if !bytes.Equal(v, first) || ts != firstTS {
				r.t.Errorf("%s at node %d: %d bytes, %v; node 0: %d bytes, %v", key, i, len(v), ts, len(first), firstTS)
			}
		}
	}
}

// A worker that goes to sleep after every turn, without any timeout, and a
// single node: only the sessions' kicks wake it. A lost wake-up is an
// operation that never ends.
func TestNoWakeUpIsLost(t *testing.T) {
	ops := 3000
	if testing.Short() {
		ops = 800
	}
	r := newRig(t, rigOptions{nodes: 1, spin: 1})
	n := r.nodes[0]
	var ended atomic.Int64
	var wg sync.WaitGroup
	const sessions = 6
	for i := range sessions {
		wg.Go(func() {
			s := n.host.NewSession()
			defer s.Close()
			s.SetTimeout(0) // no deadline: nothing looks again by itself
			key, value := fmt.Append(nil, "key-", i%3), make([]byte, 64)
			var op Op
			var done [1]*Op
			for j := range ops {
				op = Op{Kind: OpPut, Key: key, Value: stamped(value, i, j, 64)}
				if err := s.Submit(&op); err != nil {
					t.Error(err)
					return
				}
				for s.Poll(done[:]) == 0 {
					s.Wait(time.Minute) // the worker's wake-up ends it, not this
				}
				if op.Err != nil {
					t.Error(op.Err)
					return
				}
				ended.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	last := int64(-1)
	for {
		select {
		case <-finished:
			if ended.Load() != sessions*int64(ops) {
				t.Errorf("%d of %d operations ended", ended.Load(), sessions*ops)
			}
			together := n.counters().Sleeps
			t.Logf("%d operations, the worker slept %d times, %d with all sessions", ended.Load(), r.wakeOneByOne(n, 100), together)
			return
		case <-time.After(20 * time.Second):
			if now := ended.Load(); now == last {
				t.Fatalf("nothing moves after %d operations", now)
			} else {
				last = now
			}
		}
	}
}

// wakeOneByOne gives the worker one operation at a time, each some time after
// the one before, until it has slept often enough: a busy machine may keep it
// from sleeping while several sessions are at it.
func (r *rig) wakeOneByOne(n *rigNode, sleeps uint64) uint64 {
	r.t.Helper()
	s := n.host.NewSession()
	defer s.Close()
	for limit := time.Now().Add(2 * time.Minute); ; {
		now := n.counters().Sleeps
		if now >= sleeps {
			return now
		}
		if time.Now().After(limit) {
			r.t.Fatalf("a worker with next to nothing to do slept %d times", now)
		}
		for range 10 {
			time.Sleep(200 * time.Microsecond) // a pace, nothing is decided by it
			if _, err := s.Put([]byte("key"), []byte("value"), 0); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestWait(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	if s.Wait(time.Hour) {
		t.Error("nothing outstanding: something to poll")
	}
	thaw := r.nodes[1].freeze()
	defer thaw()
	op := Op{Kind: OpPut, Key: []byte("k"), Value: []byte("v")}
	if err := s.Submit(&op); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if s.Wait(5 * time.Millisecond) {
			t.Fatal("something to poll while the other node does nothing")
		}
	}
	go thaw()
	if !s.Wait(time.Minute) {
		t.Fatal("not woken")
	}
	if !s.Wait(0) {
		t.Error("not ready any more though nothing was polled")
	}
	collect(t, s, 1, func(o *Op) {
		if o != &op || o.Err != nil {
			t.Errorf("%+v", o)
		}
	})
}

func TestOverloadAtTheWindow(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	thaw := r.nodes[1].freeze()
	defer thaw()
	ops := make([]Op, laneOps+1)
	for i := range ops {
		ops[i] = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", i%5), Value: []byte("value"), Tag: uint64(i)}
		err := s.Submit(&ops[i])
		if want := i == laneOps; (err != nil) != want || want && !errors.Is(err, ErrOverload) {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
	thaw()
	seen := 0
	collect(t, s, 1, func(*Op) { seen++ })
	if err := s.Submit(&ops[laneOps]); err != nil {
		t.Fatalf("after one came back: %v", err)
	}
	last := map[string]uint64{}
	collect(t, s, laneOps, func(o *Op) {
		if o.Err != nil {
			t.Errorf("operation %d: %v", o.Tag, o.Err)
		}
		if k := string(o.Key); o.Tag < last[k] {
			t.Errorf("%s: operation %d after %d", k, o.Tag, last[k])
		} else {
			last[k] = o.Tag
		}
		seen++
	})
	if seen != laneOps+1 || s.Outstanding() != 0 {
		t.Errorf("%d came back, %d outstanding", seen, s.Outstanding())
	}
	t.Logf("%d operations", seen)
}

func TestLimits(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	for _, c := range []struct {
		op   Op
		want error
	}{
		{Op{Kind: OpPut, Key: nil, Value: []byte("v")}, ErrKeySize},
		{Op{Kind: OpGet, Key: make([]byte, KeyBytesMax+1)}, ErrKeySize},
		{Op{Kind: OpDelete, Key: []byte{}}, ErrKeySize},
		{Op{Kind: OpPut, Key: []byte("k"), Value: make([]byte, ValueBytesMax+1)}, ErrValueSize},
	} {
		if err := s.Submit(&c.op); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.op.Kind, err, c.want)
		}
	}
	if s.Outstanding() != 0 {
		t.Errorf("%d outstanding", s.Outstanding())
	}
	// At the limits it works; an unknown kind is rejected, not lost.
	key, value := bytes.Repeat([]byte{7}, KeyBytesMax), bytes.Repeat([]byte{9}, 200<<10)
	if _, err := s.Put(key, value, 0); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.Get(key, []byte("before ")); err != nil || !bytes.Equal(got, append([]byte("before "), value...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	odd := Op{Kind: 99, Key: []byte("k")}
	if err := s.Submit(&odd); err != nil {
		t.Fatal(err)
	}
	collect(t, s, 1, func(o *Op) {
		if !errors.Is(o.Err, ErrTryAgain) {
			t.Errorf("unknown kind: %v", o.Err)
		}
	})
	if err := s.Persist(3); !errors.Is(err, ErrScope) {
		t.Errorf("PERSIST under synchronous: %v", err)
	}
	r.nodes[0].host.Close()
	if _, err := s.Put(key, nil, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
