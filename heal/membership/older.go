package membership

import (
	"context"
	"fmt"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

// An acceptor whose file is an older copy of itself (a backup, a disk put back, a
// directory formatted anew) has forgotten promises and votes that somebody may
// count on: it could help to choose a second value (hazard H32). Each write of the
// file has a number, its turn. Acceptors tell theirs with beats and answers, and
// remember those of the others, in their files too. Whose file is below what
// another one has heard of it neither votes nor grants leases until the others
// have chosen a value without it, at a ballot that began after it came back: then
// whatever counts on what was lost is outbid at a majority.
//
// What nobody has heard of is not recognised: a copy that lacks no more than what
// was written after the last beat, or, if the others were restarted since, after
// their own last vote.

// turnMost is beyond what any file gets to.
const turnMost = 1 << 62

// heardTurnLocked notes how often another acceptor has written its file.
func (s *Service) heardTurnLocked(n proto.NodeID, turn uint64) {
	if n < proto.NodesMax && turn < turnMost {
		s.turns[n] = max(s.turns[n], turn)
	}
}

// heardSeenLocked compares our file with what another acceptor has heard of it.
// Where all acceptors are needed for a majority, no vote counts without those of
// the others, who have forgotten nothing.
func (s *Service) heardSeenLocked(from proto.NodeID, seen uint64) {
	if seen <= s.turn || seen >= turnMost || s.majority == s.cfg.Configured.Count() || plant.Is(plant.OlderVotes) {
		return
	}
	isNew := !s.older
	s.older, s.voting, s.lead, s.pastTurn = true, false, register.Lead{}, max(s.pastTurn, seen)
	if !isNew {
		return
	}
	why := fmt.Sprintf("the acceptor's file is at write %d, node %d has heard of write %d: an older copy", s.turn, from, seen)
	s.log.Error("membership: does not vote", "err", why)
	if s.cfg.OnOlder != nil {
		s.env.Go(func() { s.cfg.OnOlder(why) })
	}
	flow.Signal(s.forgot)
}

// olderText is for people.
const olderText = "its file is an older copy: it neither votes nor grants leases until a majority of the others has decided something without it"

// decideWithout has the others choose a value without us, and takes that in:
// then we may vote again. The ballot is ours, so it began after the file came
// back; and it begins with both phases, as a lead would rest on a promise from
// before.
func (s *Service) decideWithout() bool {
	s.mu.Lock()
	s.lead = register.Lead{}
	s.mu.Unlock()
	p, led, err := s.attempt(s.ctx, func(v *proto.View) error {
		v.Issued[s.cfg.Node]++ // any change will do; numbers may be skipped
		return nil
	})
	if err != nil || led {
		return false
	}
	outcome, v := p.Outcome()
	if outcome != register.Chosen {
		return false
	}
	s.takeDisk()
	defer s.leaveDisk()
	s.mu.Lock()
	s.acceptor.Learn(p.Ballot(), v)
	st := s.acceptor.State
	s.mu.Unlock()
	if s.saveAs(st, false) != nil {
		return false // again, when the file is mended
	}
	s.mu.Lock()
	s.older, s.voting = false, true
	s.mu.Unlock()
	s.log.Info("membership: the others have decided without this acceptor, whose file was an older copy", "ballot", p.Ballot().String())
	return true
}

// oldFile writes down that our file is an older copy and, where enough others
// answer, has them decide without us. Whatever else is written to the file says
// so as well (save).
func (s *Service) oldFile(answer int) bool {
	s.takeDisk()
	s.mu.Lock()
	st, marked := s.acceptor.State, s.file.older && s.turn > s.pastTurn
	s.mu.Unlock()
	var err error
	if !marked {
		err = s.save(st)
	}
	s.leaveDisk()
	return err == nil && answer >= s.majority && s.decideWithout()
}

// catchUpAgain is the pause between two attempts. Those that have others decide
// cost each of them a write, and a file that is to be mended takes its time.
func (s *Service) catchUpAgain() time.Duration {
	s.mu.Lock()
	slowly := s.older || s.stopped != nil
	s.mu.Unlock()
	if slowly {
		return max(20*time.Millisecond, time.Duration(s.lease)/8)
	}
	return 20 * time.Millisecond
}

func (s *Service) isOlder() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.older && s.stopped == nil
}

// state asks another acceptor for its state.
func (s *Service) state(ctx context.Context, n proto.NodeID) *stateAnswer {
	var a stateAnswer
	if s.ctl.Call(ctx, n, kindState, nil, &a) != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = s.asked.With(n)
	s.heardTurnLocked(n, a.Turn)
	s.heardSeenLocked(n, a.Seen)
	return &a
}

// ownFileLocked reports whether nothing speaks against our file: enough others
// were asked, and none has heard of a later one.
func (s *Service) ownFileLocked() bool {
	return !s.older && s.asked.Count() >= s.majority-1 || plant.Is(plant.OlderGrants)
}
