package explore

import (
	"fmt"

	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

// What must hold in a world of the membership:
//
//	G1  One ballot, one value.
//	G2  One sequence number, one chosen value; so one view per epoch.
//	G3  A chosen value contains every change chosen before.
//	G4  An acceptor's promise and accepted ballot never go back.
//	L1  A holder that counts on its lease is live in every chosen view.
//	S   What a proposer reports as chosen is.
//	P   From every state, once nothing is lost and everybody answers, every
//	    proposal comes to its end in time, though holders ask for their leases
//	    as before.

func (e *RegisterExplorer) took(bad string) {
	if e.bad == "" {
		e.bad = bad
	}
}

// voted adds a vote to those that were ever given, and looks at what it decides.
func (e *RegisterExplorer) voted(id uint32, n int, at register.Ballot, value uint32) uint32 {
	r := e.remember([5]uint32{100, id, uint32(n), value, e.ballot(at)}, func() (r regStep) {
		h := e.votes.of[id]
		i := 0
		for i < h.n && h.list[i].at != at {
			i++
		}
		switch {
		case i == h.n && i == len(h.list):
			r.bad = "explore: too many ballots"
			r.a = id
			return r
		case i == h.n:
			for h.n++; i > 0 && h.list[i-1].at.Compare(at) > 0; i-- {
				h.list[i] = h.list[i-1]
			}
			h.list[i] = regVote{at: at, value: value}
		}
		x := &h.list[i]
		if x.value != value {
			r.bad = fmt.Sprintf("G1: ballot %v has two values: %+v and %+v", at, e.values.of[x.value], e.values.of[value])
		}
		chosen := x.by.Count() >= regMajority
		if x.by = x.by.With(proto.NodeID(n)); x.by.Count() >= regMajority {
			x.by = 1<<regNodes - 1
		}
		if !chosen && x.by.Count() >= regMajority {
			r.bad = e.chosen(&h, i, r.bad)
		}
		r.a = e.votes.id(h, h)
		return r
	})
	e.took(r.bad)
	return r.a
}

// ballot numbers one: those of this world are small.
func (e *RegisterExplorer) ballot(b register.Ballot) uint32 {
	return uint32(b.Round)<<8 | uint32(b.Node)<<4 | uint32(b.Life)
}

// chosen compares what a majority has just accepted with all else that is chosen.
func (e *RegisterExplorer) chosen(h *regVotes, i int, bad string) string {
	v := e.values.of[h.list[i].value]
	for _, m := range e.members {
		if !v.View.Live.Has(m.Node) {
			h.gone = h.gone.With(m.Node)
		}
	}
	for j := range h.n {
		if j == i || h.list[j].by.Count() < regMajority {
			continue
		}
		u, w := e.values.of[h.list[j].value], v
		if u.Seq > w.Seq {
			u, w = w, u
		}
		switch {
		case u.Seq == w.Seq && u != w:
			return fmt.Sprintf("G2: two chosen values with number %d: %+v and %+v", u.Seq, u.View, w.View)
		case u.View.Epoch == w.View.Epoch && u.View != w.View:
			return fmt.Sprintf("G2: two views of epoch %d: %+v and %+v", u.View.Epoch, u.View, w.View)
		case u.View.Epoch > w.View.Epoch || w.View.Members()&^u.View.Members() != 0:
			return fmt.Sprintf("G3: %+v follows %+v", w.View, u.View)
		}
	}
	return bad
}

// reported: what a proposer takes for chosen.
func (e *RegisterExplorer) reported(votes uint32, i int, p *regProposer) {
	h := &e.votes.of[votes]
	for j := range h.n {
		if h.list[j].value == p.result && h.list[j].by.Count() >= regMajority {
			return
		}
	}
	e.took(fmt.Sprintf("S: proposer %d takes for chosen (%v) what no majority accepted: %+v", i, p.ended, e.values.of[p.result]))
}

// check looks at a state.
func (e *RegisterExplorer) check(s *regState) {
	gone := e.votes.of[s.votes].gone
	for i, h := range e.c.Holders {
		if !gone.Has(h) {
			continue
		}
		if until := e.renewals.of[s.renewal[i]].Until(e.hold); until > int64(s.clock[h]) {
			e.took(fmt.Sprintf("L1: node %d counts on its lease until %d, its clock says %d, and a view without it is chosen", h, until, s.clock[h]))
		}
		e.marks["register: a holder is out"]++
	}
}

// calm goes on from a state without faults: every request arrives and is
// answered, clocks go on together, holders ask at every tick. What is under way
// has no part in it: it may be late for ever.
func (e *RegisterExplorer) calm(s regState) {
	s.asked, s.asks, s.restarts = [2]uint32{}, [2]uint8{}, 0
	if e.calms[s] || e.bad != "" {
		return
	}
	e.calms[s] = true
	patience := int(2*e.c.Lease) + 2
	ticks := 0
	wait := func() {
		ticks++
		for n := range s.clock {
			s.clock[n]++
		}
		for h := range e.c.Holders {
			for n := range regNodes {
				e.grant(&s, h, n, int(s.clock[e.c.Holders[h]]))
			}
		}
		e.check(&s)
	}
	for n := range regNodes {
		for ticks = 0; !e.acceptors.of[s.acceptor[n]].voting && e.bad == ""; {
			if e.catchUp(&s, n, (1<<regNodes-1)&^(1<<n)); !e.acceptors.of[s.acceptor[n]].voting {
				if wait(); ticks > patience {
					e.took(fmt.Sprintf("P: node %d does not vote again after %d ticks of calm", n, ticks))
				}
			}
		}
	}
	for i := range e.c.Proposers {
		if p := &e.proposers.of[s.proposer[i]]; p.n > 0 && p.ended == register.Pending {
			e.finishes(&s, i) // whatever the end is
		}
	}
	for i := range e.c.Proposers {
		ticks = 0
		for try := 0; e.bad == ""; try++ {
			e.beginCalm(&s, i)
			end := e.finishes(&s, i)
			if end == register.Chosen || end == register.Unchanged || e.bad != "" {
				break
			}
			if wait(); try > patience {
				e.took(fmt.Sprintf("P: proposer %d comes to no decision in %d ticks of calm: %v", i, ticks, end))
			}
		}
	}
	if e.bad != "" {
		e.bad += " (in a continuation without faults)"
	}
}

// beginCalm is begin beyond the attempts that the configuration allows.
func (e *RegisterExplorer) beginCalm(s *regState, i int) {
	seen := e.acceptors.of[s.acceptor[e.c.Proposers[i].Node]].Promised.Round
	r := e.remember([5]uint32{101, uint32(i), s.proposer[i], uint32(seen)}, func() (r regStep) {
		p := e.proposers.of[s.proposer[i]]
		p.n, p.sent = 0, [regAttempts][2]uint32{}
		e.beginAt(i, &p, seen)
		r.a = e.proposerID(&p)
		return r
	})
	s.proposer[i] = r.a
}

// finishes brings a proposer's request to everybody until it has come to its end.
func (e *RegisterExplorer) finishes(s *regState, i int) register.Outcome {
	for range 2 * regNodes {
		p := &e.proposers.of[s.proposer[i]]
		k, phase := p.n-1, 0
		if p.sent[k][1] != 0 {
			phase = 1
		}
		for n := range regNodes {
			e.deliver(s, i, k, phase, n, false)
			p := &e.proposers.of[s.proposer[i]]
			if p.ended != register.Pending || e.bad != "" {
				return p.ended
			}
			if phase == 0 && p.sent[k][1] != 0 {
				break
			}
		}
	}
	e.took(fmt.Sprintf("P: all have answered proposer %d, and it waits", i))
	return register.Pending
}
