package register

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// State is what an acceptor must not forget. States are compared with ==.
type State struct {
	Promised Ballot
	At       Ballot // ballot Value was accepted at; zero for none
	Value    Value
}

// Acceptor is one node's vote.
type Acceptor struct{ State }

// Step answers a request. changed means the state must be durable before the
// answer leaves. guard is asked before a value is accepted for the first time
// and gives a reason to refuse it for now, or "".
//
// An Accept is answered with Accepted while its value is the newest accepted
// here, even if more was promised since: that is so. It then stands for the
// promise of its Next too, which nothing below can have passed.
//
// Preconditions: m.Kind is Prepare or Accept (the caller checked what came
// from a peer); another kind is answered with a refusal.
func (a *Acceptor) Step(m *Message, guard func(next *proto.View) string) (reply Message, changed bool) {
	reply = Message{From: m.To, To: m.From, Ballot: m.Ballot}
	again := m.Kind == Accept && m.Ballot == a.At
	if m.Ballot.Compare(a.Promised) < 0 && !again && !(plant.Is(plant.AcceptOutbid) && m.Kind == Accept) {
		reply.Kind, reply.Why, reply.Promised = Refuse, Outbid, a.Promised
		return reply, false
	}
	switch m.Kind {
	case Prepare:
		changed = a.Promised != m.Ballot
		if !plant.Is(plant.PromiseForgotten) {
			a.Promised = m.Ballot
		}
		reply.Kind, reply.At, reply.Value = Promise, a.At, a.Value
	case Accept:
		if !again {
			if why := guard(&m.Value.View); why != "" && !plant.Is(plant.AcceptUnguarded) {
				reply.Kind, reply.Why, reply.Detail, reply.Promised = Refuse, Guarded, why, a.Promised
				return reply, false
			}
			a.Promised, a.At, a.Value = m.Ballot, m.Ballot, m.Value
			changed = true
		}
		if m.Next.Compare(a.Promised) > 0 && !plant.Is(plant.NextUnpromised) {
			a.Promised, changed = m.Next, true
		}
		reply.Kind = Accepted
	default:
		reply.Kind, reply.Why = Refuse, Silent
	}
	return reply, changed
}

// Learn takes in a value that was chosen at ballot b, whatever was promised
// since: every later proposer sees it, or something above it, in its majority
// anyway. The result says whether the state changed and must be made durable.
func (a *Acceptor) Learn(b Ballot, v Value) bool {
	if b.Compare(a.At) <= 0 && !plant.Is(plant.LearnOlder) {
		return false
	}
	a.At, a.Value = b, v
	if b.Compare(a.Promised) > 0 {
		a.Promised = b
	}
	return true
}

// CatchUp takes in the states of other acceptors before the first vote after
// a start, as if the messages that led to them had reached us too: so a file
// older than we once were cannot vote against what we voted for. done is
// false when guard keeps us from the newest accepted value for now: then
// nothing changed, and we must not vote yet.
func (a *Acceptor) CatchUp(others []State, guard func(next *proto.View) string) (done, changed bool) {
	before := a.State
	best := before
	for i := range others {
		if o := &others[i]; !plant.Is(plant.CatchUpBlind) && o.At.Compare(best.At) > 0 && o.At.Compare(before.Promised) >= 0 {
			best = *o
		}
	}
	if best.At != before.At {
		if guard(&best.Value.View) != "" {
			return false, false
		}
		a.Promised, a.At, a.Value = best.At, best.At, best.Value
	}
	// Promises last: one of a third acceptor must not outbid the value above.
	for i := range others {
		if others[i].Promised.Compare(a.Promised) > 0 {
			a.Promised = others[i].Promised
		}
	}
	return true, a.State != before
}
