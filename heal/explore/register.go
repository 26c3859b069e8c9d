package explore

import (
	"errors"
	"fmt"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

// RegisterConfig bounds a world of the membership alone: the shipped acceptors,
// proposers (heal/membership/register), granters and renewals (…/grant) of three
// nodes, whose register holds a view with all of them live.
//
// What was sent is never taken back: it may arrive late, again, in any order,
// or never. Answers arrive at once or never, as does a lease that was granted:
// what a proposer does with an answer is to send requests, which may be late, or
// to come to its end, after which it begins again whenever it likes; and who has
// a grant counts on all that it would count on had it the grant later. A node
// stands still when it takes no step while clocks go on.
type RegisterConfig struct {
	Name        string
	Proposers   []RegisterProposer // two at most
	Holders     []proto.NodeID     // who ask for leases, two at most
	Asks        int                // of each
	Lease       int64              // ticks
	Drift       int64              // of which a holder counts less
	Window      int64              // by which two clocks drift apart at most; Drift in a world that keeps the bound
	End         int64              // no clock goes further
	Restarts    int                // of acceptors: votes are kept, grants forgotten
	RestartOnly proto.NodeSet      // not 0: which
	Leads       bool               // a proposal may leave a lead behind, and the last proposer has one to begin with
	Tells       bool               // chosen values come by word of mouth too
	States      int                // 0: seen whole
}

// RegisterProposer is one process that proposes. Two of one node are two lives.
type RegisterProposer struct {
	Node     proto.NodeID
	Life     uint64
	Drops    proto.NodeSet // its change: the view without them; 0: the next view, with the same members
	Attempts int
	Views    proto.Epoch // with the same members, it makes one after each up to this; 0: after the first
}

const (
	regNodes    = 3
	regAttempts = 3
	regMajority = 2
)

var errRegUnchanged = errors.New("explore: nothing to change")

func (p *RegisterProposer) change(v *proto.View) error {
	switch {
	case p.Drops == 0 && v.Epoch <= max(p.Views, 1):
		*v = v.Next(v.Live, v.Shadow)
	case p.Drops != 0 && v.Live&p.Drops != 0 && v.Live&^p.Drops != 0:
		*v = v.Without(p.Drops)
	default:
		return errRegUnchanged
	}
	return nil
}

func (p *RegisterProposer) String() string {
	if p.Drops == 0 {
		return fmt.Sprintf("node %d life %d, same members, %d attempts", p.Node, p.Life, p.Attempts)
	}
	return fmt.Sprintf("node %d life %d, drops %v, %d attempts", p.Node, p.Life, p.Drops.Nodes(nil), p.Attempts)
}

// regState is a state of the world: numbers of local states.
type regState struct {
	acceptor [regNodes]uint32
	granter  [regNodes]uint32
	proposer [2]uint32
	renewal  [2]uint32
	votes    uint32
	asked    [2]uint32 // when a holder asked, as far as it can still count on it
	asks     [2]uint8
	clock    [regNodes]uint8
	restarts uint8
}

// Local states. All but the proposer's can be compared.
type (
	regAcceptor struct {
		register.State
		voting bool
	}
	regProposer struct {
		p      register.Proposer // zero once it has come to its end
		n      int               // attempts begun
		round  uint64
		lead   register.Lead
		ended  register.Outcome
		at     register.Ballot
		result uint32
		sent   [regAttempts][2]uint32 // request to prepare, to accept
	}
	// regVotes is what was ever accepted, by ballot. Of what a majority has
	// accepted it does not matter who did.
	regVotes struct {
		n    int
		list [24]regVote
		gone proto.NodeSet // not live in some chosen view
	}
	regVote struct {
		at    register.Ballot
		value uint32
		by    proto.NodeSet
	}
)

// numbers gives equal values equal numbers, from 1 on.
type numbers[K comparable, V any] struct {
	of  []V
	ids map[K]uint32
}

func (t *numbers[K, V]) id(k K, v V) uint32 {
	if t.ids == nil {
		t.ids, t.of = map[K]uint32{}, make([]V, 1)
	}
	id, ok := t.ids[k]
	if !ok {
		id = uint32(len(t.of))
		t.ids[k], t.of = id, append(t.of, v)
	}
	return id
}

// RegisterExplorer is one exploration of such a world.
type RegisterExplorer struct {
	c       *RegisterConfig
	hold    int64
	changes []register.Change
	members [regNodes]proto.Member

	acceptors numbers[regAcceptor, regAcceptor]
	granters  numbers[grant.Granter, grant.Granter]
	proposers numbers[string, regProposer]
	renewals  numbers[grant.Renewal, grant.Renewal]
	messages  numbers[register.Message, register.Message]
	values    numbers[register.Value, register.Value]
	votes     numbers[regVotes, regVotes]

	idle  uint32 // granter that has granted nothing
	none  uint32 // renewal without a grant
	memo  map[[5]uint32]regStep
	calms map[regState]bool
	bad   string
	marks map[string]uint64

	Steps uint64 // of the code
}

// RegisterResult is what an exploration found.
type RegisterResult struct {
	Config      *RegisterConfig
	Complete    bool
	States      uint64
	Transitions uint64
	Depth       int
	Calms       uint64 // continuations without faults, to a decision
	Steps       uint64
	Took        time.Duration
	Violation   string
	Script      []string
}

func (r *RegisterResult) String() string {
	s := "complete"
	if !r.Complete {
		s = "bounded, not complete"
	}
	c := r.Config
	text := fmt.Sprintf("%s: lease %d drift %d to %d, %d asks of %v, %d restarts, leads %v, tells %v", c.Name, c.Lease, c.Drift, c.End, c.Asks, c.Holders, c.Restarts, c.Leads, c.Tells)
	for i := range c.Proposers {
		text += "; " + c.Proposers[i].String()
	}
	text += fmt.Sprintf("\n  %s: %d states, %d transitions, depth %d, %d continuations decided, %d steps of the code; %v", s,
		r.States, r.Transitions, r.Depth, r.Calms, r.Steps, r.Took.Round(time.Millisecond))
	if r.Violation != "" {
		text += "\n  VIOLATION: " + r.Violation
		for _, line := range r.Script {
			text += "\n    " + line
		}
	}
	return text
}

// NewRegister makes an explorer of a configuration.
func NewRegister(c *RegisterConfig) *RegisterExplorer {
	e := &RegisterExplorer{c: c, hold: grant.Hold(c.Lease, c.Drift), memo: map[[5]uint32]regStep{}, calms: map[regState]bool{}, marks: map[string]uint64{}}
	for i := range c.Proposers {
		e.changes = append(e.changes, c.Proposers[i].change)
	}
	for n := range e.members {
		e.members[n] = proto.Member{Node: proto.NodeID(n), Incarnation: 1}
	}
	return e
}

// Marks is how often steps of rare kinds were seen, by name.
func (e *RegisterExplorer) Marks() map[string]uint64 { return e.marks }

// clockFrom is above 0, as a request for a lease is sent above 0.
const clockFrom = 1

func (e *RegisterExplorer) start() (s regState) {
	var v proto.View
	v.Shards = 1
	for _, m := range e.members {
		v.Configured = v.Configured.With(m.Node)
		v.Incarnation[m.Node], v.Issued[m.Node] = m.Incarnation, m.Incarnation
	}
	v = v.Next(v.Configured, 0)
	first := register.Value{Seq: 1, View: v}
	last := &e.c.Proposers[len(e.c.Proposers)-1]
	m := register.Message{Kind: register.Accept, Ballot: register.Ballot{Round: 1, Node: last.Node, Life: last.Life}, Value: first}
	if e.c.Leads {
		m.Next = m.Ballot.Next()
	}
	x := register.Acceptor{}
	x.Step(&m, func(*proto.View) string { return "" })
	a := regAcceptor{x.State, true}
	g := grant.NewGranter(e.c.Lease, clockFrom-e.c.Lease)
	e.idle = e.granters.id(g, g)
	for n := range regNodes {
		s.acceptor[n], s.granter[n], s.clock[n] = e.acceptors.id(a, a), e.idle, clockFrom
	}
	for p := range e.c.Proposers {
		s.proposer[p] = e.proposerID(&regProposer{})
	}
	if e.c.Leads {
		s.proposer[len(e.c.Proposers)-1] = e.proposerID(&regProposer{round: m.Next.Round, lead: register.Lead{Ballot: m.Next, Value: first}})
	}
	r := grant.NewRenewal(regMajority)
	e.none = e.renewals.id(r, r)
	s.renewal = [2]uint32{e.none, e.none}
	h := regVotes{n: 1}
	h.list[0] = regVote{m.Ballot, e.values.id(first, first), v.Configured}
	s.votes = e.votes.id(h, h)
	return s
}

// proposerID numbers a proposer by all its fields, those of register.Proposer
// too. Its change is one function for all its attempts.
func (e *RegisterExplorer) proposerID(p *regProposer) uint32 {
	return e.proposers.id(fmt.Sprintf("%+v", *p), *p)
}

// Run explores breadth first; from every state found a continuation without
// faults must come to a decision.
func (e *RegisterExplorer) Run() *RegisterResult {
	begun := time.Now()
	r := &RegisterResult{Config: e.c}
	q := newSeen[regState]()
	q.add(e.start(), 0, 0)
	level := 1
	var list []Action
	for next := 0; next < len(q.states); next++ {
		if e.c.States > 0 && len(q.states) >= e.c.States {
			break
		}
		if next == level {
			r.Depth, level = r.Depth+1, len(q.states)
		}
		from := q.states[next]
		e.calm(from)
		list = e.actions(&from, list[:0])
		for _, a := range list {
			to := from
			if e.bad != "" || !e.do(&to, a) || to == from && e.bad == "" {
				continue
			}
			e.forget(&to)
			if e.check(&to); e.bad != "" {
				r.Script = append(r.Script, regText(a))
				break
			}
			r.Transitions++
			q.add(to, next, a)
		}
		if e.bad != "" {
			r.Violation = e.bad
			var way []string
			for _, a := range q.way(next) {
				way = append(way, regText(a))
			}
			r.Script = append(way, r.Script...)
			break
		}
		r.Complete = next == len(q.states)-1
	}
	r.States, r.Calms, r.Steps, r.Took = uint64(len(q.states)), uint64(len(e.calms)), e.Steps, time.Since(begun)
	r.Complete = r.Complete && r.Violation == ""
	return r
}
