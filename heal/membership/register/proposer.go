package register

import (
	"math/bits"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Outcome of one proposal.
type Outcome uint8

const (
	Pending    Outcome = iota
	Chosen             // Result is the register's value at Ballot
	Unchanged          // the change declined (see Declined); Result was the value when it did
	Lost               // a higher ballot, see Highest: try again above it
	Held               // leases forbid the value for now, see Detail: try again later
	NoMajority         // too few answered
)

func (o Outcome) String() string {
	return [...]string{"pending", "chosen", "unchanged", "lost", "held", "no majority"}[o]
}

// Change computes the next view from the newest one; v.Epoch is 0 and the
// rest is what the caller's initial view says if the register is absent. An
// error declines. It has no effect but its result and may run several times.
type Change func(v *proto.View) error

// Lead is a majority's promise of Ballot, with Value as the newest that it has
// accepted: what phase 1 finds out. A proposal leaves one behind, so that the
// next one of the same process, if nobody proposes in between, is one trip.
//
// It lives in the process, is used once at most, whatever came of it, and is of
// no use any more when a newer value is known. Only a change may rest on it: its
// acceptance shows that Value was the newest. That there is nothing to change is
// no answer unless the newest value is read first.
type Lead struct {
	Ballot Ballot
	Value  Value // Seq 0: the register is absent, View is the initial one
}

// Proposer carries one proposal through. After Lost, Held or NoMajority the
// value may have been accepted by some and may still be chosen through
// somebody else's proposal.
type Proposer struct {
	nodes    proto.NodeSet // acceptors
	majority int
	ballot   Ballot
	initial  proto.View
	change   Change

	accepting bool
	outcome   Outcome
	answered  proto.NodeSet // promised, or accepted, in the present phase
	failed    proto.NodeSet // refused, or cannot be reached, in the present phase
	lost      bool          // one of the refusals was a higher ballot
	held      bool
	at        Ballot // highest accepted ballot among the promises
	agree     bool   // all promises so far named the same accepted ballot
	best      Value  // its value
	result    Value

	Highest  Ballot // highest ballot seen anywhere; the next round goes above it
	Declined error  // of the change function
	Detail   string // why Held
}

// Majority of a set of acceptors.
func Majority(nodes proto.NodeSet) int { return bits.OnesCount16(uint16(nodes))/2 + 1 - fewer() }

func fewer() int {
	if plant.Is(plant.ProposeFew) {
		return 1
	}
	return 0
}

// NewProposer begins a proposal; send Prepare to all nodes. initial is the
// value to change when the register is absent.
func NewProposer(nodes proto.NodeSet, b Ballot, initial proto.View, change Change) Proposer {
	return Proposer{nodes: nodes, majority: Majority(nodes), ballot: b, initial: initial, change: change, Highest: b}
}

// NewLed begins a proposal with its second phase. False: the change declined,
// and has to be proposed in two.
func NewLed(nodes proto.NodeSet, l Lead, change Change) (Proposer, bool) {
	p := NewProposer(nodes, l.Ballot, proto.View{}, change)
	v := l.Value.View
	if err := change(&v); err != nil {
		if plant.Is(plant.LeadDeclines) {
			p.outcome, p.Declined, p.result = Unchanged, err, l.Value
			return p, true
		}
		return Proposer{}, false
	}
	p.accepting, p.result = true, Value{l.Value.Seq + 1, v}
	return p, true
}

// Lead is what the proposal leaves behind if it came to its end. The ballot of
// the next round is used by it: another proposal of this process begins above.
func (p *Proposer) Lead() (Lead, bool) {
	switch {
	case p.outcome != Chosen && p.outcome != Unchanged:
		return Lead{}, false
	case p.accepting:
		return Lead{p.ballot.Next(), p.result}, true
	}
	return Lead{p.ballot, p.result}, true // promised, and nothing was sent under it
}

// Ballot of the proposal.
func (p *Proposer) Ballot() Ballot { return p.ballot }

// Outcome so far; the value belongs to Chosen and Unchanged.
func (p *Proposer) Outcome() (Outcome, Value) { return p.outcome, p.result }

// Request is the message to send now, to every node; the caller fills in To.
func (p *Proposer) Request() Message {
	m := Message{Kind: Prepare, From: p.ballot.Node, Ballot: p.ballot}
	if p.accepting {
		m.Kind, m.Value, m.Next = Accept, p.result, p.ballot.Next()
	}
	return m
}

// Step takes an acceptor's answer in. send asks to send Request to all.
// Answers of other ballots and phases, and repeated ones, are ignored.
func (p *Proposer) Step(m *Message) (send bool) {
	bit := proto.NodeSet(0).With(m.From)
	if m.Ballot != p.ballot || p.outcome != Pending || p.nodes&bit == 0 || (p.answered|p.failed)&bit != 0 {
		return false
	}
	switch {
	case m.Kind == Promise && !p.accepting:
		p.promised(m)
		if p.answered |= bit; p.answered.Count() == p.majority {
			return p.compute()
		}
	case m.Kind == Accepted && p.accepting:
		if p.answered |= bit; p.answered.Count() == p.majority {
			p.outcome = Chosen
			if p.Declined != nil {
				p.outcome = Unchanged
			}
		}
	case m.Kind == Refuse:
		if m.Promised.Compare(p.Highest) > 0 {
			p.Highest = m.Promised
		}
		switch m.Why {
		case Outbid:
			p.lost = true
		case Guarded:
			p.held, p.Detail = true, m.Detail
		}
		p.fail(bit)
	}
	return false
}

// Unreachable counts n as one that will not answer in the present phase.
func (p *Proposer) Unreachable(n proto.NodeID) {
	bit := proto.NodeSet(0).With(n)
	if p.outcome == Pending && p.nodes&bit != 0 && (p.answered|p.failed)&bit == 0 {
		p.fail(bit)
	}
}

func (p *Proposer) fail(bit proto.NodeSet) {
	p.failed |= bit
	if p.nodes.Count()-p.failed.Count() >= p.majority {
		return
	}
	switch {
	case p.lost:
		p.outcome = Lost
	case p.held:
		p.outcome = Held
	default:
		p.outcome = NoMajority
	}
}

func (p *Proposer) promised(m *Message) {
	switch c := m.At.Compare(p.at); {
	case p.answered == 0:
		p.at, p.best, p.agree = m.At, m.Value, true
	case c != 0:
		p.agree = false
		if c > 0 && !plant.Is(plant.ProposeOwn) {
			p.at, p.best = m.At, m.Value
		}
	}
}

// compute applies the change to the newest value. If a majority named the
// same accepted ballot, that value is chosen and a declined change is final;
// otherwise the value read must be chosen first.
func (p *Proposer) compute() (send bool) {
	next := p.best
	if next.Seq == 0 {
		next.View = p.initial
	}
	if err := p.change(&next.View); err != nil {
		p.Declined = err
	}
	p.result = p.best
	if p.Declined == nil {
		p.result = Value{p.best.Seq + 1, next.View}
	} else if p.agree || plant.Is(plant.ProposeUnsettled) {
		if p.best.Seq == 0 {
			p.result.View = p.initial
		}
		p.outcome = Unchanged
		return false
	}
	p.accepting, p.answered, p.failed, p.lost, p.held = true, 0, 0, false, false
	return true
}

// ChosenAt is a ballot at which the result was chosen. It belongs to Chosen
// and Unchanged.
func (p *Proposer) ChosenAt() Ballot {
	if p.accepting {
		return p.ballot
	}
	return p.at
}
