package membership

import (
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
	if plant.Is(plant.RefusedProves) {
		s.granter.End(e.Member)
	}
	s.mu.Unlock()
	flow.Signal(s.look)
}

// refusedAgain is when it is asked again whether others were refused too, at
// first: their links notice within milliseconds of each other that a process is
// gone, and not at all that one path is broken.
const refusedAgain = 5 * time.Millisecond

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
