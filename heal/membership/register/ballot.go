package register

import (
	"cmp"
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Ballot orders proposals. Life tells the processes of one node apart, so a
// proposer needs no memory of its own: two lives never share a ballot (G1).
// The zero Ballot is below all others.
type Ballot struct {
	Round uint64       `json:"round"`
	Node  proto.NodeID `json:"node"`
	Life  uint64       `json:"life"` // random, drawn once per process
}

// Compare is negative, zero or positive as b is below, equal to or above c.
func (b Ballot) Compare(c Ballot) int {
	if plant.Is(plant.BallotRound) {
		return cmp.Or(cmp.Compare(b.Node, c.Node), cmp.Compare(b.Round, c.Round), cmp.Compare(b.Life, c.Life))
	}
	if plant.Is(plant.BallotLife) {
		return cmp.Or(cmp.Compare(b.Round, c.Round), cmp.Compare(b.Node, c.Node))
	}
	return cmp.Or(cmp.Compare(b.Round, c.Round), cmp.Compare(b.Node, c.Node), cmp.Compare(b.Life, c.Life))
}

// Next is the ballot of the same process one round up, which an Accept at b
// has promised.
func (b Ballot) Next() Ballot { return Ballot{b.Round + 1, b.Node, b.Life} }

func (b Ballot) String() string { return fmt.Sprintf("%d/%d/%04x", b.Round, b.Node, b.Life&0xffff) }

// Value is what the register holds. Seq counts its changes, those that keep
// the epoch (a new incarnation handed out) included; 0 means absent.
type Value struct {
	Seq  uint64
	View proto.View
}

// Kind of a Message.
type Kind uint8

const (
	Prepare  Kind = iota + 1 // proposer: promise me this ballot, and tell what you accepted
	Promise                  // acceptor: promised
	Accept                   // proposer: accept this value
	Accepted                 // acceptor: accepted
	Refuse                   // acceptor: neither, see Why
	kindEnd
)

func (k Kind) String() string {
	if k == 0 || k >= kindEnd {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return [...]string{"", "prepare", "promise", "accept", "accepted", "refuse"}[k]
}

// Why an acceptor refused.
type Why uint8

const (
	Outbid  Why = iota + 1 // it has promised a higher ballot, see Promised
	Guarded                // a lease forbids the value for now
	Silent                 // it may not vote yet
)

func (w Why) String() string {
	switch w {
	case Outbid:
		return "outbid"
	case Guarded:
		return "guarded"
	case Silent:
		return "may not vote yet"
	}
	return fmt.Sprintf("why(%d)", uint8(w))
}

// Message travels between a proposer and an acceptor. Lost, repeated and
// reordered messages do no harm.
type Message struct {
	Kind     Kind
	From, To proto.NodeID
	Ballot   Ballot // of the proposal it belongs to
	Value    Value  // Accept: proposed. Promise: accepted, if any
	Next     Ballot // Accept: promised with it; zero for none
	At       Ballot // Promise: the ballot Value was accepted at; zero for none
	Promised Ballot // Refuse: the highest promise
	Why      Why    // Refuse
	Detail   string // Refuse: for people
}
