package heal

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/rdma"
	"healkv/rdma/gather"
)

// in runs f as a task of the node's process.
func (n *rigNode) in(f func()) {
	n.r.t.Helper()
	done := false
	n.p.Go(func() { f(); done = true })
	n.r.until("a task", func() bool { return done })
}

// TestBuddyRefuses: a range is served in the view that was asked for, to a
// shadow of it, by the life that was asked, and counts only as long as it was
// kept (J2).
func TestBuddyRefuses(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	r.write(r.nodes[0], 20, 10, 50)
	b := r.nodes[0]
	other := r.nodes[1].self
	b.in(func() {
		ctx, l := context.Background(), b.life
		e := l.Installed().Epoch
		for what, q := range map[string]rangeRequest{
			"a member that is live":    {To: b.self, From: other, Epoch: e},
			"a view to come":           {To: b.self, From: other, Epoch: e + 1},
			"another life of this one": {To: proto.Member{Node: b.id, Incarnation: 9}, From: other, Epoch: e},
		} {
			if _, err := l.onRange(ctx, other, &q); err == nil {
				t.Errorf("served %s", what)
			}
		}
		if _, err := l.onEnd(ctx, other, &endRequest{b.self, 77}); !errors.Is(err, errPage) {
			t.Errorf("a range that is not kept: %v", err)
		}
		if _, err := l.onPage(ctx, other, &pageRequest{To: b.self, ID: 77}); !errors.Is(err, errPage) {
			t.Errorf("a page of it: %v", err)
		}
	})
	// Of a shadow, the view to come is refused as well.
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	x.start()
	asked := false
	r.on = func(n *rigNode, event string) {
		if n != x || event != "transfer_begun" || asked {
			return
		}
		asked = true
		self := x.self
		b.p.Go(func() {
			q := rangeRequest{To: b.self, From: self, Epoch: b.life.Installed().Epoch + 1}
			if _, err := b.life.onRange(context.Background(), self, &q); !errors.Is(err, errView) {
				t.Errorf("a view to come, for a shadow: %v", err)
			}
		})
	}
	r.back()
	if !asked {
		t.Error("no transfer")
	}
}

// TestNobodySpeaksForAnother: whoever asks is known to the control plane; what
// it asks in the name of another node is refused, by the name.
func TestNobodySpeaksForAnother(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	b, other := r.nodes[0], r.nodes[1].self
	asks := proto.Member{Node: 2, Incarnation: other.Incarnation}
	b.in(func() {
		ctx, l := context.Background(), b.life
		e := l.Installed().Epoch
		_, hello := l.onHello(ctx, asks, &helloRequest{From: other})
		_, of := l.onRange(ctx, asks, &rangeRequest{To: b.self, From: other, Epoch: e})
		_, cold := l.onCold(ctx, asks, &coldRequest{From: other, Epoch: e})
		for what, err := range map[string]error{"hello": hello, "range": of, "cold start": cold} {
			if err == nil || !strings.Contains(err.Error(), "in the name of") {
				t.Errorf("%s: %v", what, err)
			}
		}
		// A range is read and ended by whom it is for.
		s := &served{to: other, more: make(chan struct{})}
		l.ranges[7] = s
		_, page := l.onPage(ctx, asks, &pageRequest{To: b.self, ID: 7})
		_, end := l.onEnd(ctx, asks, &endRequest{b.self, 7})
		if !errors.Is(page, errPage) || !errors.Is(end, errPage) || l.ranges[7] != s {
			t.Errorf("page: %v, end: %v, kept %v", page, end, l.ranges[7] == s)
		}
		delete(l.ranges, 7)
	})
}

// A member that is done with its leftovers says so once, and until it is heard:
// a fact that finds no room is an error for who tells it. Where nobody takes
// facts any more they are not kept.
func TestFactWithoutRoomIsToldAgain(t *testing.T) {
	l := &Life{told: make(chan struct{}, 1), self: proto.Member{Node: 0, Incarnation: 2}}
	from := proto.Member{Node: 1, Incarnation: 4}
	tell := func() error {
		_, err := l.onCold(context.Background(), from, &coldRequest{From: from, Epoch: 3})
		return err
	}
	for i := range factsMax {
		if err := tell(); err != nil {
			t.Fatalf("fact %d: %v", i, err)
		}
	}
	if err := tell(); !errors.Is(err, errFacts) || len(l.facts) != factsMax {
		t.Errorf("%d facts wait, and one more: %v", len(l.facts), err)
	}
	m := rejoin.New(rejoin.Config{Self: l.self})
	l.learn(m)
	if err := tell(); err != nil || len(l.facts) != 1 {
		t.Errorf("told again: %v, %d facts", err, len(l.facts))
	}
	l.facts, l.driven = nil, true
	for range factsMax + 1 {
		if err := tell(); err != nil {
			t.Fatalf("a fact for a machine that is done: %v", err)
		}
	}
	if len(l.facts) != 0 {
		t.Errorf("%d facts are kept for nobody", len(l.facts))
	}
}

// TestReplacedRangeIsNotWalkedOn: a member that asks anew and anew leaves
// nobody walking for it.
func TestReplacedRangeIsNotWalkedOn(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	r.write(r.nodes[0], 60, 40, 100)
	b, other := r.nodes[0], r.nodes[1].self
	b.in(func() {
		l, w := b.life, b.life.workers[0]
		first := &served{to: other, more: make(chan struct{})}
		var tail uint64
		w.Do(func() {
			l.addRange(first, &rangeReply{})
			l.addRange(&served{to: other, more: make(chan struct{})}, &rangeReply{})
			tail = w.Pool().Store().Tail()
		})
		l.list(w, first, 0, tail, &rangeRequest{To: b.self, From: other, Epoch: l.Installed().Epoch, Full: true})
		if len(l.ranges) != 1 || len(first.ends) != 1 || first.done {
			t.Errorf("%d ranges; of the replaced one %d pages, to the end: %v", len(l.ranges), len(first.ends), first.done)
		}
		l.dropRanges(func(*served) bool { return true })
	})
}

// TestBudgetIsTheNodes: shards recover side by side and share it.
func TestBudgetIsTheNodes(t *testing.T) {
	for _, c := range []struct{ budget, shards, want int }{{0, 4, 0}, {1000, 1, 1000}, {1000, 4, 250}, {3, 4, 1}} {
		l := &Life{cfg: Config{Budget: c.budget}, workers: make([]*dataplane.Worker, c.shards)}
		if got := l.part(l.cfg.Budget); got != c.want {
			t.Errorf("%d for %d shards: %d each, want %d", c.budget, c.shards, got, c.want)
		}
	}
}

// TestTransferAsksAtTheEnd (J2): a buddy that gave the range up meanwhile has
// perhaps used its space again; what was read does not count.
func TestTransferAsksAtTheEnd(t *testing.T) {
	r := newRig(t, 3, 3)
	r.boot()
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	r.write(r.nodes[0], 60, 30, 100)
	gave := 0
	for _, b := range r.nodes[:2] {
		pages := b.handlers[kindPage]
		b.handlers[kindPage] = func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
			reply, err := pages(ctx, from, body)
			if p, ok := reply.(*pageReply); ok && !p.More && gave == 0 {
				gave++ // the last page is out, its records are not read yet
				b.life.dropRanges(func(*served) bool { return true })
			}
			return reply, err
		}
	}
	x.start()
	r.back()
	begun := 0
	for i := r.find(0, "node 2: transfer_begun"); i >= 0; i = r.find(i+1, "node 2: transfer_begun") {
		begun++
	}
	if gave == 0 || begun < 2 {
		t.Errorf("%d ranges given up, %d transfers begun", gave, begun)
	}
	r.same(30)
}

// TestFullCopyCountsForNothing (H17): from the admission on the register says
// that this pool was never live, so a full copy that is cut off is not
// continued as a range.
func TestFullCopyCountsForNothing(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	x := r.nodes[1]
	r.write(r.nodes[0], 40, 20, 100)
	x.snapshot()
	r.write(r.nodes[0], 40, 20, 100)
	r.same(20)
	x.kill()
	r.remove(x)
	if r.view.LiveUntil[1] == 0 {
		t.Fatal("the view forgets at once")
	}
	x.restore()
	x.start()
	r.until("admission", func() bool { return r.view.Shadow.Has(1) })
	if u := r.view.LiveUntil[1]; u != 0 {
		t.Errorf("admitted for a full copy, and live until view %d", u)
	}
	r.back()
}

// TestChangesOfTheViewCompare: an update of a view that has moved is refused.
func TestChangesOfTheViewCompare(t *testing.T) {
	r := newRig(t, 2, 1)
	r.boot()
	n := r.nodes[0]
	was := r.view
	n.in(func() {
		m := rejoin.New(rejoin.Config{Self: n.self})
		err := n.life.update(context.Background(), m, was.Epoch-1, func(v proto.View) proto.View { return v.Next(v.Live, v.Shadow) })
		if !errors.Is(err, errMoved) {
			t.Errorf("changed view %d as if it were the one before: %v", was.Epoch, err)
		}
	})
	if r.view != was {
		t.Errorf("%+v", r.view)
	}
}

// TestRecordsAreVerifiedOnArrival: the buddy's memory is read without it
// noticing; what does not verify is not handed on, and a lock comes along.
func TestRecordsAreVerifiedOnArrival(t *testing.T) {
	img := make([]byte, record.Bytes(1, 20))
	h := record.Header{Kind: record.Put, TS: 16}
	record.Encode(img, &h, []byte("k"), make([]byte, 20), record.Seed(4096, 3))
	for _, locked := range []bool{false, true} {
		for flip := -1; flip < record.HeaderBytes+21; flip++ {
			p := &puller{account: account{l: unheard()}, cur: &dataplane.Batch{}}
			piece := append([]byte(nil), img...)
			if flip >= 0 {
				piece[flip] ^= 4
			}
			done, _, err := p.parse(piece, &run{pos: 4096, bytes: len(piece), incarnation: 3, locked: locked})
			if flip >= 0 {
				if err == nil {
					t.Errorf("a flipped bit in byte %d was taken", flip)
				}
				continue
			}
			if err != nil || done != len(img) || len(p.cur.Items) != 1 || p.cur.Items[0].Locked != locked {
				t.Errorf("locked %v: %d bytes, %+v, %v", locked, done, p.cur.Items, err)
			}
		}
	}
	p := &puller{account: account{l: unheard()}, cur: &dataplane.Batch{}}
	if _, _, err := p.parse(img, &run{pos: 4112, bytes: len(img), incarnation: 3}); err == nil {
		t.Error("a record of another position was taken")
	}
}

// heapRemote is a buddy's memory that counts how often it was asked.
type heapRemote struct {
	mem   []byte
	calls int
	bytes uint64
}

func (r *heapRemote) ReadAt(dst []byte, off int64) (int, error) {
	return len(dst), r.Gather(dst, []rdma.Range{{Off: off, Len: len(dst)}})
}

func (r *heapRemote) Gather(dst []byte, ranges []rdma.Range) error {
	if err := gather.Check(len(dst), ranges, r.Size()); err != nil {
		return err
	}
	r.calls, r.bytes = r.calls+1, r.bytes+uint64(len(dst))
	return gather.Copy(dst, r.mem, ranges)
}

func (r *heapRemote) Size() int64       { return int64(len(r.mem)) }
func (r *heapRemote) BytesRead() uint64 { return r.bytes }
func (r *heapRemote) Close() error      { return nil }

// TestRunsAreReadTogether: records that lie apart come with one read, in their
// order; the piece of a run that a batch cuts is read again from the record on
// that was cut; and a run that does not end where a record does is refused.
func TestRunsAreReadTogether(t *testing.T) {
	const base, records = 4096, 100
	mem := &heapRemote{}
	var runs []run
	for i := range records {
		img := make([]byte, record.Bytes(1, 150))
		pos := uint64(base + len(mem.mem))
		record.Encode(img, &record.Header{Kind: record.Put, TS: 16}, []byte{byte(i)}, make([]byte, 150), record.Seed(pos, 3))
		if i%2 == 0 { // every other one was superseded
			runs = append(runs, run{pos: pos, off: int64(len(mem.mem)), bytes: len(img), incarnation: 3, locked: i%4 == 0})
		}
		mem.mem = append(mem.mem, img...)
	}
	one := runs[0].bytes
	ctx := context.Background()
	p := &puller{account: account{l: unheard()}, remote: mem, cur: &dataplane.Batch{Buf: make([]byte, 64<<10)}}
	for _, r := range runs {
		if err := p.run(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := p.fetch(false); err != nil {
		t.Fatal(err)
	}
	if mem.calls != 1 || len(p.cur.Items) != len(runs) || p.used != len(runs)*one || mem.bytes != uint64(p.used) {
		t.Errorf("%d reads of %d bytes brought %d records, %d bytes; want one of %d records", mem.calls, mem.bytes, len(p.cur.Items), p.used, len(runs))
	}
	for i, it := range p.cur.Items {
		if key := p.cur.Buf[int(it.Off)+record.HeaderBytes]; key != byte(2*i) || it.Locked != runs[i].locked {
			t.Errorf("record %d: key %d, locked %v", i, key, it.Locked)
		}
	}
	// All in one run, and a batch that ends within the last record but ten.
	p = &puller{account: account{l: unheard()}, remote: mem, cur: &dataplane.Batch{Buf: make([]byte, (records-9)*one-8)}}
	all := run{pos: base, bytes: len(mem.mem), incarnation: 3}
	p.plan, p.ranges, p.planned = []run{all}, []rdma.Range{{Len: len(p.cur.Buf)}}, len(p.cur.Buf)
	p.plan[0].bytes = len(p.cur.Buf)
	if done, _, err := p.fetch(true); err != nil || done != (records-10)*one || len(p.cur.Items) != records-10 {
		t.Errorf("cut: %d bytes, %d records, %v", done, len(p.cur.Items), err)
	}
	for _, n := range []int{one - 8, one + 8, 8} {
		p = &puller{account: account{l: unheard()}, remote: mem, cur: &dataplane.Batch{Buf: make([]byte, 64<<10)}}
		r := runs[0]
		r.bytes = n
		err := p.run(ctx, r)
		if err == nil {
			_, _, err = p.fetch(false)
		}
		if !errors.Is(err, errPage) {
			t.Errorf("a run of %d bytes, records of %d: %v", n, one, err)
		}
	}
}

// TestRangeThatWasGivenUp: the superblock says that the range is gone from the
// log, whatever the markers say: the node compares what it has with its buddy's.
func TestRangeThatWasGivenUp(t *testing.T) {
	r := newRig(t, 3, 1)
	for _, n := range r.nodes[:2] {
		p, err := pmem.Open(pmem.OpenOptions{Dir: n.dir(), IndexDir: n.dir(), Identity: n.identity(), Domain: pmem.DomainMemory})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.WriteSuperblock(func(s *pmem.Super) { s.LostThrough = 100 }), p.Close(false)); err != nil {
			t.Fatal(err)
		}
	}
	r.boot()
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	r.write(r.nodes[0], 40, 20, 100)
	x.start()
	r.back()
	r.same(20)
	r.has("node 2 enters, full false", "transfer_done", "node 2: promoted 4 digest")
}

// TestInstalledMeansInTheShards: nobody hears of an install before it is one;
// the others count on it (H6).
func TestInstalledMeansInTheShards(t *testing.T) {
	looks := 0
	for seed := range uint64(12) {
		r := newRig(t, 3, 2+seed)
		r.boot()
		check := func() {
			for _, n := range r.nodes {
				if n.life == nil || n.driven == nil {
					continue
				}
				if e, in := n.life.Installed().Epoch, n.driven.Replica().View().Epoch; e > in {
					t.Fatalf("seed %d: node %d says that it has installed view %d, its shard is in %d", seed, n.id, e, in)
				}
				looks++
			}
		}
		x := r.nodes[2]
		x.kill()
		r.remove(x)
		x.start()
		r.until("everybody serves", func() bool { check(); return r.serving() == len(r.nodes) })
	}
	if looks < 1000 {
		t.Errorf("%d looks", looks)
	}
}

// TestRangeIsPinned: from the request to the end of the transfer the buddy's
// cleaner stays below the range, and is free afterwards.
func TestRangeIsPinned(t *testing.T) {
	r := newRig(t, 3, 4)
	r.boot()
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	r.write(r.nodes[0], 60, 30, 100)
	x.start()
	looks := 0
	r.until("everybody serves", func() bool {
		for _, b := range r.nodes {
			if b.life == nil || b.driven == nil {
				continue
			}
			for _, s := range b.life.ranges {
				looks++
				if at := b.driven.Pinned(); at > s.pin.Load() {
					t.Fatalf("node %d serves a range from %d and is pinned at %d", b.id, s.pin.Load(), at)
				}
			}
		}
		return r.serving() == len(r.nodes)
	})
	if looks == 0 {
		t.Error("nobody saw a range")
	}
	for _, b := range r.nodes {
		if at := b.driven.Pinned(); at != ^uint64(0) {
			t.Errorf("node %d stays pinned at %d", b.id, at)
		}
	}
}

// unheard is a life that only a puller asks for anything.
func unheard() *Life { return &Life{recovery: recorder{clock: monotonic}} }
