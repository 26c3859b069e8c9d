package dataplane

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma/sim"
)

// besideWorker is a worker of one node whose flushes end when the test says so.
type besideWorker struct {
	w      *Worker
	end    *sim.Endpoint
	s      *Session
	jobs   []func()
	fail   error // of the next drains
	failed error // what OnFailure heard
	lease  rigLease
}

func newBesideWorker(t *testing.T, model proto.Model) *besideWorker {
	t.Helper()
	b := &besideWorker{}
	m := &pmem.HeapMedium{BootID: [16]byte{1}}
	o := pmem.FormatOptions{Identity: pmem.Identity{Shards: 1, HashSeed: rigSeed}, SizeBytes: pmem.DataOffset + 16<<20, SegmentBytes: 1 << 20, MaxKeys: 1 << 12}
	if err := pmem.FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	m.Watch = func(r *pmem.Region) { r.SetSyncHook(func() error { return b.fail }) }
	m.Later = func(job func()) { b.jobs = append(b.jobs, job) }
	pool, err := m.Open(o.Identity)
	if err != nil {
		t.Fatal(err)
	}
	if b.end, err = sim.New(sim.Options{Seed: 1}).Endpoint(sim.Config{Nodes: 1, Incarnation: 1}); err != nil {
		t.Fatal(err)
	}
	b.w = NewWorker(WorkerConfig{Nodes: 1, Pool: pool, Endpoint: b.end, Model: model, Lease: &b.lease, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		OnFailure: func(_ int, err error) { b.failed = err }})
	if err := b.w.Open(proto.Member{Incarnation: 1}, false); err != nil {
		t.Fatal(err)
	}
	view := proto.View{Epoch: 1, Shards: 1, Model: model, Configured: 1, Live: 1}
	view.Incarnation[0] = 1
	b.w.InstallView(&view, &Links{}) // nobody else runs: this is the worker's goroutine
	core := NewCore([]*Worker{b.w}, &b.lease)
	host := NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, rigSeed) })
	host.SetCore(core)
	core.SetServing(true)
	b.s = host.NewSession()
	for len(b.jobs) > 0 || b.rest() > 0 { // the marker's flush
		b.land()
	}
	return b
}

// rest drives the worker until it sleeps, and returns how many flushes are under
// way.
func (b *besideWorker) rest() int {
	for i := 0; !b.end.Asleep() && i < 1000 && b.w.Round(); i++ {
	}
	return len(b.jobs)
}

// land ends the flushes under way.
func (b *besideWorker) land() {
	for _, job := range b.jobs {
		job()
	}
	b.jobs = b.jobs[:0]
}

func (b *besideWorker) put(t *testing.T, key string) *Op {
	t.Helper()
	op := &Op{Kind: OpPut, Key: []byte(key), Value: []byte("value")}
	if err := b.s.Submit(op); err != nil {
		t.Fatal(err)
	}
	b.s.Kick()
	return op
}

func (b *besideWorker) answered(t *testing.T) (keys string) {
	t.Helper()
	var done [8]*Op
	for _, op := range done[:b.s.Poll(done[:])] {
		if op.Err != nil {
			t.Fatal(op.Err)
		}
		keys += string(op.Key)
	}
	return keys
}

// While a flush is under way the worker goes on: it takes the next writes, and
// they go out together with the next flush. A write is answered when the flush
// that it belongs to has ended, in the models that promise that, and that flush
// wakes the worker.
func TestPipelinedGroupCommit(t *testing.T) {
	for _, model := range proto.Models() {
		waits := model == proto.Synchronous || model == proto.Strict
		background := model.Gates().Flush == proto.FlushBackground
		b := newBesideWorker(t, model)
		flushes := b.w.Counters.Flushes
		b.put(t, "a")
		switch under := b.rest(); {
		case background:
			if under != 0 {
				t.Errorf("%v: %d flushes at once", model, under)
			}
			if got := b.answered(t); got != "a" {
				t.Errorf("%v: answered %q", model, got)
			}
			continue
		case under != 1 || !b.end.Asleep():
			t.Fatalf("%v: %d flushes under way, asleep %v", model, under, b.end.Asleep())
		}
		b.put(t, "b")
		b.put(t, "c")
		if under := b.rest(); under != 1 {
			t.Errorf("%v: %d flushes at a time", model, under)
		}
		if got := b.answered(t); (got == "") != waits {
			t.Errorf("%v: answered %q before any flush ended", model, got)
		}
		b.land()
		if b.end.Asleep() {
			t.Fatalf("%v: the end of a flush has not woken the worker", model)
		}
		if under := b.rest(); under != 1 {
			t.Errorf("%v: %d flushes after the first, with two writes waiting", model, under)
		}
		if got := b.answered(t); waits && got != "a" {
			t.Errorf("%v: answered %q when the first flush had ended", model, got)
		}
		b.land()
		if under := b.rest(); under != 0 {
			t.Errorf("%v: %d flushes of nothing", model, under)
		}
		if got := b.answered(t); waits && got != "bc" {
			t.Errorf("%v: answered %q when the second flush had ended", model, got)
		}
		if n := b.w.Counters.Flushes - flushes; n != 2 {
			t.Errorf("%v: %d flushes for three writes in two bursts", model, n)
		}
	}
}

// A flush that fails beside its worker stops the shard, and nothing that waited
// for it is answered as done.
func TestFlushFailsBesideItsWorker(t *testing.T) {
	b := newBesideWorker(t, proto.Synchronous)
	op := b.put(t, "a")
	b.rest()
	b.fail = errors.New("input/output error")
	b.land()
	b.fail = nil
	b.rest()
	if !b.w.Stopping() || !errors.Is(b.failed, pmem.ErrFlush) {
		t.Fatalf("stopping %v, %v", b.w.Stopping(), b.failed)
	}
	b.w.Halt()
	var done [2]*Op
	if n := b.s.Poll(done[:]); n != 1 || done[0] != op || !errors.Is(op.Err, ErrUnknown) {
		t.Errorf("%d answers: %v", n, fmt.Sprint(op.Err))
	}
}

// The end of a worker leaves no flush behind it: its endpoint may go.
func TestHaltWaitsForItsFlush(t *testing.T) {
	b := newBesideWorker(t, proto.Synchronous)
	b.put(t, "a")
	if b.rest() != 1 {
		t.Fatal("no flush")
	}
	b.w.Halt()
	b.end.PrepareSleep()
	b.end.Sleep(-1)
	b.land()
	if !b.end.Asleep() {
		t.Error("a flush has woken an endpoint whose worker has ended")
	}
}

// A flush is put off while those who were just answered may write again, and
// never longer than a part of what a flush takes.
func TestGather(t *testing.T) {
	const ms = 1_000_000
	b := newBesideWorker(t, proto.Synchronous)
	w, g := b.w, &b.w.gather
	*g = gather{took: 4 * ms, from: 1000}
	w.now = 50 * ms
	g.flushed(w.now, 4*ms, 1800, 1900) // it carried 800 bytes, 100 wait
	if g.until != w.now+1*ms || g.enough != 1900+700 {
		t.Fatalf("%+v", *g)
	}
	for _, c := range []struct {
		tail uint64
		now  int64
		want bool
	}{{1900, 50 * ms, true}, {2599, 50*ms + ms - 1, true}, {2600, 50 * ms, false}, {1900, 51 * ms, false}} {
		was := *g
		if w.now = c.now; w.gathering(c.tail) != c.want {
			t.Errorf("tail %d, after %d ns: put off %v", c.tail, c.now-50*ms, !c.want)
		}
		*g = was
	}
	// What takes no longer than a sleep is exact is not put off.
	*g = gather{took: 4 * gatherMin / 2, from: 1000}
	if g.flushed(50*ms, gatherMin, 1800, 1900); g.until != 0 {
		t.Errorf("%+v", *g)
	}
	// The worker's sleep ends with it.
	b.put(t, "a")
	w.gather = gather{until: w.clock() + int64(time.Hour), enough: ^uint64(0)}
	if under := b.rest(); under != 0 || !b.end.Asleep() {
		t.Fatalf("%d flushes under way", under)
	}
	if d := w.SleepTime(); d <= 0 || d > time.Hour {
		t.Errorf("it sleeps for %v", d)
	}
}

// A worker that waits for its processor puts flushes off for longer, and no longer
// once it has one again.
func TestGatherCrowded(t *testing.T) {
	const ms = 1_000_000
	for _, c := range []struct {
		took, crowd, want int64
	}{
		{ms / 4, 0, ms / 8},
		{ms / 4, crowdMost / 2, ms/8 + ms/4*5/4},
		{ms / 4, crowdMost, 3 * ms / 4},
		{ms / 4, crowdAll, 3 * ms / 4},
		{4 * ms, crowdAll, gatherMax + gatherCrowded},
		{gatherMin / 2, 0, 0},
		{gatherMin / 2, crowdAll, 3 * gatherMin / 2},
		{gatherMin / 4, crowdAll, 0}, // a sleep is not as exact
	} {
		g := gather{took: c.took, crowd: c.crowd, from: 1000}
		if g.flushed(50*ms, c.took, 1800, 1900); g.until != c.want && g.until-50*ms != c.want {
			t.Errorf("a flush of %d ns, crowd %d of %d: put off by %d ns, want %d", c.took, c.crowd, crowdAll, g.until-50*ms, c.want)
		}
	}
	var g gather
	waited := int64(7 * ms)
	g.crowded(5*ms, waited) // before it was looked at for the first time
	for range 40 {
		waited += 5 * ms
		g.crowded(5*ms, waited)
	}
	if g.crowd < crowdAll-8 || g.crowd > crowdAll {
		t.Errorf("waiting all the time is a crowd of %d, want %d", g.crowd, crowdAll)
	}
	for range 40 {
		waited += ms / 2
		g.crowded(5*ms, waited)
	}
	if want := int64(crowdAll / 10); g.crowd < want-8 || g.crowd > want+8 {
		t.Errorf("waiting for a tenth of the time is a crowd of %d, want %d", g.crowd, want)
	}
	for range 40 {
		g.crowded(5*ms, 0) // nobody counts any more
	}
	if g.crowd > 8 {
		t.Errorf("a crowd of %d, and nobody waits", g.crowd)
	}
}
