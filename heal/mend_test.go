package heal

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// hurt flips a bit of the node's current record of a key: of its header, or of
// its value.
func (n *rigNode) hurt(key string, header bool) {
	n.r.t.Helper()
	st := n.pool.Store()
	var e store.Entry
	st.Find(&e, xxh3.HashSeed([]byte(key), rigSeed), []byte(key))
	if !e.OK {
		n.r.t.Fatalf("seed %d: node %d has no %s to hurt", n.r.seed, n.id, key)
	}
	at := n.r.rng.IntN(8 * record.HeaderBytes)
	if !header {
		at = 8*(record.HeaderBytes+len(key)) + n.r.rng.IntN(8*8)
	}
	img := st.Record(e.Pos)
	img[at/8] ^= 1 << (at % 8)
	n.r.note("node %d: %s is hurt at %d, bit %d", n.id, key, e.Pos, at)
}

// do runs one operation at a node.
func (n *rigNode) do(op *dataplane.Op) {
	n.r.t.Helper()
	s := n.host.NewSession()
	if err := s.Submit(op); err != nil {
		n.r.t.Fatal(err)
	}
	var done [1]*dataplane.Op
	n.r.until("an operation ends", func() bool { return s.Poll(done[:]) == 1 })
	s.Close()
}

func (n *rigNode) get(key string, patience time.Duration) ([]byte, error) {
	n.r.t.Helper()
	op := dataplane.Op{Kind: dataplane.OpGet, Key: []byte(key), Deadline: n.p.Now() + int64(patience)}
	n.do(&op)
	return op.Value, op.Err
}

// put writes until it is done; a version that is used up gets a new view, as
// healkv.Node asks for one.
func (n *rigNode) put(key string, value []byte) {
	n.r.t.Helper()
	for tries := 0; ; tries++ {
		op := dataplane.Op{Kind: dataplane.OpPut, Key: []byte(key), Value: value, Deadline: n.p.Now() + int64(time.Second)}
		n.do(&op)
		if op.Err == nil {
			n.r.done[key] = max(n.r.done[key], uint64(op.TS))
			return
		}
		if !errors.Is(op.Err, dataplane.ErrTryAgain) && !errors.Is(op.Err, dataplane.ErrDamaged) || tries == 40 {
			n.r.t.Fatalf("seed %d: put at node %d: %v", n.r.seed, n.id, op.Err)
		}
		if n.core.Workers()[0].Exhausted() {
			n.r.change(func(v *proto.View) error { *v = v.Next(v.Live, v.Shadow); return nil })
		}
		n.r.sim.Run(5 * time.Millisecond)
	}
}

func TestMendFromMembers(t *testing.T) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		for k := range 12 {
			r.nodes[k%3].put(fmt.Sprint("key-", k), bytes.Repeat([]byte{byte(k)}, 40))
		}
		mended := 0
		for k := range 12 {
			key := fmt.Sprint("key-", k)
			for _, n := range r.nodes[:1+k%2] { // one or two of three
				n.hurt(key, k%3 != 0)
			}
			for _, n := range r.nodes {
				value, err := n.get(key, time.Second)
				if err != nil || !bytes.Equal(value, bytes.Repeat([]byte{byte(k)}, 40)) {
					t.Fatalf("seed %d: node %d, %s: %v, %v", seed, n.id, key, value, err)
				}
			}
			mended += 1 + k%2
		}
		if n := r.same(12); n != 12 {
			t.Errorf("%d keys", n)
		}
		got := uint64(0)
		for _, n := range r.nodes {
			d := n.pool.Store().Damage()
			got += d.Repaired
			if d.Open != 0 {
				t.Errorf("node %d: %+v", n.id, d)
			}
		}
		if got < uint64(mended) {
			t.Errorf("%d repaired, want %d", got, mended)
		}
	})
}

func TestMendLostEverywhere(t *testing.T) {
	seeds(t, 2, 12, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		r.nodes[0].put("key-1", []byte("old value"))
		r.nodes[0].put("key-2", []byte("beside"))
		for i, n := range r.nodes {
			n.hurt("key-1", seed%3 == 0 || seed%3 == 1 && i > 0) // headers, some, or values only
		}
		for _, n := range r.nodes {
			begun := r.sim.Now()
			if v, err := n.get("key-1", time.Second); !errors.Is(err, dataplane.ErrDamaged) {
				t.Fatalf("seed %d: node %d reads %q, %v", seed, n.id, v, err)
			} else if waited := time.Duration(r.sim.Now() - begun); waited > 900*time.Millisecond {
				t.Errorf("seed %d: node %d refuses after %v: it is known that nobody has it", seed, n.id, waited)
			}
			if v, err := n.get("key-2", time.Second); err != nil || string(v) != "beside" {
				t.Errorf("seed %d: node %d, the other key: %q, %v", seed, n.id, v, err)
			}
			if d := n.pool.Store().Damage(); d.Refused != 1 {
				t.Errorf("seed %d: node %d: %+v", seed, n.id, d)
			}
		}
		for _, n := range r.nodes {
			r.has(fmt.Sprintf("node %d: damage_refused", n.id))
		}
		r.nodes[1].put("key-1", []byte("new"))
		for _, n := range r.nodes {
			if v, err := n.get("key-1", time.Second); err != nil || string(v) != "new" {
				t.Errorf("seed %d: node %d reads %q, %v after a new write", seed, n.id, v, err)
			}
		}
		// What stays is of a key that nobody knows. One node gives it up.
		x := r.nodes[seed%3]
		x.p.Go(func() { x.core.Workers()[0].Do(func() { x.pool.Store().GiveUp() }) })
		x.p.Run()
		r.sim.Run(5 * time.Millisecond)
		r.change(func(v *proto.View) error { *v = v.Next(v.Live, v.Shadow); return nil }) // they ask again
		r.sim.Run(200 * time.Millisecond)
		for _, n := range r.nodes {
			if d := n.pool.Store().Damage(); d.Open != 0 {
				t.Errorf("seed %d: node %d: %+v after the loss was accepted", seed, n.id, d)
			}
			if v, err := n.get("key-1", time.Second); err != nil || string(v) != "new" {
				t.Errorf("seed %d: node %d reads %q, %v in the end", seed, n.id, v, err)
			}
		}
	})
}

// A record that this node has acknowledged, and others have not seen, is not
// replaced by what they hold.
func TestMendUnderWay(t *testing.T) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[0]
		x.put("key-1", []byte("old value"))
		r.sim.Run(5 * time.Millisecond)
		r.net.Cut(0, 1)
		r.net.Cut(0, 2)
		s := x.host.NewSession()
		op := dataplane.Op{Kind: dataplane.OpPut, Key: []byte("key-1"), Value: []byte("new value"), Deadline: x.p.Now() + int64(10*time.Second)}
		if err := s.Submit(&op); err != nil {
			t.Fatal(err)
		}
		s.Kick()
		r.sim.Run(5 * time.Millisecond)
		x.hurt("key-1", true)
		if v, err := x.get("key-1", 100*time.Millisecond); err == nil {
			t.Errorf("seed %d: reads %q", seed, v)
		}
		r.net.Uncut(0, 1)
		r.net.Uncut(0, 2)
		var done [1]*dataplane.Op
		r.until("the write ends", func() bool { return s.Poll(done[:]) == 1 })
		s.Close()
		if op.Err != nil {
			t.Fatalf("seed %d: %v", seed, op.Err)
		}
		for _, n := range r.nodes {
			if v, err := n.get("key-1", time.Second); err != nil || string(v) != "new value" {
				t.Errorf("seed %d: node %d reads %q, %v", seed, n.id, v, err)
			}
		}
		r.same(2)
	})
}
