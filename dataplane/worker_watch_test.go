package dataplane

import (
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// pairsOf is what a node sees of the others, over all shards.
func (n *rigNode) pairsOf() (pairs []proto.Pair) {
	for _, w := range n.workers {
		w.Do(func() { pairs = w.Pairs(pairs) })
	}
	return pairs
}

// TestPairsShowWhoStandsStill: a member whose workers hang does not come along
// with a probe, the other one does, and the hung one once it goes on.
func TestPairsShowWhoStandsStill(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 3, shards: 2, model: proto.Strict, spin: 100})
	n := r.nodes[0]
	thaw := r.nodes[2].freeze()
	defer thaw()
	for _, w := range n.workers {
		w.Do(w.Probe)
	}
	await := func(what string, of proto.NodeSet) (pairs []proto.Pair) {
		t.Helper()
		for limit := time.Now().Add(time.Minute); ; {
			pairs = n.pairsOf()
			late := false
			for _, p := range pairs {
				late = late || of.Has(p.Member.Node) && (p.Applied < p.Tail || p.Durable < p.Tail)
			}
			if !late {
				return pairs
			}
			if time.Now().After(limit) {
				t.Fatalf("%s: %+v", what, pairs)
			}
		}
	}
	pairs := await("nodes 0 and 1 run", 0b010)
	shards, standing := [2]int{}, 0
	for _, p := range pairs {
		shards[p.Shard]++
		if p.Member.Node == 2 && p.Applied < p.Tail && p.Durable < p.Tail {
			standing++
		}
	}
	if shards != [2]int{2, 2} || standing != 2 {
		t.Errorf("pairs %+v", pairs)
	}
	thaw()
	await("all run", 0b110)

	// A group at rest is not woken for each look.
	var eye Watch
	looks := func() {
		for range restsMax {
			if got := eye.Pairs(n.core, r.view.Epoch); len(got) != 4 {
				t.Fatalf("pairs %+v", got)
			}
		}
	}
	looks()
	if len(eye.looks) != 2 || eye.looks[0].again != restsMax || !eye.looks[0].rests {
		t.Errorf("looks %+v", eye.looks)
	}
	tail := eye.looks[0].tail
	n.workers[0].Do(n.workers[0].Probe)
	eye.Pairs(n.core, r.view.Epoch)
	if eye.looks[0].tail == tail || eye.looks[0].again != 1 {
		t.Errorf("a probe was not looked at: %+v", eye.looks[0])
	}
	eye.Pairs(n.core, r.view.Epoch+1)
	if eye.looks[1].again != 1 {
		t.Errorf("another view was not looked at: %+v", eye.looks[1])
	}
	if got := eye.Pairs(nil, 1); got != nil {
		t.Errorf("pairs without a life: %v", got)
	}
}
