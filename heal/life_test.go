package heal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// seeds runs a scenario with several seeds: few in a short run.
func seeds(t *testing.T, short, long int, run func(t *testing.T, seed uint64)) {
	n := long
	if testing.Short() {
		n = short
	}
	for seed := range uint64(n) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { run(t, seed) })
		if t.Failed() {
			t.Fatalf("repeat with: go test ./heal -run '%s/seed=%d$'", t.Name(), seed)
		}
	}
	tally.Add("recovery", t.Name(), n)
}

func (r *rig) back() {
	r.t.Helper()
	r.until("everybody serves", func() bool { return r.serving() == len(r.nodes) })
}

// has requires notes with these words, in this order.
func (r *rig) has(words ...string) {
	r.t.Helper()
	at := 0
	for _, w := range words {
		i := r.find(at, w)
		if i < 0 {
			r.t.Fatalf("seed %d: no %q after line %d", r.seed, w, at)
		}
		at = i + 1
	}
}

func TestWayBackByRange(t *testing.T) {
	seeds(t, 2, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		r.write(r.nodes[0], 100, 50, 100)
		x := r.nodes[2]
		x.kill()
		r.remove(x)
		r.write(r.nodes[1], 100, 50, 100)
		x.start()
		r.back()
		r.write(x, 20, 50, 100)
		if n := r.same(50); n < 40 || r.spots < n {
			t.Errorf("%d keys, %d looks", n, r.spots)
		}
		r.has("node 2 enters, full false", "transfer_done", "node 2: promoted 4 heal")
	})
}

// Nothing in a life depends on anything but what it is given.
func TestSameSeedSameRun(t *testing.T) {
	var first []string
	for i := range 2 {
		r := newRig(t, 3, 7)
		r.budget = 64
		r.boot()
		x := r.nodes[2]
		x.kill()
		r.remove(x)
		c := r.nodes[0].writes(0, 30, 200)
		r.until("writes", func() bool { return c.done >= 50 })
		x.start()
		r.sim.Run(9 * time.Millisecond)
		x.kill()
		r.remove(x)
		x.start()
		r.back()
		r.finish(c)
		r.same(30)
		if i == 0 {
			first = r.log
		} else if !slices.Equal(r.log, first) {
			t.Errorf("two runs:\n%s\n\n%s", strings.Join(first, "\n"), strings.Join(r.log, "\n"))
		}
	}
	if len(first) < 20 {
		t.Errorf("%d lines", len(first))
	}
}

// While the buddy lists a range, a coordinator writes whose stream reaches the
// recovering node late: what the buddy has in place of a missed record comes
// after the promotion. Only the list's last step, on the buddy's worker, sees
// to it that the key is listed in one form or the other.
func TestListEndsWithTheBuddysWorker(t *testing.T) {
	const keys = 60
	overtaken := 0
	seeds(t, 2, 40, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.limits.WalkBytes = 256
		r.boot()
		x := r.nodes[2]
		x.kill()
		r.remove(x)
		r.write(r.nodes[0], 3*keys, keys, 100)
		x.start()
		late := 0
		var writers []*writer
		r.on = func(n *rigNode, event string) {
			switch {
			case n == x && event == "transfer_begun" && writers == nil:
				r.net.SetDelay(1, 2, 1500, 2500)
				for k := range keys { // anywhere in the walk
					c := r.nodes[1].writer(k, 1, 100)
					writers = append(writers, c)
					r.sim.At(time.Duration(r.rng.IntN(int(8*time.Millisecond))), c.step)
				}
			case n == x && event == "promoted":
				for _, c := range writers {
					if c.pending {
						late++
					}
				}
			}
		}
		r.back()
		for _, c := range writers {
			r.finish(c)
		}
		if n := r.same(keys); n < keys*3/4 || late == 0 {
			t.Errorf("%d keys, %d writes under way at the promotion", n, late)
		}
		overtaken += late
	})
	t.Logf("%d writes were under way at promotions", overtaken)
}

// H19: a copy of the pool from earlier in the same life. The members saw it
// flush more than it comes back with.
func TestOlderPoolOfTheSameLife(t *testing.T) { olderPool(t, (*rigNode).restore) }

// H19: the same, with the index that the last life left: by its account the log
// went on to where the members saw it flushed.
func TestOlderPoolUnderANewerIndex(t *testing.T) {
	olderPool(t, func(n *rigNode) {
		index, err := filepath.Glob(filepath.Join(n.dir(), "*.index"))
		if err != nil || len(index) == 0 {
			n.r.t.Fatal("no index is left: ", err)
		}
		left := make([][]byte, len(index))
		for i, name := range index {
			if left[i], err = os.ReadFile(name); err != nil {
				n.r.t.Fatal(err)
			}
		}
		n.restore()
		for i, name := range index {
			if err := os.WriteFile(name, left[i], 0o600); err != nil {
				n.r.t.Fatal(err)
			}
		}
	})
}

func olderPool(t *testing.T, restore func(*rigNode)) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[1]
		r.write(r.nodes[0], 40, 20, 100)
		r.same(20)
		x.snapshot()
		r.write(r.nodes[0], 40, 20, 100)
		r.same(20)
		x.kill()
		r.remove(x)
		r.write(r.nodes[2], 10, 20, 100)
		restore(x)
		x.start()
		r.back()
		r.same(20)
		r.has("node 1 killed", "node 1 fenced: the pool is older than what the members saw it flush, full true", "node 1 enters, full true", "node 1: promoted 4 full")
	})
}

// H19: a copy of an earlier life, and the view knows of a later one.
func TestOlderPoolOfAnEarlierLife(t *testing.T) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[1]
		r.write(r.nodes[0], 40, 20, 100)
		x.snapshot()
		x.kill()
		r.remove(x)
		x.start()
		r.back()
		r.write(x, 40, 20, 100)
		r.same(20)
		x.kill()
		r.remove(x)
		x.restore()
		x.start()
		r.back()
		r.same(20)
		if x.lives != 3 {
			t.Errorf("%d lives", x.lives)
		}
		r.has("node 1 killed", "node 1 enters, full false", "node 1 killed", "node 1 enters, full true", "transfer_done", "node 1: promoted")
	})
}

// A blank pool of a node that the view still counts as live: it leaves the
// view before it discards anything (the rig looks at every discard).
func TestLeavesBeforeItDiscards(t *testing.T) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[2]
		r.write(r.nodes[0], 40, 20, 100)
		x.kill() // nobody notices
		x.format()
		x.start()
		r.back()
		r.same(20)
		r.has("node 2 killed", "view 2: live [0 1], shadow []", "node 2 enters, full true", "view 3: live [0 1], shadow [2]", "node 2: promoted 4 full")
	})
}

// The buddy dies in the middle: another one lists from the beginning.
func TestBuddyDies(t *testing.T) {
	seeds(t, 2, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 4, seed)
		r.budget = 4 // bytes per millisecond: it takes a while
		r.boot()
		x, b := r.nodes[2], r.nodes[3]
		x.kill()
		r.remove(x)
		r.write(r.nodes[0], 60, 30, 200)
		x.start()
		killed := false
		r.on = func(n *rigNode, event string) {
			if event == "transfer_begun" && !killed {
				killed = true
				r.sim.At(time.Duration(r.rng.IntN(int(20*time.Millisecond))), func() {
					b.kill()
					r.sim.At(time.Duration(r.rng.IntN(int(20*time.Millisecond))), func() { r.remove(b) })
				})
			}
		}
		r.until("three serve", func() bool { return killed && b.p == nil && r.serving() == 3 })
		r.on = nil
		r.write(r.nodes[1], 20, 30, 200)
		b.start()
		r.back()
		r.same(30)
		r.has("transfer_begun 3 buddy 3", "node 3 killed", "node 2: transfer_begun", "transfer_done", "node 2: promoted", "node 3: promoted")
	})
}

// The recovering node dies anywhere on its way, and comes back at last.
func TestDiesOnTheWayBack(t *testing.T) {
	deaths := 0
	seeds(t, 3, 40, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.budget = 64
		r.boot()
		x := r.nodes[0]
		x.kill()
		r.remove(x)
		c := r.nodes[1].writes(0, 30, 200)
		r.until("writes", func() bool { return c.done >= 40 })
		for range 4 {
			x.start()
			r.sim.Run(time.Duration(r.rng.IntN(int(8 * time.Millisecond))))
			if r.serving() == 3 {
				break
			}
			x.kill()
			deaths++
			if r.rng.IntN(2) == 0 && r.view.Members().Has(x.id) {
				r.remove(x)
			}
		}
		if x.p == nil {
			x.start()
		}
		r.sim.Run(20 * time.Millisecond)
		if v := &r.view; v.Members().Has(x.id) && !v.Has(x.self) { // of an earlier process
			r.remove(x)
		}
		r.back()
		r.finish(c)
		if n := r.same(30); n < 20 {
			t.Errorf("%d keys", n)
		}
	})
	if deaths == 0 {
		t.Error("nobody died")
	}
	t.Logf("%d deaths on the way back", deaths)
}

// Every life that dies on its way back leaves a segment that nobody may clean
// before the node is live. When the log is full of them, the way back cannot
// go on and must not stay: a full copy begins with an empty log.
func TestNoRoomForTheRange(t *testing.T) {
	seeds(t, 1, 5, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[0]
		x.kill()
		r.remove(x)
		r.on = func(n *rigNode, event string) {
			if n == x && event == "admitted" {
				x.driven.Pin(0) // as if somebody read its log: the cleaner can give nothing back
			}
			if n == x && event == "transfer_done" {
				x.kill()
				r.remove(x)
			}
		}
		for range 6 {
			r.write(r.nodes[1], 10, 30, 200)
			lives := x.lives
			x.start()
			r.until("the end", func() bool { return x.p == nil || x.lives > lives+1 })
			if x.p != nil {
				break // there was no room, and another life has begun
			}
		}
		r.on = nil
		if x.p == nil {
			x.start()
		}
		r.back()
		r.write(x, 10, 30, 200)
		r.same(30)
		r.has("node 0 fenced: the log has no room", "node 0 enters, full true", "node 0: promoted")
	})
}

// All die, with writes under way; the live members of the last view make a
// cold start.
func TestColdStart(t *testing.T) {
	for _, model := range proto.Models() {
		t.Run(model.String(), func(t *testing.T) {
			seeds(t, 2, 10, func(t *testing.T, seed uint64) {
				r := newRig(t, 3, seed)
				r.model = model
				r.boot()
				var cs []*writer
				for i, n := range r.nodes {
					cs = append(cs, n.writes(i*5, 10, 100), n.writes(0, 20, 100))
				}
				r.until("writes", func() bool { return cs[0].done >= 20 })
				for _, n := range r.nodes {
					n.kill() // a process: the pool keeps what was written
				}
				for _, n := range r.nodes {
					n.start()
				}
				r.back()
				r.write(r.nodes[2], 10, 20, 100)
				if n := r.same(20); n < 15 {
					t.Errorf("%d keys", n)
				}
				r.has("cold_start 1", "view 2: live [], shadow [0 1 2]", "view 3: live [0 1 2], shadow []")
			})
		})
	}
}

// A member of a cold start dies while another one waits for it to take in what
// it has rolled forward: nobody is there to remove the dead one, so the waiting
// one must hear of its next life.
func TestColdMemberDiesUnderTheWaiting(t *testing.T) {
	again := 0
	seeds(t, 3, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		var cs []*writer
		for i, n := range r.nodes {
			cs = append(cs, n.writes(i*5, 10, 100), n.writes(0, 20, 100))
		}
		r.until("writes", func() bool { return cs[0].done >= 20 })
		for _, n := range r.nodes {
			n.kill()
		}
		x, killed := r.nodes[2], false
		r.on = func(n *rigNode, event string) {
			if n != x && event == "all_installed" && !killed {
				killed = true
				r.sim.At(0, x.kill)
				r.sim.At(time.Duration(r.rng.IntN(int(20*time.Millisecond))), x.start)
			}
		}
		for _, n := range r.nodes {
			n.start()
		}
		r.until("a death in the cold start", func() bool { return killed && x.p == nil })
		r.until("the next life", func() bool { return x.p != nil })
		r.back()
		r.on = nil
		r.same(20)
		if r.find(0, "a member of the cold start died in it") >= 0 {
			again++
		}
	})
	if again == 0 {
		t.Error("no cold start began again")
	}
	t.Logf("%d cold starts began again", again)
}

// Several nodes that wait for another one hear of each other's tries. That is
// news, and no reason to try at once: they would set each other off, as fast as
// messages travel.
func TestHellosKeepTheirDistance(t *testing.T) {
	r := newRig(t, 4, 1)
	r.travel = 50 * time.Microsecond
	r.boot()
	for _, n := range r.nodes {
		n.kill()
	}
	for _, n := range r.nodes[1:] {
		n.start()
	}
	r.sim.Run(100 * time.Millisecond) // processes begin
	before := r.calls[kindHello]
	const long = time.Second
	r.sim.Run(long)
	hellos, tries := r.calls[kindHello]-before, 3*int(long/retryLeast)
	if hellos == 0 || hellos > tries*3 {
		t.Errorf("%d hellos of three nodes to three others in %v: more than one each every %v", hellos, long, retryLeast)
	}
	t.Logf("%d hellos in %v", hellos, long)
	r.nodes[0].start()
	r.back()
}

// A member that is cut off while it runs lives on in another life.
func TestFencedLifeBeginsAgain(t *testing.T) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		cs := []*writer{r.nodes[0].writes(0, 20, 100), r.nodes[1].writes(0, 20, 100)}
		r.until("writes", func() bool { return cs[0].done >= 20 })
		r.remove(r.nodes[1])
		r.until("another life", func() bool { return r.nodes[1].lives == 2 })
		r.back()
		at := cs[1].done
		r.until("writes of the next life", func() bool { return cs[1].done >= at+20 })
		for _, c := range cs {
			r.finish(c)
		}
		r.same(20)
		r.has("node 1 fenced", "node 1 enters, full false", "node 1: promoted")
	})
}

func (n *rigNode) snapshot() { n.copy(n.dir(), n.dir()+".copy") }
func (n *rigNode) restore()  { n.copy(n.dir()+".copy", n.dir()) }

func (n *rigNode) copy(from, to string) {
	n.r.t.Helper()
	if err := os.RemoveAll(to); err != nil {
		n.r.t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		n.r.t.Fatal(err)
	}
}

// format makes the pool anew, as after a reboot in the memory domain.
func (n *rigNode) format() {
	n.r.t.Helper()
	if err := os.RemoveAll(n.dir()); err != nil {
		n.r.t.Fatal(err)
	}
	if err := pmem.Format(pmem.FormatOptions{Dir: n.dir(), IndexDir: n.dir(), Identity: n.identity(), SizeBytes: 14 << 20,
		MaxKeys: 4096, Domain: pmem.DomainMemory}); err != nil {
		n.r.t.Fatal(err)
	}
}

// A pool that is whole although it could not say so yet counts in a cold start
// that is repeated: without that it would wait for ever.
func TestOpenedInARepeatedColdStart(t *testing.T) {
	m := &pmem.HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{1}}
	o := pmem.FormatOptions{Identity: pmem.Identity{Shards: 1}, SizeBytes: pmem.DataOffset + 64<<10, SegmentBytes: 8 << 10, MaxKeys: 100}
	if err := pmem.FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		v     proto.View
		blank bool
	}{
		{proto.View{Live: 1, Incarnation: [proto.NodesMax]proto.Incarnation{8}}, false},
		{proto.View{Shadow: 1, Cold: true, Incarnation: [proto.NodesMax]proto.Incarnation{8}}, false},
		{proto.View{Shadow: 1, Incarnation: [proto.NodesMax]proto.Incarnation{8}}, true},
		{proto.View{Shadow: 1, Cold: true, Incarnation: [proto.NodesMax]proto.Incarnation{7}}, true},
		{proto.View{Live: 2, Incarnation: [proto.NodesMax]proto.Incarnation{8}}, true},
	} {
		p, err := m.Open(o.Identity)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Discard(8); err != nil { // a full copy, promoted, not noted
			t.Fatal(err)
		}
		opened := func(self proto.Incarnation, v *proto.View) {
			if p, err = m.Open(o.Identity); err != nil {
				t.Fatal(err)
			}
			x := Config{Self: proto.Member{Incarnation: self}}
			x.Opened([]*pmem.Pool{p}, v, true)
			if x.Blank != c.blank {
				t.Errorf("life %d, %+v: full %q, blank %v", self, *v, x.Full, x.Blank)
			}
			if self == 9 && (x.Full != "") != c.blank {
				t.Errorf("%+v: full %q", *v, x.Full)
			}
		}
		opened(9, &c.v)
		// That life proposes a cold start, and ends before it has begun its pool.
		opened(10, &proto.View{Shadow: 1, Cold: true, Incarnation: [proto.NodesMax]proto.Incarnation{9}})
	}
}

// A pool that may lack keys heals by comparison, and gives nothing to a cold
// start.
func TestOpenedDoubtful(t *testing.T) {
	m := &pmem.HeapMedium{BootID: [16]byte{1}, PoolID: [16]byte{1}}
	o := pmem.FormatOptions{Identity: pmem.Identity{Shards: 1}, SizeBytes: pmem.DataOffset + 64<<10, SegmentBytes: 8 << 10, MaxKeys: 100}
	if err := pmem.FormatHeap(o, m); err != nil {
		t.Fatal(err)
	}
	p, err := m.Open(o.Identity)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(8); err != nil {
		t.Fatal(err)
	}
	var at uint64
	for i := range 3 {
		key := []byte{byte(i + 1)}
		var e store.Entry
		p.Store().Find(&e, p.Store().Hash(key), key)
		at = max(at, p.Store().Put(&e, &record.Header{Kind: record.Put, TS: 1}, key, key, false))
		if i == 1 {
			p.Store().Record(at)[9] ^= 1
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteSuperblock(func(*pmem.Super) {}); err != nil {
		t.Fatal(err)
	}
	for boot := byte(1); boot <= 2; boot++ { // with its index, and without
		m.BootID[0] = boot
		if p, err = m.Open(o.Identity); err != nil {
			t.Fatal(err)
		}
		x := Config{Self: proto.Member{Incarnation: 9}}
		x.Opened([]*pmem.Pool{p}, &proto.View{Live: 1, Incarnation: [proto.NodesMax]proto.Incarnation{8}}, true)
		if want := boot == 2; (x.Doubtful != "") != want || x.Blank != want || x.Full != "" {
			t.Errorf("boot %d: doubtful %q, blank %v, full %q", boot, x.Doubtful, x.Blank, x.Full)
		}
	}
}
