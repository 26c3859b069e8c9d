package dataplane

import (
	"errors"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// A member that is gone is cut before anything of the new view counts.
func TestGoneMemberIsDetached(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 3})
	n := r.nodes[0]
	v := r.view.Next(r.view.Live.Without(2), 0)
	r.nodes[2].stop()
	r.install(n, &v)
	n.workers[0].Do(func() {
		if n.eps[0].Detach(2) != nil {
			t.Error("node 2 is gone and was still attached")
		}
		if l := n.eps[0].Detach(1); l == nil {
			t.Error("node 1 is a member and was not attached")
		} else {
			n.eps[0].Attach(l)
			n.eps[0].Feed(1, n.eps[0].Out().Tail())
		}
	})
}

// A shard that can keep no promise any more stops and says why, once.
func TestFailedShardStops(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	n := r.nodes[0]
	first := errors.New("first")
	n.workers[0].Do(func() {
		n.workers[0].failed(first)
		n.workers[0].failed(errors.New("second"))
		if !n.workers[0].stopping.Load() {
			t.Error("it goes on")
		}
	})
	if err := n.failed.Load(); err == nil || *err != first {
		t.Errorf("the node heard %v", err)
	}
}

// When Stop returns no reader is inside, and none comes in: the memory may go.
func TestStopShutsReadersOut(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	n := r.nodes[0]
	s := n.host.NewSession()
	defer s.Close()
	if _, err := s.Put([]byte("k"), []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	st := n.workers[0].st
	reader := st.NewReader()
	defer reader.Close()
	n.stop()
	if _, _, state := reader.Get(st.Hash([]byte("k")), []byte("k"), nil); state != store.Shut {
		t.Errorf("a reader after Stop: %v", state)
	}
}

// While a recovery reads this node's log, the cleaner stays below its pin.
func TestCleanerStaysBelowThePin(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1, model: proto.Eventual})
	n := r.nodes[0]
	s := n.host.NewSession()
	defer s.Close()
	w := n.workers[0]
	w.Do(func() { w.Pin(0) })
	value := make([]byte, 60<<10)
	write := func(times int) (cleaned uint64) {
		for range times {
			if _, err := s.Put([]byte("k"), value, 0); err != nil {
				t.Fatal(err)
			}
		}
		w.Do(func() { cleaned = w.Counters.CleanedSegments })
		return cleaned
	}
	if c := write(200); c != 0 { // 12 of 22 MiB: more than half of the segments
		t.Errorf("%d segments were freed above the pin", c)
	}
	w.Do(func() { w.Pin(^uint64(0)) })
	for i := 0; write(10) == 0; i++ {
		if i == 100 {
			t.Fatal("nothing is freed without a pin")
		}
	}
}

// What a write waits for is a flush of the pool, not a number.
func TestFlushedMeansFlushed(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1, model: proto.Synchronous})
	n := r.nodes[0]
	w := n.workers[0]
	drains := 0
	w.Do(func() { n.pools[0].Region().SetSyncHook(func() error { drains++; return nil }) })
	s := n.host.NewSession()
	defer s.Close()
	before, after := 0, 0
	w.Do(func() { before = drains })
	if _, err := s.Put([]byte("k"), []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	w.Do(func() { after = drains })
	if after == before {
		t.Error("answered without a flush")
	}
}
