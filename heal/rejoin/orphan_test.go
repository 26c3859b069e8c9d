package rejoin_test

import (
	"testing"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// rounds lets some nodes live for a while.
func (w *world) rounds(k int, who ...int) {
	for range k {
		for _, i := range who {
			n := w.nodes[i]
			n.look(true)
			if n.up && !n.served {
				n.drive()
			}
			n.turn()
		}
		w.net.Tick()
	}
}

// scripted is a world without faults of its own; all nodes are live.
func scripted(nodes int, model proto.Model) *world {
	w := fresh(1, func(o *options) {
		*o = options{nodes: nodes, model: model, bytes: 2 << 20, segment: 8 << 10, ring: 64 << 10, keys: 8, valueMax: 100, lazy: 1}
	})
	w.bootstrap(1)
	w.calm = true
	for i := range nodes {
		for j := range nodes {
			w.net.SetDelay(i, j, 0, 0)
		}
	}
	w.rounds(20, 0, 1, 2, 3)
	return w
}

func (w *world) put(n *node, key int) *op {
	o := &op{kind: opPut, key: key, bytes: 50}
	w.start(n, o)
	return o
}

func (n *node) state(key int) (ts proto.TS, locked bool) {
	name := keyName(key)
	n.d.x.Words(func(x wordOf) bool {
		if img := n.d.log.Record(x.Pos()); string(record.Key(img)) == string(name) {
			ts, locked = proto.TS(record.TS(img)), x.Locked()
		}
		return true
	})
	return ts, locked
}

// TestOwnerDiesAfterAdoption (H7): a shadow has adopted a locked record of a
// live owner; its stream would bring it, but owner and buddy lose power before
// anything of it reaches anybody else. The shadow alone has it, and must roll
// it forward.
func TestOwnerDiesAfterAdoption(t *testing.T) {
	w := scripted(4, proto.Synchronous)
	w.put(w.nodes[0], 1)
	w.rounds(20, 0, 1, 2, 3)
	w.nodes[3].crash(false)
	w.remove()
	w.rounds(20, 0, 1, 2)
	n3 := w.nodes[3]
	n3.begin()
	for i := 0; !w.reg.Shadow.Has(3); i++ {
		if i > 20 {
			t.Fatal(n3)
		}
		w.rounds(1, 0, 1, 2, 3)
	}
	for i := range w.nodes {
		w.nodes[i].look(true)
	}
	for range 5 { // the shadow publishes how much room it has, and does not fetch yet
		w.rounds(1, 0, 1, 2)
		n3.turn()
	}
	// Node 1 writes; only node 0, which will be the buddy, hears of it.
	w.net.Cut(1, 2)
	w.net.Cut(1, 3)
	w.put(w.nodes[1], 1)
	w.rounds(5, 1, 0)
	ts, locked := w.nodes[0].state(1)
	if !locked || ts.Node() != 1 {
		t.Fatalf("at the buddy: %v, locked %v", ts, locked)
	}
	for i := 0; ; i++ {
		if got, locked := n3.state(1); got == ts {
			if !locked {
				t.Fatal("adopted as readable")
			}
			break
		}
		if i > 50 {
			t.Fatal(n3)
		}
		w.rounds(1, 0, 2, 3)
	}
	w.nodes[0].crash(false)
	w.nodes[1].crash(false)
	for w.reg.Live != 1<<2 {
		w.remove()
	}
	w.rounds(100, 2, 3)
	if !w.reg.Live.Has(3) {
		t.Errorf("not promoted: %v", n3)
	}
	for _, i := range []int{2, 3} {
		if got, locked := w.nodes[i].state(1); got != ts || locked {
			t.Errorf("node %d: TS %v, locked %v; want %v, readable", i, got, locked, ts)
		}
	}
}
