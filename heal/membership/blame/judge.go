package blame

import (
	"fmt"
	"math/bits"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Verdict is who should leave the view, and why.
type Verdict struct {
	Victim proto.Member // Incarnation 0: nobody
	Degree int          // with how many members it has a bad link
	Why    string
}

// Judge names the member to leave so that bad links leave the view: the one
// with the most of them. A complaint counts against both ends, since a member
// whose own sends are lost complains about all others and nobody about it. Of
// equals a shadow goes before a live member, then who is complained about by
// more, then who is heard by fewer, then the higher id.
//
// edges may be of other lives and in any order. hears is by node whom it hears;
// running are the live members that run in the life the view names; a bad link
// between one of them and one that does not counts against the latter only, else
// those who outlived a majority would be named when it comes back. A view
// without live members is not touched: a cold start goes by it.
func Judge(v *proto.View, edges []Edge, hears *[proto.NodesMax]proto.NodeSet, running proto.NodeSet) Verdict {
	var links, incoming [proto.NodesMax]proto.NodeSet
	found, gone := false, v.Live&^running
	for i := range edges {
		e := &edges[i]
		if e.Kind == Slow || e.By.Node == e.Of.Node || e.By.Node >= proto.NodesMax || e.Of.Node >= proto.NodesMax || !v.Has(e.By) || !v.Has(e.Of) {
			continue
		}
		found = true
		if gone.Has(e.By.Node) || !gone.Has(e.Of.Node) {
			links[e.By.Node] = links[e.By.Node].With(e.Of.Node)
		}
		if gone.Has(e.Of.Node) || !gone.Has(e.By.Node) {
			links[e.Of.Node] = links[e.Of.Node].With(e.By.Node)
		}
		incoming[e.Of.Node] = incoming[e.Of.Node].With(e.By.Node)
	}
	if !found || v.Live == 0 || v.Cold {
		return Verdict{}
	}
	if plant.Is(plant.JudgeIncoming) {
		links = incoming
	}
	best := Verdict{}
	var rank [4]int
	for r := v.Members(); r != 0; r &= r - 1 {
		x := proto.NodeID(bits.TrailingZeros16(uint16(r)))
		if links[x] == 0 || v.Live.Without(x)&running == 0 {
			continue
		}
		heard := 0
		for n := range hears {
			if proto.NodeID(n) != x && hears[n].Has(x) {
				heard++
			}
		}
		shadow := 0
		if v.Shadow.Has(x) {
			shadow = 1
		}
		mine := [4]int{links[x].Count(), shadow, incoming[x].Count(), -heard}
		if best.Victim.Incarnation == 0 || !less(mine, rank) { // of equals the later, which is the higher id
			best.Victim, best.Degree, rank = v.Member(x), links[x].Count(), mine
		}
	}
	if best.Victim.Incarnation != 0 {
		best.Why = why(best, edges, links[best.Victim.Node])
	}
	return best
}

func less(a, b [4]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// why is the longest complaint between the victim and anybody, and with whom
// else it has bad links.
func why(x Verdict, edges []Edge, with proto.NodeSet) string {
	var worst Edge
	for i := range edges {
		e := &edges[i]
		if e.Kind != Slow && (e.By == x.Victim || e.Of == x.Victim) && (worst.Kind == 0 || e.For > worst.For || e.For == worst.For && before(e, &worst)) {
			worst = *e
		}
	}
	return fmt.Sprintf("bad links with nodes %v: %v", with, worst)
}

func before(a, b *Edge) bool {
	if a.By != b.By {
		return a.By.Node < b.By.Node || a.By.Node == b.By.Node && a.By.Incarnation < b.By.Incarnation
	}
	if a.Of != b.Of {
		return a.Of.Node < b.Of.Node || a.Of.Node == b.Of.Node && a.Of.Incarnation < b.Of.Incarnation
	}
	if a.Kind != b.Kind {
		return a.Kind < b.Kind
	}
	return a.Shard < b.Shard
}
