package dataplane

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/rdma/shm"
)

// The log is written over several times while a node is away. Its range stays:
// every key it missed is listed with the current record, also one that the
// cleaner has moved, and what it did not miss is not.
func TestMissedRangeOutlivesTheLog(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, model: proto.Eventual, poolBytes: 32 << 20})
	n := r.nodes[0]
	s := n.host.NewSession()
	defer s.Close()
	value := make([]byte, 100<<10)
	put := func(key string) {
		for {
			_, err := s.Put([]byte(key), value, 0)
			if err == nil {
				return
			}
			if !errors.Is(err, ErrNoRoom) {
				t.Fatal(err)
			}
		}
	}
	for i := range 20 {
		put(fmt.Sprint("old ", i))
	}
	w := n.workers[0]
	for stable := false; !stable; { // node 1 has them durably
		w.Do(func() { stable = w.rep.StablePos() == w.st.Tail() })
	}
	v := r.view.Next(r.view.Live.Without(1), 0)
	until := v.LiveUntil[1]
	r.nodes[1].stop()
	r.install(n, &v)
	want := map[string]bool{}
	for i := range 20 {
		put(fmt.Sprint("cold ", i))
		want[fmt.Sprint("cold ", i)] = true
	}
	cleaned := uint64(0)
	for i := 0; cleaned < 60; i++ {
		put(fmt.Sprint("hot ", i%10))
		want[fmt.Sprint("hot ", i%10)] = true
		w.Do(func() { cleaned = w.Counters.CleanedSegments })
		if i == 20000 {
			t.Fatalf("%d segments cleaned in %d writes", cleaned, i)
		}
	}
	listed, moved := map[string]bool{}, 0
	w.Do(func() { // the worker does not clean meanwhile, which a pin does elsewhere
		from, ok := w.rep.MissedFrom(until)
		if !ok || until < w.lostThrough {
			t.Fatalf("no range: %v, lost through %d", ok, w.lostThrough)
		}
		err := w.st.Manifest(from, w.st.Tail(), false, func(pos uint64, off int64, bytes int, _ uint32, _ bool) bool {
			for end := pos + uint64(bytes); pos < end; {
				img := w.st.Record(pos)
				listed[string(record.Key(img))] = true
				if record.Flags(img)&record.FlagMissed != 0 {
					moved++
				}
				pos += uint64(record.ImageBytes(img))
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	for key := range want {
		if !listed[key] {
			t.Errorf("%q was written while the node was away and is not listed", key)
		}
	}
	for key := range listed {
		if !want[key] {
			t.Errorf("%q is listed; the node has it", key)
		}
	}
	if moved == 0 {
		t.Error("nothing of the range was moved")
	}
	t.Logf("%d segments cleaned, %d keys listed, %d of them moved by the cleaner", cleaned, len(listed), moved)
}

// What a restored log holds is counted by a node that is live, and not while it
// comes back.
func TestShadowsDoNotCount(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2})
	live := r.nodes[0].workers[0]
	wants := true
	for turns := 0; wants && turns < 10_000; turns++ {
		live.Do(func() { wants = live.st.WantsCleaning() })
	}
	if wants {
		t.Error("the log of a live node is not counted after 10 000 turns")
	}

	p, err := pmem.NewHeapPool(pmem.FormatOptions{SizeBytes: 24 << 20, SegmentBytes: 2 << 20, Identity: pmem.Identity{Node: 1, Shards: 1, HashSeed: rigSeed}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(false)
	if err := p.Begin(1); err != nil {
		t.Fatal(err)
	}
	ep, err := shm.New(shm.Config{Dir: shm.Heap(), Node: 1, Nodes: 2, Incarnation: 1, RingBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	back := NewWorker(WorkerConfig{Nodes: 2, Pool: p, Endpoint: ep, Lease: new(rigLease), Logger: slog.New(slog.DiscardHandler)})
	if err := back.Begin(proto.Member{Node: 1, Incarnation: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if !back.st.WantsCleaning() || back.clean(false) {
		t.Error("a node that is no live member counts its log, or has nothing to count")
	}
}
