package explore

import (
	"fmt"
	"hash/maphash"

	"healkv/dataplane/proto"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

// What can happen. x, y and z are numbers of a node, a proposer, a holder.
const (
	regTick    = iota // node x's clock
	regBegin          // proposer x begins an attempt; the one before is given up
	regDeliver        // a request of attempt y/2 of proposer x, to prepare or to accept (y%2), to node z
	regLose           // the same, and the answer is lost
	regAnswer         // of an acceptor: a part of regDeliver
	regTell           // what proposer x has seen chosen, to node y
	regAsk            // holder x asks for its lease
	regGrant          // acceptor y answers what holder x asked at z
	regRestart        // acceptor x
	regCatchUp        // acceptor x, with the states of nodes y
)

func regAct(kind, x, y, z int) Action { return Action(kind<<24 | x<<16 | y<<8 | z) }

func (a Action) reg() (kind, x, y, z int) {
	return int(a >> 24), int(a >> 16 & 255), int(a >> 8 & 255), int(a & 255)
}

func regText(a Action) string {
	kind, x, y, z := a.reg()
	phase := [...]string{"prepare", "accept"}[y&1]
	switch kind {
	case regTick:
		return fmt.Sprintf("clock of node %d goes on", x)
	case regBegin:
		return fmt.Sprintf("proposer %d begins", x)
	case regDeliver:
		return fmt.Sprintf("%s of proposer %d, attempt %d, arrives at node %d", phase, x, y/2, z)
	case regLose:
		return fmt.Sprintf("%s of proposer %d, attempt %d, arrives at node %d, and its answer is lost", phase, x, y/2, z)
	case regTell:
		return fmt.Sprintf("node %d learns what proposer %d saw chosen", y, x)
	case regAsk:
		return fmt.Sprintf("holder %d asks for its lease", x)
	case regGrant:
		return fmt.Sprintf("node %d answers what holder %d asked at %d", y, x, z)
	case regRestart:
		return fmt.Sprintf("node %d restarts", x)
	}
	return fmt.Sprintf("node %d catches up with %v", x, proto.NodeSet(y).Nodes(nil))
}

var regSeed = maphash.MakeSeed()

func (s regState) hash() uint64 { return maphash.Comparable(regSeed, s) }

// regStep is the outcome of one step of the code from local states.
type regStep struct {
	a, b, c uint32
	vote    uint32 // value that was accepted
	at      register.Ballot
	send    bool
	bad     string
}

// actions appends everything that may be possible.
func (e *RegisterExplorer) actions(s *regState, dst []Action) []Action {
	for n := range regNodes {
		dst = append(dst, regAct(regTick, n, 0, 0))
		if int(s.restarts) < e.c.Restarts && (e.c.RestartOnly == 0 || e.c.RestartOnly.Has(proto.NodeID(n))) {
			dst = append(dst, regAct(regRestart, n, 0, 0))
		}
		if !e.acceptors.of[s.acceptor[n]].voting {
			for others := 1; others < 1<<regNodes; others++ {
				if others>>n&1 == 0 {
					dst = append(dst, regAct(regCatchUp, n, others, 0))
				}
			}
		}
	}
	for i := range e.c.Proposers {
		p := &e.proposers.of[s.proposer[i]]
		if p.n < e.c.Proposers[i].Attempts {
			dst = append(dst, regAct(regBegin, i, 0, 0))
		}
		for n := range regNodes {
			for k := range p.n {
				for phase := range 2 {
					if p.sent[k][phase] == 0 {
						continue
					}
					dst = append(dst, regAct(regLose, i, 2*k+phase, n))
					if k == p.n-1 && p.ended == register.Pending && (phase == 1 || p.sent[k][1] == 0) {
						dst = append(dst, regAct(regDeliver, i, 2*k+phase, n))
					}
				}
			}
			if e.c.Tells && p.result != 0 {
				dst = append(dst, regAct(regTell, i, n, 0))
			}
		}
	}
	for h := range e.c.Holders {
		if int(s.asks[h]) < e.c.Asks {
			dst = append(dst, regAct(regAsk, h, 0, 0))
		}
		for at := range 32 {
			for n := 0; s.asked[h]>>at&1 == 1 && n < regNodes; n++ {
				dst = append(dst, regAct(regGrant, h, n, at))
			}
		}
	}
	return dst
}

// do carries an action out. False: it is not possible.
func (e *RegisterExplorer) do(s *regState, a Action) bool {
	switch kind, x, y, z := a.reg(); kind {
	case regTick:
		return e.tick(s, x)
	case regBegin:
		return e.begin(s, x)
	case regDeliver:
		return e.deliver(s, x, y/2, y%2, z, false)
	case regLose:
		return e.deliver(s, x, y/2, y%2, z, true)
	case regTell:
		return e.tell(s, x, y)
	case regAsk:
		now := s.clock[e.c.Holders[x]]
		if s.asked[x]>>now&1 == 1 {
			return false
		}
		s.asked[x] |= 1 << now
		s.asks[x]++
		return true
	case regGrant:
		return e.grant(s, x, y, z)
	case regRestart:
		a := e.acceptors.of[s.acceptor[x]]
		a.voting = false
		g := grant.NewGranter(e.c.Lease, int64(s.clock[x]))
		s.acceptor[x], s.granter[x] = e.acceptors.id(a, a), e.granters.id(g, g)
		s.restarts++
		e.marks["register: acceptor restarted"]++
		return true
	default:
		return e.catchUp(s, x, proto.NodeSet(y))
	}
}

// tick: the clock of the first holder is the slowest one, and no two drift apart
// by more than the window: what one of them gains on another within a lease is
// the window at most. With two holders all three are kept in order for that.
func (e *RegisterExplorer) tick(s *regState, n int) bool {
	if int64(s.clock[n]) >= e.c.End || len(e.c.Holders) == 0 || !e.running(s) {
		return false
	}
	s.clock[n]++
	h := e.c.Holders
	slow := s.clock[h[0]]
	for i := range regNodes {
		if s.clock[i] < slow || int64(s.clock[i]-slow) > e.c.Window {
			return false
		}
		if len(h) > 1 && s.clock[i] < s.clock[h[1]] && proto.NodeID(i) != h[0] {
			return false
		}
	}
	for i := range h {
		for at := range int64(32) {
			if at+e.hold <= int64(s.clock[h[i]]) {
				s.asked[i] &^= 1 << at // it would count on nothing any more
			}
		}
	}
	return true
}

// running reports whether a timer runs, or runs out unseen and is to be asked
// about once more; else it does not matter what the time is.
func (e *RegisterExplorer) running(s *regState) bool {
	for i, h := range e.c.Holders {
		if s.asks[i] > 0 && int(s.asks[i]) < e.c.Asks || s.asked[i] != 0 || e.renewals.of[s.renewal[i]].Until(e.hold) > int64(s.clock[h]) {
			return true
		}
	}
	for n := range regNodes {
		if e.guards(s, n) {
			return true
		}
	}
	return false
}

func (e *RegisterExplorer) guards(s *regState, n int) bool {
	g, now := &e.granters.of[s.granter[n]], int64(s.clock[n])
	return g.Quiet(now) > 0 || len(g.Holds(now)) > 0
}

// forget makes states alike that differ by nothing but timers that have run out,
// once nobody asks for a lease any more.
func (e *RegisterExplorer) forget(s *regState) {
	for i, h := range e.c.Holders {
		if int(s.asks[i]) < e.c.Asks || s.asked[i] != 0 {
			return
		}
		if e.renewals.of[s.renewal[i]].Until(e.hold) <= int64(s.clock[h]) {
			s.renewal[i] = e.none
		}
	}
	for n := range regNodes {
		if s.granter[n] != e.idle && !e.guards(s, n) {
			s.granter[n] = e.idle
		}
	}
	if !e.running(s) {
		s.clock = [regNodes]uint8{clockFrom, clockFrom, clockFrom}
	}
}

// remember carries a step out once.
func (e *RegisterExplorer) remember(key [5]uint32, f func() regStep) regStep {
	r, ok := e.memo[key]
	if !ok {
		e.Steps++
		r = f()
		e.memo[key] = r
	}
	return r
}

// begin is Service.begin: above all rounds that this process and the acceptor
// beside it have seen.
func (e *RegisterExplorer) begin(s *regState, i int) bool {
	c := &e.c.Proposers[i]
	seen := e.acceptors.of[s.acceptor[c.Node]].Promised.Round
	r := e.remember([5]uint32{regBegin, uint32(i), s.proposer[i], uint32(seen)}, func() (r regStep) {
		p := e.proposers.of[s.proposer[i]]
		e.beginAt(i, &p, seen)
		r.a = e.proposerID(&p)
		return r
	})
	s.proposer[i] = r.a
	return true
}

func (e *RegisterExplorer) beginAt(i int, p *regProposer, seen uint64) {
	c := &e.c.Proposers[i]
	lead, led := p.lead, false
	p.lead = register.Lead{}
	if lead.Ballot != (register.Ballot{}) {
		p.p, led = register.NewLed(7, lead, e.changes[i])
	}
	if led {
		p.round = max(p.round, lead.Ballot.Round+1)
		e.marks["register: began with a lead"]++
	} else {
		p.round = max(p.round, seen)
		p.p = register.NewProposer(7, register.Ballot{Round: p.round + 1, Node: c.Node, Life: c.Life}, proto.View{}, e.changes[i])
		p.round += 2
	}
	p.ended = register.Pending
	p.n++
	e.send(p)
	e.ended(p)
}

// send notes the proposer's request.
func (e *RegisterExplorer) send(p *regProposer) {
	m := p.p.Request()
	phase := 0
	if m.Kind == register.Accept {
		phase = 1
	}
	p.sent[p.n-1][phase] = e.messages.id(m, m)
}

// ended is Service.finish.
func (e *RegisterExplorer) ended(p *regProposer) {
	outcome, v := p.p.Outcome()
	if outcome == register.Pending {
		return
	}
	p.round = max(p.round, p.p.Highest.Round)
	if l, ok := p.p.Lead(); ok && e.c.Leads {
		p.lead = l
	}
	switch outcome {
	case register.Lost:
		p.lead = register.Lead{}
	case register.Chosen, register.Unchanged:
		p.at, p.result = p.p.ChosenAt(), e.values.id(v, v)
	}
	e.marks["register: "+outcome.String()]++
	p.p, p.ended = register.Proposer{}, outcome
}

func (e *RegisterExplorer) deliver(s *regState, i, k, phase, n int, lost bool) bool {
	p := &e.proposers.of[s.proposer[i]]
	msg, now := p.sent[k][phase], uint32(s.clock[n])
	if msg == 0 {
		return false
	}
	r := e.remember([5]uint32{regDeliver<<8 | uint32(n), s.acceptor[n], s.granter[n], msg, now}, func() (r regStep) {
		a, g, m := e.acceptors.of[s.acceptor[n]], e.granters.of[s.granter[n]], e.messages.of[msg]
		reply := e.vote(&a, &g, &m, proto.NodeID(n), int64(now), &r)
		r.a, r.b, r.c = e.acceptors.id(a, a), e.granters.id(g, g), e.messages.id(reply, reply)
		if reply.Why != 0 {
			e.marks["register: vote refused, "+reply.Why.String()]++
		}
		return r
	})
	e.took(r.bad)
	s.acceptor[n], s.granter[n] = r.a, r.b
	if r.vote != 0 {
		s.votes = e.voted(s.votes, n, r.at, r.vote)
	}
	if !lost && k == p.n-1 {
		e.answer(s, i, r.c)
	}
	return true
}

// vote is Service.vote: the acceptor's state is durable when it answers.
func (e *RegisterExplorer) vote(a *regAcceptor, g *grant.Granter, m *register.Message, n proto.NodeID, now int64, r *regStep) register.Message {
	q := *m
	q.To = n
	if !a.voting {
		return register.Message{Kind: register.Refuse, From: n, To: q.From, Ballot: q.Ballot, Why: register.Silent}
	}
	x := register.Acceptor{State: a.State}
	reply, _ := x.Step(&q, e.guard(&x, g, now))
	if x.Promised.Compare(a.Promised) < 0 {
		r.bad = fmt.Sprintf("G4: the promise of node %d goes back from %v to %v", n, a.Promised, x.Promised)
	}
	a.State = x.State
	if reply.Kind == register.Accepted {
		r.at, r.vote = q.Ballot, e.values.id(q.Value, q.Value)
	}
	return reply
}

// guard is Service.guardLocked.
func (e *RegisterExplorer) guard(a *register.Acceptor, g *grant.Granter, now int64) func(*proto.View) string {
	return func(next *proto.View) string {
		if _, _, blocked := g.Guard(next, &a.Value.View, now); blocked {
			return "guarded"
		}
		return ""
	}
}

// heard is what an answer makes of a proposer.
func (e *RegisterExplorer) heard(i int, id, msg uint32) regStep {
	return e.remember([5]uint32{regAnswer, id, msg, uint32(i)}, func() (r regStep) {
		p, m := e.proposers.of[id], e.messages.of[msg]
		if p.p.Step(&m) {
			e.send(&p)
			r.send = true
		}
		e.ended(&p)
		r.a = e.proposerID(&p)
		return r
	})
}

func (e *RegisterExplorer) answer(s *regState, i int, msg uint32) {
	was := s.proposer[i]
	s.proposer[i] = e.heard(i, was, msg).a
	if p := &e.proposers.of[s.proposer[i]]; s.proposer[i] != was && (p.ended == register.Chosen || p.ended == register.Unchanged) {
		e.reported(s.votes, i, p)
	}
}

func (e *RegisterExplorer) tell(s *regState, i, n int) bool {
	r := e.remember([5]uint32{regTell, s.proposer[i], s.acceptor[n]}, func() (r regStep) {
		p, a := &e.proposers.of[s.proposer[i]], e.acceptors.of[s.acceptor[n]]
		x := register.Acceptor{State: a.State}
		if x.Learn(p.at, e.values.of[p.result]) {
			e.marks["register: learnt"]++
		}
		if x.At.Compare(a.At) < 0 || x.Promised.Compare(a.Promised) < 0 {
			r.bad = fmt.Sprintf("G4: node %d learns and goes back from %v to %v", n, a.At, x.At)
		}
		a.State = x.State
		r.a = e.acceptors.id(a, a)
		return r
	})
	e.took(r.bad)
	s.acceptor[n] = r.a
	return true
}

func (e *RegisterExplorer) grant(s *regState, h, n, at int) bool {
	now := uint32(s.clock[n])
	r := e.remember([5]uint32{regGrant<<8 | uint32(h), s.acceptor[n], s.granter[n], now}, func() (r regStep) {
		g := e.granters.of[s.granter[n]]
		r.send = g.Grant(e.members[e.c.Holders[h]], &e.acceptors.of[s.acceptor[n]].Value.View, int64(now)) == grant.Granted
		r.a = e.granters.id(g, g)
		return r
	})
	s.granter[n] = r.a
	if !r.send {
		e.marks["register: lease refused"]++
		return true
	}
	// The answer comes at once: a holder that has it counts on all that one
	// counts on which has it later, or never.
	ren := e.remember([5]uint32{regAsk, s.renewal[h], uint32(n), uint32(at)}, func() (r regStep) {
		x := e.renewals.of[s.renewal[h]]
		x.Granted(proto.NodeID(n), int64(at))
		r.a = e.renewals.id(x, x)
		return r
	})
	s.renewal[h] = ren.a
	return true
}

func (e *RegisterExplorer) catchUp(s *regState, n int, others proto.NodeSet) bool {
	key := [5]uint32{regCatchUp<<16 | uint32(n)<<8 | uint32(s.clock[n]), s.acceptor[n], s.granter[n]}
	for k, x := range others.Nodes(nil) {
		key[3+k] = s.acceptor[x]
	}
	r := e.remember(key, func() (r regStep) {
		a, g := e.acceptors.of[s.acceptor[n]], e.granters.of[s.granter[n]]
		var states []register.State
		for _, x := range others.Nodes(nil) {
			states = append(states, e.acceptors.of[s.acceptor[x]].State)
		}
		e.caughtUp(&a, &g, states, int64(s.clock[n]), &r)
		r.a, r.b = e.acceptors.id(a, a), e.granters.id(g, g)
		return r
	})
	e.took(r.bad)
	s.acceptor[n], s.granter[n] = r.a, r.b
	if r.vote != 0 {
		s.votes = e.voted(s.votes, n, r.at, r.vote)
	}
	return true
}

// caughtUp is Service.catchUpOnce. What the acceptor takes in counts as its vote.
func (e *RegisterExplorer) caughtUp(a *regAcceptor, g *grant.Granter, states []register.State, now int64, r *regStep) {
	x := register.Acceptor{State: a.State}
	done, _ := x.CatchUp(states, e.guard(&x, g, now))
	if x.Promised.Compare(a.Promised) < 0 || x.At.Compare(a.At) < 0 {
		r.bad = fmt.Sprintf("G4: an acceptor catches up and goes back from %v to %v", a.Promised, x.Promised)
	}
	if x.At != a.At {
		e.marks["register: caught up with a vote"]++
		r.at, r.vote = x.At, e.values.id(x.Value, x.Value)
	}
	a.State, a.voting = x.State, done
}
