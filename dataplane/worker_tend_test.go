package dataplane

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma/shm"
)

// TestKeptIndexRests: a node that comes back with its index goes through it, its
// log and its sums only once it has been live for a while, or when somebody
// waits for that; and then it does.
func TestKeptIndexRests(t *testing.T) {
	for _, hurried := range []bool{false, true} {
		name := "in its own time"
		if hurried {
			name = "asked for the sums"
		}
		t.Run(name, func(t *testing.T) { keptIndexRests(t, hurried) })
	}
}

func keptIndexRests(t *testing.T, hurried bool) {
	dir, err := os.MkdirTemp("/dev/shm", "healkv-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	who := pmem.Identity{Shards: 1, HashSeed: rigSeed}
	index := filepath.Join(dir, "index")
	if err := pmem.Format(pmem.FormatOptions{Dir: dir, IndexDir: index, SizeBytes: 32 << 20, Domain: pmem.DomainMemory, Identity: who}); err != nil {
		t.Fatal(err)
	}
	now := int64(1)
	life := func(inc proto.Incarnation) (*pmem.Pool, *Worker) {
		p, err := pmem.Open(pmem.OpenOptions{Dir: dir, IndexDir: index, Domain: pmem.DomainMemory, Identity: who})
		if err != nil {
			t.Fatal(err)
		}
		ep, err := shm.New(shm.Config{Dir: shm.Heap(), Nodes: 1, Incarnation: uint32(inc), RingBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ep.Close(); p.Close(false) })
		w := NewWorker(WorkerConfig{Nodes: 1, Pool: p, Endpoint: ep, Lease: new(rigLease), Logger: slog.New(slog.DiscardHandler), Clock: func() int64 { return now }})
		if err := w.Open(proto.Member{Incarnation: inc}, false); err != nil {
			t.Fatal(err)
		}
		return p, w
	}
	live := func(w *Worker, inc proto.Incarnation, e proto.Epoch) {
		v := proto.View{Epoch: e, Configured: 1, Live: 1, Shards: 1}
		v.Incarnation[0], v.Issued[0] = inc, inc
		w.InstallView(&v, new(Links))
	}
	turns := func(w *Worker) {
		for range 200 {
			w.turn()
		}
	}

	p, w := life(1)
	live(w, 1, 1)
	turns(w)
	if err := p.Close(false); err != nil { // the process dies
		t.Fatal(err)
	}
	p, w = life(2)
	if !p.Recovered().Kept {
		t.Fatalf("the index is not kept: %s", p.Recovered().How())
	}
	turns(w)
	if !p.Tending() || w.st.DigestReady() || w.SleepTime() != -1 {
		t.Errorf("before it is live: pages in doubt %t, sums complete %t, sleeps %v", p.Tending(), w.st.DigestReady(), w.SleepTime())
	}
	live(w, 2, 2)
	turns(w)
	if d := w.SleepTime(); !p.Tending() || w.st.DigestReady() || d != time.Duration(w.limit.rest) {
		t.Errorf("live, at once: pages in doubt %t, sums complete %t, sleeps %v", p.Tending(), w.st.DigestReady(), d)
	}
	if hurried {
		if err := w.OwnDigest(nil); err != ErrDigestWalk {
			t.Fatal(err)
		}
	} else {
		now += w.limit.rest
	}
	turns(w)
	if p.Tending() || !w.st.DigestReady() || w.st.WantsCleaning() {
		t.Errorf("later: pages in doubt %t, sums complete %t, uncounted %t", p.Tending(), w.st.DigestReady(), w.st.WantsCleaning())
	}
}
