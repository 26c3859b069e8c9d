// Package blame decides which member leaves the view when the data path
// between two members stands still although both live. It is pure: watermarks
// and times go in, complaints and a verdict come out; clocks of two nodes are
// never compared.
//
// Every coordinator watches how far each member has come with its stream
// (Watcher). A pair that stands still for as long as the patience makes an
// Edge, a complaint of one life about another. The complaints of all go round
// with the heartbeats (Table), and from the graph of what is known every node
// draws the same conclusion (Judge): the member with the most bad links, one at
// a time, until no bad link is left within the view.
//
// Invariants, quoted by number in the tests:
//
//	B1  Judge depends on the set of edges only, not on their order.
//	B2  Judge names nobody without a complaint that it is in.
//	B3  A complaint names lives: about the next life it says nothing.
//	B4  What stood still while its watcher stood still too is nobody's fault.
//	B5  Judge never names a member without which no live one would run.
//	B6  A pair that moves, however slowly, makes no edge that says that it stands
//	    still; one that says that it is slow does not count against its author.
//	B7  Nobody is named as slow who is no slower than the others, nor by a
//	    minority of those who could see it, nor if too few would stay live.
package blame

import (
	"fmt"

	"healkv/dataplane/proto"
)

// Kind is what stands still between two members.
type Kind uint8

const (
	Unapplied Kind = iota + 1 // entries are not applied
	Undurable                 // entries are applied and not flushed
	NoLink                    // there is no connection
	Slow                      // entries become durable, but late (Paces)
)

var kinds = [...]string{"", "applies nothing of its stream", "flushes nothing of its stream", "cannot be connected to", "is slow"}

func (k Kind) String() string {
	if k == 0 || k > Slow {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kinds[k]
}

// Edge is the complaint of one member about another.
type Edge struct {
	By    proto.Member `json:"by"`
	Of    proto.Member `json:"of"`
	Kind  Kind         `json:"kind"`
	Shard uint8        `json:"shard,omitempty"`
	For   int64        `json:"for"`           // ns that it stands still, or is slow, on By's clock
	Lag   int64        `json:"lag,omitempty"` // Slow: ns that an entry waits, lately
}

// String says it for an operator.
func (e Edge) String() string {
	const ms = 1_000_000
	switch e.Kind {
	case Slow:
		return fmt.Sprintf("%v %v: entries of %v wait %d ms for it, since %d ms", e.Of, e.Kind, e.By, e.Lag/ms, e.For/ms)
	case NoLink:
		return fmt.Sprintf("%v %v by %v since %d ms", e.Of, e.Kind, e.By, e.For/ms)
	}
	return fmt.Sprintf("%v %v from %v since %d ms (shard %d)", e.Of, e.Kind, e.By, e.For/ms, e.Shard)
}

// valid reports whether a complaint may come from a node. What a peer sends is
// looked at here and nowhere else.
func (e *Edge) valid(from proto.NodeID) bool {
	return e.By.Node == from && e.By.Incarnation != 0 && e.Of.Node < proto.NodesMax && e.Of.Node != from && e.Of.Incarnation != 0 &&
		e.Kind >= Unapplied && e.Kind <= Slow && e.Shard < proto.ShardsMax && e.For >= 0 && e.Lag >= 0
}
