package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

// The messages of the membership.
const (
	kindVote    = "member.vote"    // voteJSON → voteJSON
	kindState   = "member.state"   // → stateAnswer
	kindChosen  = "member.chosen"  // chosenJSON, nobody waits
	kindBeat    = "member.beat"    // beat → beatAnswer
	kindMayDrop = "member.maydrop" // mayDrop → mayDropAnswer
	kindBlamed  = "member.blamed"  // blamed → mayDropAnswer
	kindRelease = "member.release" // nothing: the sender's life is over
	kindRuns    = "member.runs"    // → runsAnswer
)

type stateAnswer struct {
	State  stateJSON  `json:"state"`
	Chosen chosenJSON `json:"chosen"`
	Turn   uint64     `json:"turn"` // of the file
	Seen   uint64     `json:"seen"` // highest turn heard of the asker
}

func (s *Service) register() {
	s.ctl.Handle(kindVote, func(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
		var j voteJSON
		if err := s.decode(body, &j); err != nil {
			return nil, err
		}
		m := j.message()
		if err := s.checkVote(&m, from.Node); err != nil {
			return nil, err
		}
		if err := s.sameSeed(from.Node, j.Seed); err != nil {
			return nil, err
		}
		a := voteOf(s.vote(ctx, &m))
		s.mu.Lock()
		a.Turn = s.turn
		s.mu.Unlock()
		return a, nil
	})
	s.ctl.Handle(kindState, func(_ context.Context, from proto.Member, _ json.RawMessage) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return stateAnswer{toJSON(s.durable), chosenJSON{s.knownAt, value(s.known)}, s.turn, s.turns[from.Node]}, nil
	})
	s.ctl.Handle(kindChosen, func(_ context.Context, _ proto.Member, body json.RawMessage) (any, error) {
		var c chosenJSON
		if err := s.decode(body, &c); err != nil {
			return nil, err
		}
		s.learn(c.Ballot, register.Value(c.Value))
		return nil, nil
	})
	s.ctl.Handle(kindBeat, s.onBeat)
	s.ctl.Handle(kindMayDrop, s.onMayDrop)
	s.ctl.Handle(kindBlamed, s.onBlamed)
	s.ctl.Handle(kindRuns, s.onRuns)
	s.ctl.Handle(kindRelease, func(_ context.Context, from proto.Member, _ json.RawMessage) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.granter.End(from)
		return nil, nil
	})
}

// decode counts what does not decode.
func (s *Service) decode(body json.RawMessage, to any) error {
	err := json.Unmarshal(body, to)
	if err != nil {
		s.mu.Lock()
		s.counts.Damaged++
		s.mu.Unlock()
		return fmt.Errorf("membership: message refused: %w", err)
	}
	return nil
}

// roundMost is far above what rounds reach, and leaves room above it.
const roundMost = 1 << 60

// checkVote refuses what no proposer sends, so that the acceptor's
// preconditions hold whatever a peer does.
func (s *Service) checkVote(m *register.Message, from proto.NodeID) (err error) {
	switch {
	case m.Kind != register.Prepare && m.Kind != register.Accept:
		err = fmt.Errorf("membership: message refused: a request to vote of kind %v", m.Kind)
	case m.From != from || m.Ballot.Node != from || m.To != s.cfg.Node:
		err = fmt.Errorf("membership: message refused: ballot %v from node %d to %d, sent by %d to %d", m.Ballot, m.From, m.To, from, s.cfg.Node)
	case m.Ballot.Round == 0 || m.Ballot.Round > roundMost:
		err = fmt.Errorf("membership: message refused: round %d", m.Ballot.Round)
	case m.Next != register.Ballot{} && (m.Kind != register.Accept || m.Next != m.Ballot.Next()):
		err = fmt.Errorf("membership: message refused: ballot %v is to be promised with %v", m.Next, m.Ballot)
	case m.Kind == register.Accept && m.Value.Seq == 0:
		err = fmt.Errorf("membership: message refused: no value")
	case m.Kind == register.Accept:
		err = sameConfig(&s.cfg.Initial, &m.Value.View)
	}
	if err != nil {
		s.mu.Lock()
		s.counts.Damaged++
		s.mu.Unlock()
	}
	return err
}

// votersMost bounds the requests to vote that wait for the disk: proposers give
// up and come again, and where a disk hangs those that wait must leave the places
// of their connection (control) to beats.
const votersMost = 2 * proto.NodesMax

// vote answers a request to vote; its effect is durable before it returns. Silent
// is also the answer where the disk is not free until ctx ends.
func (s *Service) vote(ctx context.Context, m *register.Message) register.Message {
	silent := register.Message{Kind: register.Refuse, From: m.To, To: m.From, Ballot: m.Ballot, Why: register.Silent}
	if !s.takeDiskToVote(ctx) {
		return silent
	}
	defer s.leaveDisk()
	if m.Kind == register.Accept {
		s.prove(&m.Value.View)
	}
	s.mu.Lock()
	if !s.voting || s.stopped != nil && !plant.Is(plant.MendVotes) {
		s.mu.Unlock()
		return silent
	}
	reply, changed := s.acceptor.Step(m, s.guardLocked)
	st := s.acceptor.State
	s.round = max(s.round, st.Promised.Round)
	s.mu.Unlock()
	if changed && !plant.Is(plant.VoteUnsaved) && s.save(st) != nil {
		return silent
	}
	return reply
}

// takeDiskToVote is takeDisk, unless ctx ends first or too many wait already.
func (s *Service) takeDiskToVote(ctx context.Context) bool {
	if plant.Is(plant.VoteWaits) {
		s.takeDisk()
		return true
	}
	if s.voters.Add(1) > votersMost {
		s.voters.Add(-1)
		return false
	}
	defer s.voters.Add(-1)
	return s.env.Wait(-1, s.disk, ctx.Done()) == 0
}

// save makes the acceptor's state durable; disk is held. After a failure this
// acceptor answers no more until the file is mended.
func (s *Service) save(st register.State) error {
	s.mu.Lock()
	older := s.older
	s.mu.Unlock()
	return s.saveAs(st, older)
}

func (s *Service) saveAs(st register.State, older bool) error {
	s.mu.Lock()
	s.file.turns, s.file.older = s.turns, older && !plant.Is(plant.OlderUnflagged)
	if plant.Is(plant.TurnsForgotten) {
		s.file.turns = [proto.NodesMax]uint64{}
	}
	s.file.past(s.pastTurn)
	s.mu.Unlock()
	err := s.file.write(st)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failedLocked(err)
		return err
	}
	s.durable, s.turn = st, s.file.turn
	return nil
}

// guardLocked is asked before a view is accepted. Who got this far has a
// majority's promise, so the leases in its way are not extended any more: they
// run out, and then the view passes.
func (s *Service) guardLocked(next *proto.View) string {
	m, wait, blocked := s.granter.Guard(next, &s.acceptor.Value.View, s.env.Now())
	if !blocked {
		return ""
	}
	return fmt.Sprintf("node %d guards the lease of %v for another %v", s.cfg.Node, m, time.Duration(wait).Round(time.Millisecond))
}

// prove looks for proofs of death of the members whose leases forbid next.
func (s *Service) prove(next *proto.View) {
	var tried proto.NodeSet
	for {
		s.mu.Lock()
		m, _, blocked := s.granter.Blocks(next, &s.acceptor.Value.View, s.env.Now())
		s.mu.Unlock()
		if !blocked || tried.Has(m.Node) || !s.dead(m) {
			return
		}
		tried = tried.With(m.Node)
	}
}

// dead reports whether m's life is over for certain.
func (s *Service) dead(m proto.Member) bool {
	s.mu.Lock()
	over := s.granter.Ended(m)
	s.mu.Unlock()
	if over || s.cfg.ProvenDead == nil || m == s.member() {
		return over
	}
	proven, err := s.cfg.ProvenDead(m)
	if err != nil {
		s.log.Warn("membership: cannot tell whether a member is dead", "member", m, "err", err)
		return false
	}
	if proven {
		s.mu.Lock()
		s.granter.End(m)
		s.mu.Unlock()
	}
	return proven
}

func (s *Service) member() proto.Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self
}

// catchUp reads the states of enough other acceptors before the first vote:
// with our own they make a majority, and without one nothing can be decided
// anyway. One of them says if our file is an older copy; that may also turn out
// later.
func (s *Service) catchUp() {
	for {
		switch {
		case s.catchUpOnce():
			s.log.Info("membership: voting")
			flow.Signal(s.look)
			for !s.isOlder() {
				if !s.until(-1, s.forgot) {
					return
				}
			}
		case s.pause(s.ctx, s.catchUpAgain()) != nil:
			return
		}
	}
}

func (s *Service) catchUpOnce() bool {
	ctx, cancel := s.env.Timeout(s.ctx, s.patience(time.Second, 4))
	defer cancel()
	others := s.others()
	answers := make([]*stateAnswer, len(others))
	calls := flow.NewGroup(s.env)
	for i, n := range others {
		calls.Go(func() {
			answers[i] = s.state(ctx, n)
		})
	}
	calls.Wait()
	var states []register.State
	for _, a := range answers {
		if a == nil {
			continue
		}
		st, err := a.State.state()
		if err != nil || st.Promised.Round > roundMost+1 || st.At.Round > roundMost {
			continue
		}
		s.learn(a.Chosen.Ballot, register.Value(a.Chosen.Value))
		states = append(states, st)
	}
	if len(states) < s.majority-1 && !plant.Is(plant.VoteAtOnce) {
		return false
	}
	if s.isOlder() && !plant.Is(plant.OlderByAsking) {
		return s.oldFile(len(states))
	}
	s.takeDisk()
	defer s.leaveDisk()
	for i := range states {
		if states[i].Value.Seq != 0 {
			s.prove(&states[i].Value.View)
		}
	}
	s.mu.Lock()
	changed := s.known.Seq != 0 && s.acceptor.Learn(s.knownAt, s.known)
	done, more := s.acceptor.CatchUp(states, s.guardLocked)
	st := s.acceptor.State
	s.round = max(s.round, st.Promised.Round)
	s.mu.Unlock()
	if (changed || more) && s.save(st) != nil {
		return false // again, when the file is mended
	}
	s.mu.Lock()
	// An older copy that cannot be written for now is not done with: see isOlder.
	s.voting = done && (!s.older || plant.Is(plant.OlderByAsking))
	done = s.voting || done && plant.Is(plant.OlderGivenUp)
	s.mu.Unlock()
	return done
}

// learner makes chosen values durable that did not come by a vote: leases are
// granted from what is on disk.
func (s *Service) learner() {
	for s.until(-1, s.learnt) {
		s.takeDisk()
		s.mu.Lock()
		// Nothing is written before others were asked what they have heard of our
		// file: its turn would catch up with that. catchUp takes the value in then.
		changed := s.stopped == nil && s.asked.Count() >= s.majority-1 && s.known.Seq != 0 && s.acceptor.Learn(s.knownAt, s.known)
		st := s.acceptor.State
		s.mu.Unlock()
		if changed && s.save(st) == nil {
			s.beatSoon()
		}
		s.leaveDisk()
	}
}

// grantLocked answers a request for a lease.
func (s *Service) grantLocked(m proto.Member, now int64) grant.Answer {
	if d := &s.durable.Value.View; !plant.Is(plant.GrantUndurable) && (s.stopped != nil || !s.ownFileLocked() || !d.Live.Has(m.Node) || d.Incarnation[m.Node] != m.Incarnation) {
		return grant.NotLive
	}
	return s.granter.Grant(m, &s.acceptor.Value.View, now)
}
