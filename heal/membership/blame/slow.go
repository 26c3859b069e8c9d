package blame

import (
	"fmt"
	"math/bits"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// JudgeSlow names the member that is to be a shadow until it keeps up (B7): the
// one whom most live members find slow, if they are more than half of the other
// live ones; of equals the higher id. Nobody as long as anything stands still,
// which goes first; no live member beside a shadow, nor if fewer than majority
// live ones would run without it; a shadow only if it is one of held, those who
// were live and slow before.
func JudgeSlow(v *proto.View, edges []Edge, running, held proto.NodeSet, majority int) (best Verdict) {
	var by [proto.NodesMax]proto.NodeSet
	for i := range edges {
		e := &edges[i]
		switch {
		case e.By.Node == e.Of.Node || e.By.Node >= proto.NodesMax || e.Of.Node >= proto.NodesMax || !v.Has(e.By) || !v.Has(e.Of):
		case e.Kind != Slow:
			return Verdict{}
		case v.Live.Has(e.By.Node):
			by[e.Of.Node] = by[e.Of.Node].With(e.By.Node)
		}
	}
	if v.Live == 0 || v.Cold {
		return Verdict{}
	}
	for r := v.Members(); r != 0; r &= r - 1 {
		x := proto.NodeID(bits.TrailingZeros16(uint16(r)))
		others, seen := v.Live.Without(x), by[x].Count()
		switch {
		case seen == 0 || seen < best.Degree:
		case 2*seen <= others.Count() && !plant.Is(plant.SlowWitness):
		case v.Live.Has(x) && (v.Shadow != 0 || (others&running).Count() < majority) && !plant.Is(plant.SlowMinority):
		case v.Shadow.Has(x) && !held.Has(x):
		default:
			best = Verdict{Victim: v.Member(x), Degree: seen}
		}
	}
	if best.Victim.Incarnation != 0 {
		best.Why = whySlow(best, edges, by[best.Victim.Node])
	}
	return best
}

// whySlow is the longest complaint, and who else makes one.
func whySlow(x Verdict, edges []Edge, by proto.NodeSet) string {
	var worst Edge
	for i := range edges {
		e := &edges[i]
		if e.Kind == Slow && e.Of == x.Victim && (worst.Kind == 0 || e.For > worst.For || e.For == worst.For && before(e, &worst)) {
			worst = *e
		}
	}
	return fmt.Sprintf("slow, as nodes %v find: %v", by, worst)
}
