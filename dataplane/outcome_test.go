package dataplane

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
)

const soon = 60 * time.Millisecond

// one runs one operation with a deadline.
func one(t *testing.T, s *Session, op *Op, within time.Duration) error {
	t.Helper()
	if within != 0 {
		op.Deadline = Now() + int64(within)
	}
	if err := s.Submit(op); err != nil {
		t.Fatal(err)
	}
	collect(t, s, 1, func(o *Op) {
		if o != op {
			t.Errorf("another operation came back: %+v", o)
		}
	})
	return op.Err
}

// The three outcomes: done, rejected, unknown; and reads in time or not.
func TestOutcomes(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, spin: 1})
	n := r.nodes[0]
	s := n.host.NewSession()
	defer s.Close()
	key := []byte("k")
	want := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) || want == nil && got != nil {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want("put", one(t, s, &Op{Kind: OpPut, Key: key, Value: []byte("v1")}, time.Minute), nil)

	thaw := r.nodes[1].freeze()
	defer thaw()
	want("put while the other node does nothing", one(t, s, &Op{Kind: OpPut, Key: key, Value: []byte("v2")}, soon), ErrUnknown)
	want("get of a locked key", one(t, s, &Op{Kind: OpGet, Key: key}, soon), ErrDeadline)
	want("put that came too late", one(t, s, &Op{Kind: OpPut, Key: key, Value: []byte("never")}, -time.Second), ErrDeadline)
	if c := n.counters(); c.Unknown == 0 {
		t.Error("no unknown outcome counted")
	}
	thaw()
	op := Op{Kind: OpGet, Key: key}
	want("get once it goes on", one(t, s, &op, time.Minute), nil)
	if got := string(op.Value); got != "v2" {
		t.Errorf("read %q", got)
	}

	// The node's own worker is held up: what it finds expired, it does not do.
	hold := n.freeze()
	late := Op{Kind: OpPut, Key: []byte("late"), Value: []byte("v"), Deadline: Now() + int64(time.Millisecond)}
	if err := s.Submit(&late); err != nil {
		t.Fatal(err)
	}
	for Now() <= late.Deadline {
		s.Wait(time.Millisecond)
	}
	hold()
	collect(t, s, 1, func(o *Op) { want("expired before it began", o.Err, ErrDeadline) })
	_, _, err := s.Get([]byte("late"), nil)
	want("and was not applied", err, ErrNotFound)

	// No lease: nothing is answered, nothing applied.
	n.lease.gone.Store(true)
	want("put without a lease", one(t, s, &Op{Kind: OpPut, Key: key, Value: []byte("x")}, 0), ErrTryAgain)
	want("get without a lease", one(t, s, &Op{Kind: OpGet, Key: key}, 0), ErrTryAgain)
	want("delete of an unknown key without a lease", one(t, s, &Op{Kind: OpDelete, Key: []byte("unknown")}, 0), ErrTryAgain)
	n.lease.gone.Store(false)
	n.core.Workers()[0].Do(func() {}) // a turn that began before this may still refuse
	want("delete of an unknown key", one(t, s, &Op{Kind: OpDelete, Key: []byte("unknown")}, 0), nil)

	// Not serving: reads are turned away at the session, writes too once the
	// life is over.
	n.core.SetServing(false)
	want("get while not serving", one(t, s, &Op{Kind: OpGet, Key: key}, 0), ErrTryAgain)
	n.core.SetServing(true)
	n.host.SetCore(nil)
	want("put without a life", one(t, s, &Op{Kind: OpPut, Key: key}, 0), ErrTryAgain)
	n.host.SetCore(n.core)
	want("put again", one(t, s, &Op{Kind: OpPut, Key: key, Value: []byte("v3")}, 0), nil)
}

// The caller's deadline field is the caller's: an Op used again gets a new
// default deadline.
func TestOpsCanBeUsedAgain(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	s.SetTimeout(20 * time.Millisecond)
	op := Op{Kind: OpPut, Key: []byte("k"), Value: []byte("v")}
	until := Now() + 50*int64(time.Millisecond)
	n := 0
	for Now() < until {
		if err := one(t, s, &op, 0); err != nil && !errors.Is(err, ErrUnknown) {
			t.Fatalf("use %d: %v", n, err)
		}
		if op.Deadline != 0 {
			t.Fatalf("deadline %d written", op.Deadline)
		}
		n++
	}
}

// Deadlines hold for what has not begun too: all lanes of a node whose ring is
// full because the other node does nothing.
func TestDeadlinesInAFullRing(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, spin: 1, ringBytes: 1 << 14})
	n := r.nodes[0]
	put(t, n.host, "first", "v") // without the other node's first word of its room, no write begins
	thaw := r.nodes[1].freeze()
	defer thaw()
	const sessions, each = 3, 200
	var ss []*Session
	ops := make([]Op, sessions*each)
	deadline := Now() + 4*int64(soon)
	for i := range sessions {
		ss = append(ss, n.host.NewSession())
		for j := range each {
			op := &ops[i*each+j]
			*op = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", i, "-", j), Value: make([]byte, 200), Deadline: deadline}
			if err := ss[i].Submit(op); err != nil {
				t.Fatal(err)
			}
		}
		ss[i].Kick()
	}
	outcomes := map[string]int{}
	for _, s := range ss {
		collect(t, s, each, func(o *Op) {
			outcomes[outcome(o.Err)]++
			if o.Err == nil {
				t.Error("done without the other node")
			}
		})
	}
	if late := Now() - deadline; late > int64(5*time.Second) {
		t.Errorf("the last came %v after its deadline", time.Duration(late))
	}
	if outcomes["unknown"] == 0 || outcomes["rejected"] == 0 {
		t.Errorf("outcomes %v, want both unknown and rejected", outcomes)
	}
	thaw()
	// Rejected means certainly not applied, even afterwards.
	for i := range ops {
		_, _, err := ss[0].Get(ops[i].Key, nil)
		if outcome(ops[i].Err) == "rejected" && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s was rejected and is there (%v)", ops[i].Key, err)
		}
	}
	for _, s := range ss {
		s.Close()
	}
	t.Logf("outcomes %v", outcomes)
}

// A member that does nothing is dropped: what waited for it is done.
func TestViewWithoutTheFrozenNode(t *testing.T) {
	for _, model := range proto.Models() {
		r := newRig(t, rigOptions{nodes: 3, model: model, spin: 1})
		thaw := r.nodes[2].freeze()
		s := r.nodes[0].host.NewSession()
		ops := make([]Op, 50)
		for i := range ops {
			ops[i] = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", i%7), Value: stamped(make([]byte, 40), 1, i, 40)}
			if err := s.Submit(&ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		if s.Wait(soon) {
			t.Errorf("%v: answered though a member has applied nothing", model)
		}
		v := r.view.Next(r.view.Live.Without(2), 0)
		r.nodes[2].core.SetServing(false)
		r.install(r.nodes[0], &v)
		r.install(r.nodes[1], &v)
		collect(t, s, len(ops), func(o *Op) {
			if o.Err != nil {
				t.Errorf("%v: %v", model, o.Err)
			}
		})
		s.Close()
		thaw()
		r.nodes[2].stop()
		left := *r
		left.nodes = r.nodes[:2]
		left.sameEverywhere(7)
	}
}

// Core.Stop in the middle of everything, with sessions that come and go: every
// operation comes back once, with an outcome, and what is left can be closed.
func TestStopWhileOperationsAreUnderWay(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 4
	}
	total := map[string]int{}
	for round := range rounds {
		r := newRig(t, rigOptions{nodes: 2, shards: 1 + round%2, spin: 1 + round%3*20})
		n := r.nodes[0]
		var wg sync.WaitGroup
		var over atomic.Bool
		var busy atomic.Int64
		clients := make([]*client, 6)
		for i := range clients {
			clients[i] = newClient(t, n.host, i+1, 32)
			clients[i].s.SetTimeout(time.Second)
			wg.Go(func() {
				busy.Add(1)
				clients[i].run(1<<30, &over)
			})
		}
		wg.Go(func() { // sessions that end at any moment move the list of lanes
			for !over.Load() {
				s := n.host.NewSession()
				s.Get([]byte("key-1"), nil)
				s.Put([]byte("key-2"), stamped(make([]byte, 20), 99, 1, 20), 0)
				s.Close()
			}
		})
		for n.counters().Reads+uint64(busy.Load()) < uint64(50+20*round) {
			time.Sleep(time.Millisecond)
		}
		n.stop()
		n.host.SetCore(nil)
		over.Store(true)
		wg.Wait()
		for _, c := range clients {
			for k, v := range c.outcomes {
				total[k] += v
			}
		}
		r.nodes[1].core.SetServing(false)
	}
	if total["done"] == 0 || total["rejected"]+total["unknown"] == 0 {
		t.Errorf("outcomes %v", total)
	}
	t.Logf("%d rounds, outcomes %v", rounds, total)
}

// PERSIST over several shards, with writes of the scope in flight.
func TestPersist(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 3, shards: 2, model: proto.Scope, spin: 1})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	ops := make([]Op, 100)
	for i := range ops {
		ops[i] = Op{Kind: OpPut, Scope: 5, Key: fmt.Append(nil, "key-", i), Value: []byte("v")}
		if err := s.Submit(&ops[i]); err != nil {
			t.Fatal(err)
		}
	}
	persist := Op{Kind: OpPersist, Scope: 5}
	if err := s.Submit(&persist); err != nil {
		t.Fatal(err)
	}
	seen := 0
	collect(t, s, len(ops)+1, func(o *Op) {
		if o.Err != nil {
			t.Errorf("%v: %v", o.Kind, o.Err)
		}
		if o == &persist {
			for _, n := range r.nodes {
				for i, w := range n.workers {
					tail := make(chan [2]uint64, 1)
					w.Do(func() { tail <- [2]uint64{w.st.Flushed(), w.st.Tail()} })
					if p := <-tail; p[0] != p[1] {
						t.Errorf("PERSIST answered, node %d shard %d flushed through %d of %d", n.id, i, p[0], p[1])
					}
				}
			}
		}
		seen++
	})
	t.Logf("%d operations", seen)
}

// An index that is full: new keys are refused, what is there can be read,
// overwritten and deleted, at every node; nothing stops.
func TestFullIndex(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, spin: 1, maxKeys: [3]uint64{20_000, 40_000}})
	s := r.nodes[1].host.NewSession()
	defer s.Close()
	for _, n := range r.nodes { // all have been told what room there is
		c := n.host.NewSession()
		if _, err := c.Put([]byte("first"), nil, 0); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	// A pool's index is never as small as that, so the limit is set by hand.
	limit := uint64(0)
	for _, n := range r.nodes {
		n.workers[0].Do(func() { limit = n.workers[0].rep.LimitKeys(12_000) })
	}
	put, refused := 0, 0
	ops := make([]Op, 256)
	for i := 0; refused == 0 && i < 20_000; i += len(ops) {
		for j := range ops {
			ops[j] = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", i+j), Value: []byte("value")}
			if err := s.Submit(&ops[j]); err != nil {
				t.Fatal(err)
			}
		}
		collect(t, s, len(ops), func(o *Op) {
			switch {
			case o.Err == nil:
				put++
			case errors.Is(o.Err, ErrNoRoom):
				refused++
			default:
				t.Fatal(o.Err)
			}
		})
	}
	if refused == 0 || uint64(put) > limit || uint64(put) < limit*3/4 {
		t.Fatalf("%d keys put before a refusal, the limit is %d", put, limit)
	}
	for _, n := range r.nodes {
		c := n.host.NewSession()
		if _, err := c.Put([]byte("key-1"), []byte("over"), 0); err != nil {
			t.Errorf("node %d: overwrite: %v", n.id, err)
		}
		if v, _, err := c.Get([]byte("key-1"), nil); err != nil || string(v) != "over" {
			t.Errorf("node %d: %q, %v", n.id, v, err)
		}
		if existed, err := c.Delete(fmt.Append(nil, "key-", 2+n.id), 0); err != nil || !existed {
			t.Errorf("node %d: delete: %v, %v", n.id, existed, err)
		}
		if _, err := c.Put([]byte("another new one"), nil, 0); !errors.Is(err, ErrNoRoom) {
			t.Errorf("node %d: new key: %v", n.id, err)
		}
		if p := n.failed.Load(); p != nil {
			t.Errorf("node %d failed: %v", n.id, *p)
		}
		c.Close()
	}
	t.Logf("%d keys of at most %d", put, limit)
}

// A node whose index is full all the same, because it was told it is not,
// stops clearly: it publishes nothing, answers "unknown" and says why.
func TestIndexFullAllTheSame(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1, maxKeys: [3]uint64{1}})
	n := r.nodes[0]
	n.workers[0].Do(func() { n.workers[0].rep.LimitKeys(1 << 40) })
	s := n.host.NewSession()
	ops := make([]Op, 512)
	back, unknown, sent := 0, 0, 0
	for ; n.failed.Load() == nil && sent < 400_000; sent += len(ops) {
		for i := range ops {
			ops[i] = Op{Kind: OpPut, Key: fmt.Append(nil, "key-", sent+i), Deadline: Now() + int64(time.Minute)}
			if err := s.Submit(&ops[i]); err != nil {
				t.Fatal(err)
			}
		}
		s.Kick()
		n.stopIfFailed()
		collect(t, s, len(ops), func(o *Op) {
			back++
			switch outcome(o.Err) {
			case "unknown":
				unknown++
			case "done", "rejected":
			default:
				t.Error(o.Err)
			}
		})
	}
	p := n.failed.Load()
	if p == nil || !errors.Is(*p, replica.ErrIndexFull) {
		t.Fatalf("after %d keys: failure %v", sent, p)
	}
	if unknown == 0 {
		t.Error("no write was under way")
	}
	t.Logf("%v; %d keys, %d outcomes unknown", *p, back, unknown)
	s.Close()
}

// stopIfFailed does what the owner of a node does when OnFailure calls.
func (n *rigNode) stopIfFailed() {
	w := n.workers[0]
	done := make(chan struct{})
	go func() {
		defer close(done)
		for w.Do(func() {}) && w.busyNow() {
		}
	}()
	<-done
	if n.failed.Load() != nil {
		n.stop()
	}
}

// busyNow tells whether operations are under way; false once it has ended.
func (w *Worker) busyNow() (busy bool) {
	w.Do(func() { busy = w.busy > 0 || len(w.active) > 0 || w.ready.Load() != nil })
	return busy
}
