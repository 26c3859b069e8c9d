package dataplane

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
	"healkv/pmem"
)

// put writes through a session of its own.
func put(t *testing.T, h *Host, key, value string) {
	t.Helper()
	s := h.NewSession()
	defer s.Close()
	if _, err := s.Put([]byte(key), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

func submit(t *testing.T, s *Session, ops ...*Op) {
	t.Helper()
	for i, op := range ops {
		if err := s.Submit(op); err != nil {
			t.Fatalf("operation %d: %v", i, err)
		}
	}
}

// Gets of all sorts in bursts of all lengths, over one shard and two: values,
// no values, tombstones, and the same key more than once.
func TestBurst(t *testing.T) {
	for _, shards := range []int{1, 2} {
		r := newRig(t, rigOptions{nodes: 1, shards: shards})
		h := r.nodes[0].host
		for i := range 200 {
			put(t, h, fmt.Sprint("key-", i), fmt.Sprint("value-", i))
		}
		s := h.NewSession()
		for i := 0; i < 200; i += 5 {
			if _, err := s.Delete(fmt.Append(nil, "key-", i), 0); err != nil {
				t.Fatal(err)
			}
		}
		found, missing := 0, 0
		for n := 1; n <= 4*burstMost; n += 7 {
			ops := make([]Op, n)
			for i := range ops {
				ops[i] = Op{Kind: OpGet, Key: fmt.Append(nil, "key-", (i*i+n)%250), Value: make([]byte, 3, 20)}
				submit(t, s, &ops[i])
			}
			if s.Outstanding() != n {
				t.Fatalf("%d outstanding of %d", s.Outstanding(), n)
			}
			collect(t, s, n, func(*Op) {})
			for i := range ops {
				k, op := (i*i+n)%250, &ops[i]
				switch gone := k%5 == 0 || k >= 200; {
				case gone && op.Err == ErrNotFound:
					missing++
				case !gone && op.Err == nil && string(op.Value) == fmt.Sprint("value-", k) && op.TS != 0:
					found++
				default:
					t.Errorf("key %d of %d: %q, %v", k, n, op.Value, op.Err)
				}
			}
		}
		if found == 0 || missing == 0 || s.Outstanding() != 0 {
			t.Errorf("%d found, %d missing, %d outstanding", found, missing, s.Outstanding())
		}
		t.Logf("%d shards: %d found, %d missing", shards, found, missing)
		s.Close()
	}
}

// Operations of a session on a key keep their order: a get that was collected
// is answered before the session's write that follows, and a get that follows a
// write is not.
func TestBurstKeepsTheOrder(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	n := r.nodes[0]
	put(t, n.host, "k", "old")
	s := n.host.NewSession()
	defer s.Close()
	thaw := n.freeze() // the write stays in its lane
	defer thaw()
	before := Op{Kind: OpGet, Key: []byte("k"), Tag: 1}
	other := Op{Kind: OpGet, Key: []byte("other"), Tag: 2}
	write := Op{Kind: OpPut, Key: []byte("k"), Value: []byte("new"), Tag: 3}
	after := Op{Kind: OpGet, Key: []byte("k"), Tag: 4}
	submit(t, s, &before, &other, &write, &after)
	var done [8]*Op
	if got := s.Poll(done[:]); got != 2 || done[0] != &before || done[1] != &other {
		t.Errorf("%d came back while the worker stood still", got)
	}
	thaw()
	collect(t, s, s.Outstanding(), func(*Op) {})
	if string(before.Value) != "old" || before.Err != nil {
		t.Errorf("before the write: %q, %v", before.Value, before.Err)
	}
	if other.Err != ErrNotFound || write.Err != nil {
		t.Errorf("other: %v, write: %v", other.Err, write.Err)
	}
	if string(after.Value) != "new" || after.Err != nil {
		t.Errorf("after the write: %q, %v", after.Value, after.Err)
	}
}

// H12: gets that were submitted under a lease are not answered after it.
func TestBurstLooksAtTheLease(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	n := r.nodes[0]
	put(t, n.host, "k", "v")
	s := n.host.NewSession()
	defer s.Close()
	ops := make([]Op, 10)
	all := func(want error) {
		t.Helper()
		collect(t, s, len(ops), func(op *Op) {
			if op.Err != want {
				t.Errorf("%q, %v, expected %v", op.Value, op.Err, want)
			}
		})
	}
	ask := func() {
		for i := range ops {
			ops[i] = Op{Kind: OpGet, Key: []byte("k")}
			submit(t, s, &ops[i])
		}
	}
	ask()
	all(nil)
	ask()
	n.lease.gone.Store(true)
	all(ErrTryAgain)
	n.lease.gone.Store(false)
	n.core.lease = new(fencedBetween)
	ask()
	all(ErrTryAgain)
	n.core.lease = &n.lease
	ask()
	n.core.SetServing(false)
	all(ErrTryAgain)
	n.core.SetServing(true)
	ask()
	all(nil)
}

// A life that ends answers what was collected in it, and the next one is used
// after that.
func TestBurstOutlivesItsLife(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2})
	n, next := r.nodes[0], r.nodes[1]
	put(t, n.host, "k", "v")
	s := n.host.NewSession()
	defer s.Close()
	a, b, c := Op{Kind: OpGet, Key: []byte("k")}, Op{Kind: OpGet, Key: []byte("k")}, Op{Kind: OpGet, Key: []byte("k")}
	submit(t, s, &a)
	n.stop()
	n.host.SetCore(next.core)
	submit(t, s, &b) // operations of the earlier life are still to be polled
	collect(t, s, 2, func(op *Op) {
		if op.Err != ErrTryAgain {
			t.Errorf("%q, %v", op.Value, op.Err)
		}
	})
	submit(t, s, &c)
	collect(t, s, 1, func(op *Op) {
		if op.Err != nil || string(op.Value) != "v" {
			t.Errorf("in the next life: %q, %v", op.Value, op.Err)
		}
	})
}

// Whatever is collected has room in its lane should the key be locked, also
// where the session is wide and the lane full; reads of what is not locked need
// none.
func TestBurstLeavesRoom(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, shards: 2, model: proto.Synchronous})
	n := r.nodes[0]
	at := 0
	key := func() []byte { // of the first shard
		for {
			k := fmt.Append(nil, "key-", at)
			if at++; n.core.shardOf(n.host.hash(k)) == 0 {
				return k
			}
		}
	}
	calmKey, heldKey := key(), key()
	put(t, n.host, string(calmKey), "v")
	holder, s := n.host.NewSession(), n.host.NewWideSession(nil)
	defer holder.Close()
	defer s.Close()
	peer := r.nodes[1].freeze()
	defer peer()
	held := Op{Kind: OpPut, Key: heldKey, Value: []byte("w"), Deadline: Now() + int64(time.Hour)}
	submit(t, holder, &held)
	holder.Kick()
	for {
		if _, done, _ := holder.GetNow(heldKey, nil); done {
			t.Fatal("a get overtakes a write of its session")
		}
		w, probe := n.workers[0], false
		w.Do(func() { probe = w.rep.Counters.Writes > 1 })
		if probe {
			break // the key is locked from here on
		}
	}
	own := n.freeze()
	defer own()
	s.SetTimeout(time.Hour)
	const left = 5
	puts := make([]Op, sessionOpsMax-left)
	for i := range puts {
		puts[i] = Op{Kind: OpPut, Key: key(), Value: []byte("x")}
		submit(t, s, &puts[i])
	}
	gets := make([]Op, 2*left+1)
	for i := range gets {
		gets[i] = Op{Kind: OpGet, Key: heldKey}
		if err := s.Submit(&gets[i]); (err == nil) != (i < left) || i >= left && err != ErrOverload {
			t.Fatalf("get %d: %v", i, err)
		}
	}
	calm := Op{Kind: OpGet, Key: calmKey}
	submit(t, s, &calm)
	var done [4]*Op
	if got := s.Poll(done[:]); got != 1 || done[0] != &calm || string(calm.Value) != "v" {
		t.Errorf("a read beside a full lane: %d came back, %v", got, calm.Err)
	}
	if u := s.lanes[0].under; u != sessionOpsMax {
		t.Errorf("%d operations in a lane of %d", u, sessionOpsMax)
	}
	own()
	peer()
	collect(t, s, sessionOpsMax, func(op *Op) {
		if op.Err != nil {
			t.Errorf("%v", op.Err)
		}
	})
	collect(t, holder, 1, func(*Op) {})
}

// A fault under a burst is an error of all of its gets, and the reader has left
// the store.
func TestBurstFault(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	n := r.nodes[0]
	put(t, n.host, "some key", "value")
	s := n.host.NewSession()
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	copy(page, "some key")
	ops := make([]Op, 3)
	for i := range ops {
		ops[i] = Op{Kind: OpGet, Key: []byte("some key")}
		if i == 1 {
			ops[i].Key = page[:8]
		}
		submit(t, s, &ops[i])
	}
	if err := unix.Mprotect(page, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	collect(t, s, len(ops), func(op *Op) {
		if op.Err != ErrPoolFailed {
			t.Errorf("%q, %v", op.Value, op.Err)
		}
	})
	s.Close()
	n.stop() // it waits for readers
	if p := n.failed.Load(); p == nil || !errors.Is(*p, pmem.ErrFault) {
		t.Errorf("the node was not told: %v", p)
	}
}
