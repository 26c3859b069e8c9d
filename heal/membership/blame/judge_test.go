package blame

import (
	"math/bits"
	"math/rand/v2"
	"testing"

	"healkv/dataplane/proto"
)

// group is a view of n live nodes, all in life 7.
func group(n int) proto.View {
	v := proto.View{Epoch: 5, Configured: 1<<n - 1, Live: 1<<n - 1, Shards: 1}
	for i := range n {
		v.Incarnation[i], v.Issued[i] = 7, 7
	}
	return v
}

func member(n int) proto.Member { return proto.Member{Node: proto.NodeID(n), Incarnation: 7} }

// by is a complaint of a about b.
func by(a, b int) Edge { return Edge{By: member(a), Of: member(b), Kind: Unapplied, For: 1000} }

// cut is both ends' complaints about a cut link.
func cut(pairs ...[2]int) (out []Edge) {
	for _, p := range pairs {
		out = append(out, by(p[0], p[1]), by(p[1], p[0]))
	}
	return out
}

// apply removes one victim after the other until the judge is content.
func apply(v proto.View, edges []Edge) (gone []proto.NodeID, left proto.View) {
	var hears [proto.NodesMax]proto.NodeSet
	for {
		x := Judge(&v, edges, &hears, v.Live)
		if x.Victim.Incarnation == 0 {
			return gone, v
		}
		gone = append(gone, x.Victim.Node)
		v = v.Next(v.Live.Without(x.Victim.Node), v.Shadow.Without(x.Victim.Node))
	}
}

// inside reports whether a complaint is left within the view.
func inside(v *proto.View, edges []Edge) bool {
	for _, e := range edges {
		if v.Has(e.By) && v.Has(e.Of) && e.By.Node != e.Of.Node {
			return true
		}
	}
	return false
}

// TestGraphs: who leaves, in order, for graphs one can argue about.
func TestGraphs(t *testing.T) {
	all := func(a, n int, out bool) (edges []Edge) {
		for b := range n {
			switch {
			case b == a:
			case out:
				edges = append(edges, by(a, b))
			default:
				edges = append(edges, by(b, a))
			}
		}
		return edges
	}
	for _, c := range []struct {
		name  string
		nodes int
		edges []Edge
		want  []proto.NodeID
	}{
		{"no complaint", 3, nil, nil},
		{"two apart: the higher id", 5, cut([2]int{1, 3}), []proto.NodeID{3}},
		{"one way, and only the sender has noticed", 3, []Edge{by(2, 0)}, []proto.NodeID{0}},
		{"what node 1 sends is lost: all others are innocent", 5, all(1, 5, true), []proto.NodeID{1}},
		{"node 1 hangs for all", 5, all(1, 5, false), []proto.NodeID{1}},
		{"node 2 accuses everybody, and two others quarrel", 6, append(all(2, 6, true), cut([2]int{4, 5})...), []proto.NodeID{2, 5}},
		{"two halves", 4, cut([2]int{0, 2}, [2]int{0, 3}, [2]int{1, 2}, [2]int{1, 3}), []proto.NodeID{3, 2}},
		{"two separate links of five", 5, cut([2]int{0, 1}, [2]int{2, 3}), []proto.NodeID{3, 1}},
		{"a ring of five cut links", 5, cut([2]int{0, 1}, [2]int{1, 2}, [2]int{2, 3}, [2]int{3, 4}, [2]int{4, 0}), []proto.NodeID{4, 2, 1}},
		{"one that is one of two of three", 3, cut([2]int{0, 1}, [2]int{0, 2}), []proto.NodeID{0}},
		{"all links cut: one stays", 4, cut([2]int{0, 1}, [2]int{0, 2}, [2]int{0, 3}, [2]int{1, 2}, [2]int{1, 3}, [2]int{2, 3}), []proto.NodeID{3, 2, 1}},
		{"two nodes", 2, cut([2]int{0, 1}), []proto.NodeID{1}},
		{"itself", 3, []Edge{by(1, 1)}, nil},
		{"a stranger", 3, []Edge{by(1, 9)}, nil},
	} {
		v := group(c.nodes)
		gone, left := apply(v, c.edges)
		if len(gone) != len(c.want) {
			t.Errorf("%s: %v left the view, want %v", c.name, gone, c.want)
			continue
		}
		for i := range gone {
			if gone[i] != c.want[i] {
				t.Errorf("%s: %v left the view, want %v", c.name, gone, c.want)
				break
			}
		}
		if inside(&left, c.edges) {
			t.Errorf("%s: a bad link is left in %v", c.name, left.Live)
		}
	}
}

// TestTies: of equals a shadow goes, then who is complained about by more, then
// who is heard by fewer, then the higher id.
func TestTies(t *testing.T) {
	v := group(4)
	var hears [proto.NodesMax]proto.NodeSet
	want := func(name string, edges []Edge, n int) {
		t.Helper()
		if x := Judge(&v, edges, &hears, v.Live); x.Victim != member(n) || x.Why == "" || x.Degree == 0 {
			t.Errorf("%s: %+v, want node %d", name, x, n)
		}
	}
	want("the higher id", cut([2]int{0, 2}), 2)
	hears[1], hears[3], hears[0] = 0b1101, 0b0100, 0b0100
	want("node 0 is heard by one, node 2 by three", cut([2]int{0, 2}), 0)
	want("only node 0 complains", []Edge{by(0, 2)}, 2)
	v.Live, v.Shadow = 0b1110, 0b0001
	want("node 0 is a shadow", cut([2]int{0, 2}), 0)
	want("a shadow, though nobody complains about it", []Edge{by(0, 2)}, 0)
	want("two bad links before a shadow", cut([2]int{0, 2}, [2]int{1, 2}), 2)
}

// TestOutlived: who outlived a majority has bad links with all of it, and is not
// named for that when the acceptors are back and the lives that died are members
// still.
func TestOutlived(t *testing.T) {
	v := group(5)
	var hears [proto.NodesMax]proto.NodeSet
	edges := cut([2]int{0, 1}, [2]int{0, 3}, [2]int{0, 4}, [2]int{2, 1}, [2]int{2, 3}, [2]int{2, 4})
	if x := Judge(&v, edges, &hears, 0b00101); x.Victim != member(4) || x.Degree != 2 {
		t.Errorf("nodes 1, 3 and 4 died: %+v", x)
	}
	if x := Judge(&v, edges, &hears, v.Live); x.Victim != member(2) || x.Degree != 3 {
		t.Errorf("all run: %+v", x)
	}
}

// TestSomebodyStays: nobody goes without whom no live member would run, and a
// cold view is nobody's business (B5).
func TestSomebodyStays(t *testing.T) {
	v := group(3)
	var hears [proto.NodesMax]proto.NodeSet
	edges := cut([2]int{1, 2})
	if x := Judge(&v, edges, &hears, 0b100); x.Victim != member(1) {
		t.Errorf("only node 2 runs: %+v", x)
	}
	if x := Judge(&v, edges, &hears, 0); x.Victim.Incarnation != 0 {
		t.Errorf("nobody runs: %+v", x)
	}
	if x := Judge(&v, edges, &hears, 0b011); x.Victim != member(2) {
		t.Errorf("only node 2 does not run: %+v", x)
	}
	v.Live, v.Shadow = 0b100, 0b011
	if x := Judge(&v, edges, &hears, 0b100); x.Victim != member(1) {
		t.Errorf("node 2 is the last live one: %+v", x)
	}
	v.Live, v.Shadow, v.Cold = 0, 0b111, true
	if x := Judge(&v, edges, &hears, 0b111); x.Victim.Incarnation != 0 {
		t.Errorf("a cold view: %+v", x)
	}
}

// TestOtherLivesDoNotCount: a complaint by or about another life (B3).
func TestOtherLivesDoNotCount(t *testing.T) {
	v := group(3)
	var hears [proto.NodesMax]proto.NodeSet
	for _, of := range []bool{true, false} {
		for _, inc := range []proto.Incarnation{6, 8} {
			e := by(0, 1)
			if of {
				e.Of.Incarnation = inc
			} else {
				e.By.Incarnation = inc
			}
			if x := Judge(&v, []Edge{e}, &hears, v.Live); x.Victim.Incarnation != 0 {
				t.Errorf("%v: %+v", e, x)
			}
		}
	}
}

// cover is the size of the smallest set of nodes on all bad links.
func cover(n int, edges []Edge) int {
	best := n
	for set := range uint(1 << n) {
		if k := bits.OnesCount(set); k < best {
			ok := true
			for _, e := range edges {
				if set>>e.By.Node&1 == 0 && set>>e.Of.Node&1 == 0 {
					ok = false
					break
				}
			}
			if ok {
				best = k
			}
		}
	}
	return best
}

// TestRandomGraphs: the judge ends with a group without bad links, takes out
// few more than the fewest possible, and goes by the set of complaints (B1, B2).
func TestRandomGraphs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const graphs = 5000
	more, worst, out, symmetric, symmetricMore := 0, 0, 0, 0, 0
	for range graphs {
		n := 2 + r.IntN(6)
		v := group(n)
		p, both := r.Float64(), r.IntN(2) == 0
		var edges []Edge
		for a := range n {
			for b := range n {
				if a != b && r.Float64() < p && (!both || a < b) {
					e := by(a, b)
					e.For, e.Kind, e.Shard = r.Int64N(5), Kind(1+r.IntN(3)), uint8(r.IntN(2))
					edges = append(edges, e)
					if both {
						edges = append(edges, by(b, a))
					}
				}
			}
		}
		var hears [proto.NodesMax]proto.NodeSet
		for i := range n {
			hears[i] = proto.NodeSet(r.IntN(1 << n))
		}
		x := Judge(&v, edges, &hears, v.Live)
		for range 3 {
			r.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
			if y := Judge(&v, edges, &hears, v.Live); y != x {
				t.Fatalf("in another order %+v, was %+v: %v", y, x, edges)
			}
		}
		if (x.Victim.Incarnation != 0) != (len(edges) > 0) {
			t.Fatalf("%+v of %v", x, edges)
		}
		gone, left := apply(v, edges)
		if inside(&left, edges) || left.Live == 0 {
			t.Fatalf("%v went, %v are left of %v", gone, left.Live, edges)
		}
		touched := proto.NodeSet(0)
		for _, e := range edges {
			touched = touched.With(e.By.Node).With(e.Of.Node)
		}
		for _, g := range gone {
			if !touched.Has(g) {
				t.Fatalf("node %d went without a complaint: %v", g, edges)
			}
		}
		d := len(gone) - cover(n, edges)
		if d < 0 {
			t.Fatalf("%v went, fewer than the smallest cover of %v", gone, edges)
		}
		out += len(gone)
		if both {
			symmetric++
		}
		if d > 0 {
			more++
			worst = max(worst, d)
			if both {
				symmetricMore++
			}
		}
	}
	t.Logf("%d graphs of up to 7 nodes, %d of them with both ends' complaints: %d members out, more than the fewest in %d graphs (%d with both ends'), by %d at most",
		graphs, symmetric, out, more, symmetricMore, worst)
	if worst > 1 || more > graphs/20 {
		t.Errorf("in %d graphs more than the fewest, by up to %d", more, worst)
	}
}
