package heal

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// comparingRig is a rig whose live nodes compare what they hold.
func comparingRig(t testing.TB, nodes int, seed uint64) *rig {
	r := newRig(t, nodes, seed)
	r.compare = 3 * time.Millisecond
	r.limits.CompareBusy = 2
	return r
}

// wrong makes a node hold something else of a key than what was written: an older
// record, nothing at all, or with ts 0 another value under the same timestamp.
func (n *rigNode) wrong(k int, drop bool, ts uint64) {
	n.r.t.Helper()
	key := fmt.Append(nil, "key-", k)
	hash := xxh3.HashSeed(key, rigSeed)
	n.in(func() {
		n.driven.Do(func() {
			st := n.pool.Store()
			var e store.Entry
			switch st.Find(&e, hash, key); {
			case !e.OK || e.Locked:
				n.r.t.Errorf("key %d is not there to be damaged", k)
			case drop:
				st.Drop(hash, e.Pos)
			default:
				h := record.Header{Kind: record.Put, TS: ts, OwnerNode: uint8(n.id), OwnerIncarnation: uint32(n.self.Incarnation)}
				if ts == 0 {
					h.TS = e.TS
				}
				st.Put(&e, &h, key, []byte("older"), false)
			}
		})
	})
}

func (r *rig) compared() (sum Compared) {
	for _, n := range r.nodes {
		if n.life != nil {
			c := n.life.Compared()
			sum.Rounds += c.Rounds
			sum.Ranges += c.Ranges
			sum.Looked += c.Looked
			sum.Divergent += c.Divergent
			sum.Keys += c.Keys
			sum.Repaired += c.Repaired
			sum.Unresolved += c.Unresolved
			sum.Recounts += c.Recounts
		}
	}
	return sum
}

// A node serves an older record, or none, of keys that all others have: no
// checksum shows it. It is found and repaired from the others, also where it is
// the other one that looks first, and under writes to other keys of the ranges.
func TestComparisonFindsAndRepairs(t *testing.T) {
	seeds(t, 2, 3, func(t *testing.T, seed uint64) {
		const keys = 100
		r := comparingRig(t, 3, seed)
		r.boot()
		r.write(r.nodes[0], 4*keys, keys, 100)
		r.same(keys)
		var some []int
		for k := range keys {
			if ts := r.done[fmt.Sprint("key-", k)]; ts != 0 && len(some) < 6 {
				some = append(some, k)
			}
		}
		x := r.nodes[seed%3]
		for i, k := range some {
			x.wrong(k, i%2 == 1, 1<<40)
		}
		spots := r.spots
		r.until("all is repaired", func() bool { return r.compared().Repaired >= uint64(len(some)) })
		r.same(keys)
		if c := r.compared(); c.Repaired != uint64(len(some)) || c.Unresolved != 0 || c.Divergent == 0 || c.Rounds == 0 || r.spots == spots {
			t.Errorf("%+v", c)
		}
		r.has("diverged")
		r.digests()
	})
}

// What one node alone has may have been deleted: nobody takes it from it, and it is
// told. The same goes for one timestamp with two values.
func TestComparisonLeavesWhatNobodyCanTell(t *testing.T) {
	r := comparingRig(t, 3, 4)
	r.boot()
	r.write(r.nodes[0], 60, 5, 100)
	r.same(5)
	r.nodes[0].wrong(2, true, 0)
	r.nodes[1].wrong(2, true, 0)
	r.nodes[2].wrong(3, false, 0)
	r.until("both are told", func() bool { return r.compared().Unresolved >= 2 })
	r.sim.Run(40 * time.Millisecond)
	if c := r.compared(); c.Repaired != 0 {
		t.Errorf("%+v", c)
	}
}

// Writes, view changes and nodes that come back, streams that are late, and ranges
// that never rest, so that they are looked at key by key all the time: nothing
// diverges, and nothing is called so.
func TestComparisonUnderLoad(t *testing.T) {
	looked := uint64(0)
	for _, model := range []proto.Model{proto.ReadEnforced, proto.Eventual} {
		seeds(t, 16, 16, func(t *testing.T, seed uint64) {
			const keys = 40
			r := comparingRig(t, 3, seed)
			r.model = model
			r.compare = time.Millisecond
			r.limits.CompareBusy = 1
			r.boot()
			if seed%2 == 0 { // writes take longer than a look, or many come to pass in one
				r.net.SetDelay(0, 1, 200, 900)
				r.net.SetDelay(2, 1, 100, 1500)
			} else {
				r.travel = 4 * time.Millisecond
			}
			var writers []*writer
			for i := range 9 {
				writers = append(writers, r.nodes[i%2].writes(i*4, 8, 60))
			}
			r.sim.Run(40 * time.Millisecond)
			x := r.nodes[2]
			x.kill()
			r.remove(x)
			r.sim.Run(30 * time.Millisecond)
			x.start()
			r.back()
			r.sim.Run(30 * time.Millisecond)
			for _, c := range writers {
				r.finish(c)
			}
			r.same(keys)
			c := r.compared()
			looked += c.Looked
			if c.Divergent != 0 || c.Recounts != 0 || c.Rounds < 5 {
				t.Errorf("%v: %+v", model, c)
			}
		})
	}
	if looked == 0 {
		t.Error("nothing was looked at key by key")
	}
	t.Logf("%d ranges looked at key by key under writes", looked)
}

// A node that may not serve says nothing of what it holds: others may serve
// something newer by now.
func TestComparisonOfWhoServes(t *testing.T) {
	r := newRig(t, 3, 3)
	r.boot()
	r.write(r.nodes[0], 60, 20, 100)
	n, other := r.nodes[0], r.nodes[1].self
	ask := func(ok bool) {
		t.Helper()
		n.in(func() {
			ctx, l := context.Background(), n.life
			_, sums := l.onSums(ctx, other, &sumsRequest{To: l.self})
			_, look := l.onLook(ctx, other, &lookRequest{To: l.self, Parts: []uint32{1}})
			_, get := l.onGet(ctx, other, &getRequest{To: l.self, Hash: 1, TS: 1})
			_, doubt := l.onDoubt(ctx, other, &doubtRequest{To: l.self, Ranges: []uint32{1}})
			for what, err := range map[string]error{"sums": sums, "look": look, "get": get, "doubt": doubt} {
				if (err == nil) != ok {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	ask(true)
	n.core.SetServing(false)
	ask(false)
	n.core.SetServing(true)
	n.in(func() {
		ctx, l := context.Background(), n.life
		for i, f := range []func() error{
			func() error { _, err := l.onSums(ctx, other, &sumsRequest{To: other}); return err },
			func() error { _, err := l.onSums(ctx, other, &sumsRequest{To: l.self, Shard: 1}); return err },
			func() error { _, err := l.onSums(ctx, l.self, &sumsRequest{To: l.self}); return err },
			func() error {
				_, err := l.onLook(ctx, other, &lookRequest{To: l.self, Parts: []uint32{2, 1}})
				return err
			},
			func() error {
				_, err := l.onLook(ctx, other, &lookRequest{To: l.self, Bits: 13, Parts: []uint32{1}})
				return err
			},
			func() error {
				_, err := l.onDoubt(ctx, other, &doubtRequest{To: l.self, Ranges: []uint32{4096}})
				return err
			},
		} {
			if f() == nil {
				t.Errorf("request %d was answered", i)
			}
		}
	})
}

// Sums that are not those of the records are found to be so, and begun anew.
func TestComparisonRecounts(t *testing.T) {
	r := comparingRig(t, 3, 9)
	r.boot()
	r.write(r.nodes[0], 60, 20, 100)
	r.same(20)
	// The checksum of the value in a record's header is another one: what takes its place takes another
	// record out of the sum than was once added.
	st, key := r.nodes[1].pool.Store(), []byte("key-1")
	var e store.Entry
	if st.Find(&e, xxh3.HashSeed(key, rigSeed), key); !e.OK {
		t.Fatal("no such key")
	}
	var h record.Header
	img := st.Record(e.Pos)
	inc, _ := st.Log().IncarnationOf(e.Pos)
	record.Decode(img, &h)
	h.BodyCRC++
	record.EncodeCopy(img, &h, bytes.Clone(img), record.Seed(e.Pos, inc))
	c := r.nodes[0].writes(1, 1, 100)
	r.until("it is overwritten", func() bool { return c.done > 0 })
	r.finish(c)
	r.until("it is found", func() bool { return r.compared().Recounts > 0 })
	r.sim.Run(20 * time.Millisecond)
	r.digests()
	if c := r.compared(); c.Divergent != 0 || c.Recounts != 1 {
		t.Errorf("%+v", c)
	}
}
