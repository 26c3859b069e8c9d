// Package grant decides about leases: what an acceptor grants and therefore
// refuses (Granter), and how long a holder may count on what it was granted
// (Renewal). It is pure: the time is an input, in nanoseconds of the owner's
// own monotonic clock; clocks of two nodes are never compared. After Flease
// (Kolbeck, Högqvist, Stender, Hupfeld, 2011).
//
// Invariants, quoted by number in the tests:
//
//	L1  While a holder counts on its lease, every majority has an acceptor
//	    that refuses each view in which the holder is not live.
//	L2  An acceptor that accepted a view without a member grants it nothing.
//	L3  What is over for a member (proven dead, released) stays over.
//	L4  What only its refused connections say is over until that life speaks.
//
// The relation behind L1: an acceptor guards a lease from after it received
// the request, the holder counts on Hold of it from before it sent, which is
// the drift less; the drift must exceed what two clocks can drift apart within
// a lease.
package grant

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Granter is the lease half of one acceptor. It keeps nothing over a restart;
// a restarted one is quiet instead (hazard H22).
type Granter struct {
	guard      int64 // the lease
	quietUntil int64
	holder     [proto.NodesMax]proto.Incarnation
	until      [proto.NodesMax]int64             // end of the guard of holder's lease
	over       [proto.NodesMax]proto.Incarnation // this life and all before it are over
	refused    [proto.NodesMax]proto.Incarnation // this life counts as over until it speaks, see Refuse
	accused    [proto.NodesMax]proto.Incarnation // complained about, with all lives before it
	complaint  [proto.NodesMax]int64             // no extension for that life until then
}

// NewGranter starts an acceptor's lease half at now. Leases it may have
// granted in an earlier life are guarded for one lease.
func NewGranter(lease, now int64) Granter {
	if plant.Is(plant.H22Quiet) {
		return Granter{guard: lease, quietUntil: now}
	}
	return Granter{guard: lease, quietUntil: now + lease}
}

// Answer to a request for a lease.
type Answer uint8

const (
	Granted    Answer = iota + 1
	NotLive           // the view this acceptor accepted does not have that life as live
	Over              // that life is over
	Complained        // somebody asked for the member's removal and this acceptor agreed
)

func (a Answer) String() string {
	if a == 0 || a > Complained {
		return fmt.Sprintf("answer(%d)", uint8(a))
	}
	return [...]string{"", "granted", "not live in the accepted view", "that life is over", "complained about"}[a]
}

// Grant answers m's request. accepted is the acceptor's accepted view; its
// caller sees to it that m is live in the durable one too, since that is what
// a restarted acceptor guards.
func (g *Granter) Grant(m proto.Member, accepted *proto.View, now int64) Answer {
	switch n := m.Node; {
	case !liveIn(accepted, m) && !plant.Is(plant.GrantAnybody):
		return NotLive
	case m.Incarnation <= g.over[n] && !plant.Is(plant.GrantOver):
		return Over
	case now < g.complaint[n] && m.Incarnation <= g.accused[n] && !plant.Is(plant.H29Complaint):
		return Complained
	default:
		if !plant.Is(plant.GrantForgotten) {
			if g.holder[n] != m.Incarnation {
				g.holder[n], g.until[n] = m.Incarnation, 0
			}
			g.until[n] = max(g.until[n], now+g.guard) // never less than was granted before
		}
		return Granted
	}
}

func liveIn(v *proto.View, m proto.Member) bool {
	return v.Live.Has(m.Node) && v.Incarnation[m.Node] == m.Incarnation && m.Incarnation != 0
}

// Blocks names a member whose lease forbids to accept next for now, and for
// how long at most. accepted is the view accepted so far.
func (g *Granter) Blocks(next, accepted *proto.View, now int64) (m proto.Member, wait int64, blocked bool) {
	for n := range proto.NodeID(proto.NodesMax) {
		if m = (proto.Member{Node: n, Incarnation: g.holder[n]}); g.guarded(m, now) && !liveIn(next, m) {
			return m, g.until[n] - now, true
		}
		if m = accepted.Member(n); now < g.quietUntil && liveIn(accepted, m) && !g.let(m) && !liveIn(next, m) {
			return m, g.quietUntil - now, true
		}
	}
	return proto.Member{}, 0, false
}

// Guard is Blocks for a view that is about to be accepted: its proposer has the
// promise of a majority. Nothing is extended any more for those whom it drops
// until it could be accepted, and not only for the first of them: while that
// one's lease runs out another's would be extended, and then its own again (H29).
func (g *Granter) Guard(next, accepted *proto.View, now int64) (m proto.Member, wait int64, blocked bool) {
	if m, wait, blocked = g.Blocks(next, accepted, now); !blocked {
		return m, wait, false
	}
	g.Complain(m, now+g.guard)
	for n := range proto.NodeID(proto.NodesMax) {
		if x := accepted.Member(n); liveIn(accepted, x) && !liveIn(next, x) && !plant.Is(plant.GuardFirst) {
			g.Complain(x, now+g.guard)
		}
	}
	return m, wait, true
}

func (g *Granter) guarded(m proto.Member, now int64) bool {
	return g.holder[m.Node] == m.Incarnation && now < g.until[m.Node] && !g.let(m)
}

// let reports whether nothing is guarded for m any more.
func (g *Granter) let(m proto.Member) bool { return g.Ended(m) || g.Refused(m) }

// MayDrop reports whether a view without m would be accepted as far as m's
// lease goes.
func (g *Granter) MayDrop(m proto.Member, now int64) bool { return now >= g.Until(m) }

// Until is when a view without m would be accepted as far as m's lease goes, if
// nothing is granted to it meanwhile: the end of the guard, and of the time
// after a restart in which leases are guarded that are not known. 0 for a life
// that is over, or counts as over.
func (g *Granter) Until(m proto.Member) int64 {
	switch n := m.Node; {
	case g.let(m):
		return 0
	case m.Incarnation == g.holder[n]:
		return max(g.quietUntil, g.until[n])
	}
	return g.quietUntil
}

// End records that m's life is over: its death is proven, or it gave its
// lease back. Earlier lives are over with it.
func (g *Granter) End(m proto.Member) {
	g.over[m.Node] = max(g.over[m.Node], m.Incarnation)
}

// Ended reports whether End was called for m or a later life.
func (g *Granter) Ended(m proto.Member) bool { return m.Incarnation <= g.over[m.Node] }

// Refuse has m, a life that was not seen to end, count as over: its connections
// are refused, and the caller trusts that. Its guard is lifted until Spoke.
func (g *Granter) Refuse(m proto.Member) {
	if !g.Ended(m) {
		g.refused[m.Node] = m.Incarnation
	}
}

// Refused reports whether m counts as over by Refuse alone.
func (g *Granter) Refused(m proto.Member) bool {
	return m.Incarnation != 0 && m.Incarnation == g.refused[m.Node] && !g.Ended(m)
}

// Spoke takes Refuse back for m: it was the way to it that was broken. What it
// was granted is guarded again.
func (g *Granter) Spoke(m proto.Member) {
	if m.Incarnation == g.refused[m.Node] && !plant.Is(plant.RefusedForGood) {
		g.refused[m.Node] = 0
	}
}

// Complain stops extensions of m's lease until then: what was granted still
// holds, and then it runs out. This is what keeps a view that somebody got
// half way through from being refused for ever (hazard H29). A later life of
// the node has nothing to do with it: that it asks means that a view with it
// was decided, so the one without m is through or overtaken.
func (g *Granter) Complain(m proto.Member, until int64) {
	switch n := m.Node; {
	case m.Incarnation > g.accused[n]:
		g.accused[n], g.complaint[n] = m.Incarnation, until
	case m.Incarnation == g.accused[n]:
		g.complaint[n] = max(g.complaint[n], until)
	}
}

// Holds lists the members whose leases this acceptor guards at now.
func (g *Granter) Holds(now int64) (out []proto.Member) {
	for n := range proto.NodeID(proto.NodesMax) {
		if m := (proto.Member{Node: n, Incarnation: g.holder[n]}); m.Incarnation != 0 && g.guarded(m, now) {
			out = append(out, m)
		}
	}
	return out
}

// Quiet is how long a restarted acceptor still guards what it cannot know.
func (g *Granter) Quiet(now int64) int64 { return max(0, g.quietUntil-now) }
