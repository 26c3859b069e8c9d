// Package suspect says what is wrong with each node, as another one sees it:
// dead, unreachable, without a data link, stalled, slow or paused. It is pure:
// what is seen goes in at every look, a class and since when comes out. Nothing
// is done because of a class: it is what people see of the detector; who leaves
// is decided by leases and complaints.
//
// Times are nanoseconds of the looking node's clock, above 0.
//
// Invariants, quoted by number in the tests:
//
//	U1  What gets worse is told at once; what gets better after Settle.
//	U2  A class is about one life: the next one begins anew.
//	U3  Silence while this node itself stood still is nobody's.
//	U4  A node that changes all the time is told of once in Tell.
package suspect

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Class is what is wrong with a node; the later ones go before the earlier.
type Class uint8

const (
	Alive       Class = iota
	Paused            // was silent for longer than its lease, and speaks again in the same life
	Slow              // its watermarks move, and stay behind
	Stalled           // speaks, and its watermarks stand still while entries wait
	Unlinked          // speaks, and there is no data connection
	Unreachable       // says nothing
	Dead              // its life is proven to be over
	classes
)

var names = [classes]string{"alive", "paused", "slow", "stalled", "unlinked", "unreachable", "dead"}

func (c Class) String() string {
	if c >= classes {
		return fmt.Sprintf("class(%d)", uint8(c))
	}
	return names[c]
}

// Limits are in ns.
type Limits struct {
	Quiet  int64 // silence that counts
	Away   int64 // silence after which a node has no lease any more
	Stall  int64 // for how long a watermark, or a connection, stands still
	Slow   int64 // for how long it has been slow
	Settle int64 // for how long it is better before that is told
	Tell   int64 // at most one change of a node is told in it
	Gap    int64 // between two looks: beyond it this node stood still itself
}

// Sight is what is seen of a node at one look.
type Sight struct {
	Life     proto.Member // that of the view, or the last one that spoke
	Dead     bool
	HeardAt  int64 // when it spoke last; 0: never
	Unlinked int64 // for how long, ns; 0: not at all. So the next two
	Stalled  int64
	Slow     int64
}

// State is what is known of a node.
type State struct {
	Life   proto.Member
	Class  Class
	Since  int64 // when the class was first seen; 0: never looked at
	Silent int64 // Paused: how long it was silent

	seen     bool
	heardAt  int64
	pausedTo int64 // until then it counts as paused
	better   int64 // since when less is wrong than Class says; 0: it is not
	milder   Class // the worst that was seen since then
	told     Class
	toldAt   int64
}

// Tracker is what one node knows of all others. The zero value is not used.
type Tracker struct {
	l     Limits
	last  int64 // look
	deaf  int64 // until then it heard nothing that was said: begin, and end of own gaps
	nodes [proto.NodesMax]State
}

// New starts a tracker.
func New(l Limits) Tracker { return Tracker{l: l} }

// Look takes in what is seen of the nodes of; the result is of whom people
// should be told now.
func (t *Tracker) Look(now int64, sights *[proto.NodesMax]Sight, of proto.NodeSet) (tell proto.NodeSet) {
	gap := t.last == 0 || now-t.last > t.l.Gap
	if gap && !plant.Is(plant.SuspectGap) {
		t.deaf = now
	}
	t.last = now
	for n := range proto.NodeID(proto.NodesMax) {
		x := &t.nodes[n]
		if !of.Has(n) {
			*x = State{}
			continue
		}
		x.look(now, &sights[n], t, gap)
		if x.Class != x.told && (x.toldAt == 0 || now-x.toldAt >= t.l.Tell) {
			x.told, x.toldAt = x.Class, now
			tell = tell.With(n)
		}
	}
	return tell
}

// State is what is known of a node.
func (t *Tracker) State(n proto.NodeID) State { return t.nodes[n] }

// look takes in one sight.
func (x *State) look(now int64, s *Sight, t *Tracker, gap bool) {
	if !x.seen || x.Life != s.Life {
		*x = State{Life: s.Life, Since: now, seen: true, heardAt: s.HeardAt, told: x.told, toldAt: x.toldAt}
		x.Class = x.class(now, s, t)
		return
	}
	if silent := s.HeardAt - x.heardAt; x.heardAt != 0 && silent > t.l.Away && !gap && x.heardAt >= t.deaf {
		*x = State{Life: s.Life, Since: now, Silent: silent, seen: true, pausedTo: now + t.l.Away, told: x.told, toldAt: x.toldAt}
	}
	x.heardAt = s.HeardAt
	c := x.class(now, s, t)
	switch {
	case c > x.Class:
		x.Class, x.Since, x.better = c, now, 0
	case c == x.Class:
		x.better = 0
	case x.better == 0:
		x.better, x.milder = now, c
	default:
		x.milder = max(x.milder, c)
	}
	if x.better != 0 && (now-x.better >= t.l.Settle || plant.Is(plant.SuspectFlaps)) {
		x.Class, x.Since, x.better = x.milder, x.better, 0
	}
}

// class is what a sight by itself says.
func (x *State) class(now int64, s *Sight, t *Tracker) Class {
	switch {
	case s.Dead:
		return Dead
	case now-max(s.HeardAt, t.deaf) > t.l.Quiet:
		return Unreachable
	case s.Unlinked > t.l.Stall:
		return Unlinked
	case s.Stalled > t.l.Stall:
		return Stalled
	case s.Slow > t.l.Slow:
		return Slow
	case now < x.pausedTo:
		return Paused
	}
	return Alive
}
