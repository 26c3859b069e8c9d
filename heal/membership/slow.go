package membership

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/blame"
)

// Slow members (package blame, Paces and JudgeSlow). One that keeps up so badly
// that every write waits for it, while the others do not, is complained about
// like one that stands still, and loses its place as they do. Its next life
// comes back as a shadow and stays one until the members have seen it keep up.

const (
	restAfter  = 10 // patiences without a demotion after a live member went, and after the start
	namedLates = 4  // patiences after which a name is old
)

// complaintsLocked is what this node says of the members. What stands still is
// not slow as well.
func (s *Service) complaintsLocked(now int64) []blame.Edge {
	edges := s.watcher.Edges(nil, now)
	var said proto.NodeSet
	for i := range edges {
		said = said.With(edges[i].Of.Node)
	}
	for _, e := range s.paces.Edges(nil, now) {
		if !said.Has(e.Of.Node) {
			edges = append(edges, e)
		}
	}
	return edges
}

// slowLocked is whom the complaints name as slow. After a live member went,
// whatever for, there is rest: what is slow then may be the way back of the one
// that went, and a demotion must not set off the next.
func (s *Service) slowLocked(edges []blame.Edge, running proto.NodeSet, now int64) blame.Verdict {
	x := blame.JudgeSlow(&s.known.View, edges, running, s.heldBack, s.majority)
	m := x.Victim
	if m.Incarnation == 0 || s.known.View.Live.Has(m.Node) && now-s.lostAt < restAfter*s.stall && !plant.Is(plant.SlowOften) {
		return blame.Verdict{}
	}
	s.namedSlow, s.namedAt = m, now
	return x
}

// wentLocked takes in who is gone, and who is live again, with a new view.
func (s *Service) wentLocked(old, v *proto.View) {
	for _, n := range old.Live.Nodes(nil) {
		m := old.Member(n)
		if v.Has(m) {
			continue
		}
		s.lostAt = s.viewAt
		if m == s.namedSlow && s.viewAt-s.namedAt < namedLates*s.stall {
			s.heldBack = s.heldBack.With(n)
			s.counts.Demoted++
			s.log.Warn("membership: a slow member is demoted: it is live again when it keeps up", "member", m)
		}
	}
	s.heldBack &^= v.Live
}

// catchUpLocked lets go whom this node has seen to keep up again.
func (s *Service) catchUpLocked(now int64) {
	v := &s.known.View
	for _, n := range (s.heldBack & v.Shadow).Nodes(nil) {
		if s.paces.KeepsUp(v.Member(n), now) {
			s.heldBack = s.heldBack.Without(n)
			s.log.Info("membership: keeps up again", "member", v.Member(n))
		}
	}
}

// HeldBack says why this node should not become live yet although it could: half
// of the live members or more have seen it demoted as slow, and not to keep up
// since. "": it may.
func (s *Service) HeldBack() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, by := &s.known.View, proto.NodeSet(0)
	now := s.env.Now()
	for _, n := range v.Live.Without(s.cfg.Node).Nodes(nil) {
		if p := &s.peers[n]; p.held.Has(s.cfg.Node) && now-p.heardAt < 2*s.lease {
			by = by.With(n)
		}
	}
	if by == 0 || 2*by.Count() < v.Live.Count() || plant.Is(plant.SlowPromoted) {
		return ""
	}
	return fmt.Sprintf("was demoted as slow: nodes %v have not seen it keep up for %d leases yet", by, 2)
}
