package heal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// forgetRanges has the live nodes forget what everybody who is away missed.
func (r *rig) forgetRanges() {
	r.t.Helper()
	r.until("the view without who is away", func() bool {
		for _, n := range r.nodes {
			if n.life != nil && n.life.Installed().Epoch < r.view.Epoch {
				return false
			}
		}
		return true
	})
	for _, n := range r.nodes {
		if n.driven != nil {
			w := n.driven
			n.in(func() {
				w.Do(func() {
					if _, err := w.ForgetRanges(); err != nil {
						r.t.Error(err)
					}
				})
			})
		}
	}
}

// dropIndex has the next opening read the log. The node is down.
func (n *rigNode) dropIndex() {
	files, err := filepath.Glob(filepath.Join(n.dir(), "*.index"))
	if err != nil || len(files) != 1 || os.Remove(files[0]) != nil {
		n.r.t.Fatal("no index to remove", files, err)
	}
}

// deletes deletes keys through a node, one after the other.
func (r *rig) deletes(n *rigNode, keys ...int) {
	r.t.Helper()
	s := n.host.NewSession()
	var polled [1]*dataplane.Op
	for _, k := range keys {
		op := dataplane.Op{Kind: dataplane.OpDelete, Key: fmt.Append(nil, "key-", k)}
		if err := s.Submit(&op); err != nil {
			r.t.Fatal(err)
		}
		r.until("a delete", func() bool { return s.Poll(polled[:]) == 1 })
		if op.Err != nil {
			r.t.Fatal(op.Err)
		}
		r.done[string(op.Key)] = uint64(op.TS)
	}
}

// digests requires that all nodes have the same sums, and that these are right.
func (r *rig) digests() {
	r.t.Helper()
	var first []store.Sum
	for _, n := range r.nodes {
		st := n.pool.Store()
		for st.DigestWalk() {
		}
		sums, want := make([]store.Sum, store.DigestRanges), make([]store.Sum, store.DigestRanges)
		st.Digest(sums)
		if err := st.ListHashes(0, ^uint64(0), nil, func(x *store.Listed) bool {
			want[x.Hash>>rangeShift].Add(x.Sum())
			return true
		}); err != nil {
			r.t.Fatal(err)
		}
		if !slices.Equal(sums, want) {
			r.t.Errorf("seed %d: node %d: the sums are not those of its records", r.seed, n.id)
		}
		if first == nil {
			first = sums
		} else if !slices.Equal(sums, first) {
			r.t.Errorf("seed %d: node %d: its sums are not node 0's", r.seed, n.id)
		}
	}
}

// The members have forgotten what a node missed: overwritten, new and deleted
// keys. It fetches these and little else.
func TestWayBackByDigest(t *testing.T) {
	const keys = 600
	var moved, stored uint64
	seeds(t, 3, 12, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.limits.PartBits = int(seed % 3)
		r.boot()
		r.write(r.nodes[0], 2*keys, keys, 100)
		x := r.nodes[2]
		x.kill()
		r.remove(x)
		c := r.nodes[1].writes(0, 20, 100)
		r.until("writes", func() bool { return c.done >= 40 })
		r.finish(c)
		c = r.nodes[1].writes(keys, 10, 100) // new ones
		r.until("writes", func() bool { return c.done >= 20 })
		r.finish(c)
		r.deletes(r.nodes[0], 3, 30, 300, keys+1, 2*keys) // the last one of a key that never was
		r.forgetRanges()
		x.start()
		r.back()
		got := x.life.Recovery()
		if n := r.same(2*keys + 1); n < keys/2 || got.Kind != "digest" || got.Ranges == 0 || got.Buried != 0 || got.Unlike != 0 {
			t.Errorf("%d keys, %+v", n, got)
		}
		if got.Records < 25 || got.Records > 60 {
			t.Errorf("%d records fetched, about 35 keys were missed", got.Records)
		}
		r.digests()
		moved, stored = moved+got.Missed, stored+got.StoreBytes
		r.has("node 2 enters, full false", "transfer_done", "node 2: promoted 4 digest")
	})
	t.Logf("%d bytes of records fetched, of %d in the buddies' logs", moved, stored)
}

// While digests are compared clients write, over streams that reach the node
// late (TestListEndsWithTheBuddysWorker); members die; the node dies.
func TestDigestUnderLoad(t *testing.T) {
	const keys = 60
	late, again := 0, 0
	seeds(t, 3, 12, func(t *testing.T, seed uint64) {
		r := newRig(t, 4, seed)
		r.limits.PartBits = int(seed % 2)
		r.boot()
		r.write(r.nodes[0], 3*keys, keys, 100)
		x := r.nodes[2]
		x.kill()
		r.remove(x)
		r.write(r.nodes[0], 3*keys, keys, 100)
		r.deletes(r.nodes[1], 5, 6, 7)
		r.forgetRanges()
		x.start()
		var writers []*writer
		fault := false
		r.on = func(n *rigNode, event string) {
			switch {
			case n == x && event == "transfer_begun" && writers == nil:
				r.net.SetDelay(1, 2, 1500, 2500)
				for k := range keys {
					c := r.nodes[1].writer(k, 1, 100)
					writers = append(writers, c)
					r.sim.At(time.Duration(r.rng.IntN(int(8*time.Millisecond))), c.step)
				}
			case n == x && event == "transfer_begun" && !fault:
				fault = true
			case n == x && event == "transfer_done" && !fault && seed%3 == 1:
				fault = true
				again++
				x.kill()
				r.remove(x)
				r.sim.At(5*time.Millisecond, x.start)
			case n == x && event == "all_installed" && !fault && seed%3 == 2:
				fault = true
				again++
				r.sim.At(time.Duration(r.rng.IntN(int(4*time.Millisecond))), func() {
					b := r.nodes[3] // its buddy
					b.kill()
					r.remove(b)
					r.sim.At(30*time.Millisecond, b.start)
				})
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
		r.back()
		if n := r.same(keys); n < keys*3/4 || r.spots == 0 {
			t.Errorf("%d keys, %d looks", n, r.spots)
		}
		r.digests()
		r.has("node 2: promoted")
		if r.find(0, "digest") < 0 {
			t.Errorf("seed %d: nobody compared digests", seed)
		}
	})
	if late == 0 || again == 0 {
		t.Errorf("%d writes under way at a promotion, %d faults: too few", late, again)
	}
	t.Logf("%d writes under way at a promotion, %d faults amid the comparison", late, again)
}

// A key that the members do not have at all, although the node has it settled:
// what deleted it was dropped at the members and lost by the node. It is deleted
// at the node, and stays so when its index is built anew.
func TestDigestBuries(t *testing.T) {
	r := newRig(t, 3, 5)
	r.boot()
	r.write(r.nodes[0], 200, 50, 100)
	r.same(50)
	r.until("all is stable", func() bool {
		for _, n := range r.nodes {
			if n.driven.Replica().StablePos() < n.pool.Store().Tail() {
				return false
			}
		}
		return true
	})
	x, gone := r.nodes[2], []byte("key-7")
	x.kill()
	r.remove(x)
	for _, n := range r.nodes[:2] {
		st := n.pool.Store()
		var e store.Entry
		if st.Find(&e, xxh3.HashSeed(gone, rigSeed), gone); !e.OK || !st.Drop(xxh3.HashSeed(gone, rigSeed), e.Pos) {
			t.Fatal("no key to drop")
		}
	}
	delete(r.done, string(gone))
	r.forgetRanges()
	x.start()
	r.back()
	got := x.life.Recovery()
	if got.Kind != "digest" || got.Buried != 1 || got.Records != 0 {
		t.Errorf("%+v", got)
	}
	read := func() store.State {
		rd := x.pool.Store().NewReader()
		defer rd.Close()
		_, _, st := rd.Get(xxh3.HashSeed(gone, rigSeed), gone, nil)
		return st
	}
	if st := read(); st != store.Deleted {
		t.Errorf("the key is %v at the node", st)
	}
	x.kill()
	r.remove(x)
	x.dropIndex()
	x.start()
	r.back()
	if st := read(); st != store.Deleted {
		t.Errorf("the key is %v at the node after its index was built anew", st)
	}
}

// Sums that do not cover all records yet are not compared: where neither node has
// been, both would be equal.
func TestDigestWaitsForTheWalk(t *testing.T) {
	r := newRig(t, 3, 8)
	r.boot()
	r.write(r.nodes[0], 200, 50, 100)
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	r.write(r.nodes[1], 100, 50, 100)
	r.forgetRanges()
	x.start()
	begun := false
	r.on = func(n *rigNode, event string) {
		if n == x && event == "transfer_begun" {
			begun = true
			for _, n := range r.nodes {
				n.pool.Store().DigestAgain()
			}
		}
	}
	r.back()
	if n, got := r.same(50), x.life.Recovery(); n < 40 || got.Kind != "digest" || !begun {
		t.Errorf("%d keys, %+v", n, got)
	}
	r.digests()
}

// A pool that is doubtful compares although there is a range.
func TestDoubtfulPoolCompares(t *testing.T) {
	r := newRig(t, 3, 6)
	r.boot()
	r.write(r.nodes[0], 200, 50, 100)
	x := r.nodes[2]
	x.kill()
	r.remove(x)
	r.write(r.nodes[1], 20, 50, 100)
	x.doubtful = "a part of the log does not verify"
	x.start()
	r.back()
	if n, got := r.same(50), x.life.Recovery(); n < 40 || got.Kind != "digest" {
		t.Errorf("%d keys, %+v", n, got)
	}
}

// What a peer says is checked: entries and sums of any bytes decode to an error
// or to what can be asked for, and requests of any bytes are refused.
func TestDigestMessages(t *testing.T) {
	x := store.Listed{Hash: 1 << 63, TS: 77, Pos: 1 << 40, Off: 4096, Bytes: 176, Incarnation: 9, BodyCRC: 5, Tombstone: true, Locked: true}
	b := appendEntry(nil, &x)
	got, rest, err := decodeEntry(b)
	if err != nil || got != x || len(rest) != 0 {
		t.Fatalf("%+v, %d bytes left, %v", got, len(rest), err)
	}
	refused := 0
	for n := range b {
		if _, _, err := decodeEntry(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are an entry", n, len(b))
		}
		refused++
	}
	for i := range b { // any byte may be anything
		for _, v := range []byte{0, 0x7f, 0x80, 0xff} {
			c := bytes.Clone(b)
			c[i] = v
			if x, _, err := decodeEntry(c); err == nil && (x.Off < 0 || x.Bytes <= 0) {
				t.Errorf("byte %d as %#x: %+v", i, v, x)
			}
		}
	}
	if decodeSums(make([]byte, 15), make([]store.Sum, 1)) == nil {
		t.Error("15 bytes are a sum")
	}
	if ascending([]uint32{1, 1}, 4) || ascending([]uint32{3, 4}, 4) || ascending(nil, 4) || !ascending([]uint32{0, 3}, 4) {
		t.Error("which lists ascend")
	}
	for keys, bits := range map[uint64]int{0: 0, 4096 * 8: 1, 1e6: 5, 1 << 40: 12} {
		if got := partBits(keys); got != bits {
			t.Errorf("%d keys: %d bits, want %d", keys, got, bits)
		}
	}
	t.Logf("%d cut entries refused", refused)
	r := newRig(t, 3, 1)
	r.boot()
	node := r.nodes[0]
	node.in(func() {
		l, other := node.life, r.nodes[1].self
		for i, f := range []func() error{
			func() error { _, err := l.onDigest(context.Background(), other, &digestRequest{To: other}); return err },
			func() error {
				_, err := l.onDigest(context.Background(), other, &digestRequest{To: l.self, From: r.nodes[2].self})
				return err
			},
			func() error {
				_, err := l.onDigest(context.Background(), other, &digestRequest{To: l.self, From: other, Shard: 7})
				return err
			},
			func() error {
				_, err := l.onDigest(context.Background(), other, &digestRequest{To: l.self, From: other})
				return err
			}, // live, not a shadow
			func() error {
				_, err := l.onParts(context.Background(), other, &partsRequest{To: l.self, ID: 7, Bits: 1, Ranges: []uint32{1}})
				return err
			},
			func() error {
				_, err := l.onEntries(context.Background(), other, &entriesRequest{To: l.self, ID: 7, Parts: []uint32{1}})
				return err
			},
		} {
			if f() == nil {
				t.Errorf("request %d was answered", i)
			}
		}
		s := &served{to: other, more: make(chan struct{})}
		l.ranges[9] = s
		for i, f := range []func() error{
			func() error {
				_, err := l.onParts(context.Background(), other, &partsRequest{To: l.self, ID: 9, Bits: 13, Ranges: []uint32{1}})
				return err
			},
			func() error {
				_, err := l.onParts(context.Background(), other, &partsRequest{To: l.self, ID: 9, Bits: 12, Ranges: []uint32{1, 2, 3}})
				return err
			},
			func() error {
				_, err := l.onParts(context.Background(), other, &partsRequest{To: l.self, ID: 9, Bits: 1, Ranges: []uint32{4096}})
				return err
			},
			func() error {
				_, err := l.onEntries(context.Background(), other, &entriesRequest{To: l.self, ID: 9, Bits: 1, Parts: []uint32{8192}})
				return err
			},
			func() error {
				_, err := l.onEntries(context.Background(), proto.Member{Node: 2}, &entriesRequest{To: l.self, ID: 9, Bits: 1, Parts: []uint32{1}})
				return err
			},
		} {
			if f() == nil {
				t.Errorf("request %d of a range was answered", i)
			}
		}
		delete(l.ranges, 9)
	})
}
