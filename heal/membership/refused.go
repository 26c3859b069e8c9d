package membership

import (
	"context"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/control"
)

// onRefused takes a refused connection for the end of the life that was
// connected there, where Config.TrustRefused says that it may: between hosts
// nothing else tells of a dead process before its lease is over. Each acceptor
// goes by what it has seen itself, so a majority must have been refused before
// the member can be dropped, and one broken path removes nobody. It proves
// nothing either: the life that speaks again is guarded again.
//
// What makes it true is not in this process: who listens has stopped serving
// before it stops listening, nobody answers in its name, and its address is its
// own (hazard H37).
func (s *Service) onRefused(e control.Event) {
	if e.Kind != control.PeerRefused || e.Member.Incarnation == 0 || !s.cfg.TrustRefused && !plant.Is(plant.RefusedTrusted) {
		return
	}
	s.log.Warn("membership: connections are refused where a member was: it is taken for dead", "member", e.Member)
	s.mu.Lock()
	s.granter.Refuse(e.Member)
	close(s.refusal)
	s.refusal = make(chan struct{})
	if plant.Is(plant.RefusedProves) {
		s.granter.End(e.Member)
	}
	s.mu.Unlock()
	flow.Signal(s.look)
}

// refusedSoon is how long an acceptor that is asked about a member it is no
// longer connected to waits for its own refusal: the link tries within
// milliseconds, a processor given. Then one poll of a dead process is enough.
const refusedSoon = 20 * time.Millisecond

// awaitRefusal waits for m's connections to be refused here too, if it may be so.
func (s *Service) awaitRefusal(ctx context.Context, m proto.Member) {
	if !s.cfg.TrustRefused && !plant.Is(plant.RefusedTrusted) {
		return
	}
	end := s.env.Now() + int64(refusedSoon)
	for !s.ctl.Connected(m.Node) {
		s.mu.Lock()
		refused, more := s.granter.Refused(m) || s.granter.Ended(m), s.refusal
		s.mu.Unlock()
		left := end - s.env.Now()
		if refused || left <= 0 || s.env.Wait(time.Duration(left), more, s.ctx.Done(), ctx.Done()) > 0 {
			return
		}
	}
}

// refusedAgain is when it is asked again whether others were refused too, at
// first: their links notice within milliseconds of each other that a process is
// gone, and not at all that one path is broken.
const refusedAgain = 2 * time.Millisecond

// refusedPause is the pause after the last of so many polls in a row that freed
// nobody.
func (s *Service) refusedPause(polls int) time.Duration {
	if plant.Is(plant.RefusedPolls) {
		polls = 0
	}
	return min(refusedAgain<<min(polls, 20), time.Duration(s.lease)/4)
}

// refused reports whether one of the nodes counts as dead for refused
// connections alone.
func (s *Service) refused(nodes proto.NodeSet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes.Nodes(nil) {
		if s.granter.Refused(s.known.View.Member(n)) {
			return true
		}
	}
	return false
}
