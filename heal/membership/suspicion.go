package membership

import (
	"fmt"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership/blame"
	"healkv/heal/membership/suspect"
)

// What is wrong with each of the other nodes, as people see it (package
// suspect). It decides nothing.

// beginSuspicion fills in what New knows.
func (s *Service) beginSuspicion() {
	if s.slow = int64(s.cfg.Slow); s.slow == 0 {
		s.slow = s.stall / 2
	}
	s.slow = max(s.slow, 0)
	s.paces, s.lostAt = blame.NewPaces(s.self, s.stall, s.slow), s.env.Now()
	s.classes = suspect.New(suspect.Limits{Quiet: 2*s.lease/renewalsALease + s.lease/8, Away: s.lease, Stall: s.stall / 2, Slow: s.stall / 2,
		Settle: s.stall / 2, Tell: s.stall, Gap: s.lease / 2})
}

// classify looks at all other nodes, and tells of what has changed.
func (s *Service) classify(now int64) {
	type news struct {
		n     proto.NodeID
		class suspect.Class
		why   string
	}
	var list []news
	s.mu.Lock()
	v := &s.known.View
	for _, n := range s.others() {
		p, x := &s.peers[n], &s.sights[n]
		*x = suspect.Sight{Life: p.life, HeardAt: p.heardAt}
		if v.Members().Has(n) && p.life.Incarnation <= v.Incarnation[n] {
			x.Life = v.Member(n)
		}
		x.Dead = x.Life.Incarnation != 0 && s.granter.Ended(x.Life)
		if k := s.watcher.Standing(n, now); k.Kind == blame.NoLink {
			x.Unlinked = k.For
		} else {
			x.Stalled = k.For
		}
		x.Slow = s.paces.Edge(n, now).For
	}
	for _, n := range s.classes.Look(now, &s.sights, s.cfg.Configured.Without(s.cfg.Node)).Nodes(nil) {
		list = append(list, news{n, s.classes.State(n).Class, s.whyLocked(n, now)})
	}
	s.mu.Unlock()
	for _, x := range list {
		s.log.Info("membership: a node is seen otherwise", "peer", x.n, "class", x.class.String(), "why", x.why)
		if s.cfg.OnClass != nil {
			s.cfg.OnClass(x.n, x.class, x.why)
		}
	}
}

// whyLocked gives the figures behind a node's class.
func (s *Service) whyLocked(n proto.NodeID, now int64) string {
	x, p := s.classes.State(n), &s.peers[n]
	took := func(ns int64) time.Duration { return time.Duration(ns).Round(time.Millisecond) }
	switch x.Class {
	case suspect.Dead:
		if why := s.suspects[n].why; s.suspects[n].life == x.Life && why != "" {
			return why
		}
		return "its life is over"
	case suspect.Unreachable:
		if p.heardAt == 0 {
			return "never heard"
		}
		return fmt.Sprintf("nothing heard for %v", took(now-p.heardAt))
	case suspect.Unlinked, suspect.Stalled:
		k := s.watcher.Standing(n, now)
		switch {
		case k.For == 0:
			return "moves again"
		case k.Kind == blame.NoLink:
			return fmt.Sprintf("speaks, and cannot be connected to for %v (shard %d)", took(k.For), k.Shard)
		case k.Kind == blame.Unapplied:
			return fmt.Sprintf("applied at %d of %d for %v (shard %d)", k.Applied, k.Tail, took(k.For), k.Shard)
		}
		return fmt.Sprintf("durable at %d of %d for %v (shard %d)", k.Durable, k.Tail, took(k.For), k.Shard)
	case suspect.Slow:
		e := s.paces.Edge(n, now)
		if e.Kind == 0 {
			return "keeps up again"
		}
		return fmt.Sprintf("entries wait %v for it, for %v; more than %v is slow", took(e.Lag), took(e.For), took(s.slow))
	case suspect.Paused:
		return fmt.Sprintf("was silent for %v and speaks again in the same life: its lease had run out", took(x.Silent))
	}
	return "as it should be"
}

// suspectsLocked is everybody with whom something is wrong, or who is about to
// be removed; victim is whom complaints name.
func (s *Service) suspectsLocked(victim proto.Member, now int64) (list []SuspectStatus) {
	v := &s.known.View
	for _, n := range s.cfg.Configured.Nodes(nil) {
		x, k := s.classes.State(n), &s.suspects[n]
		about := SuspectStatus{Member: x.Life, Class: x.Class.String()}
		if x.Class != suspect.Alive {
			about.Why, about.For = s.whyLocked(n, now), time.Duration(now-x.Since)
		}
		if k.since != 0 && v.Has(k.life) {
			about.Member, about.Proven, about.Why, about.Leaves = k.life, k.gone, k.why, true
			about.For = max(about.For, time.Duration(now-k.since))
		} else if a := &s.accused; a.gone && a.life == victim && victim.Node == n {
			about.Member, about.Why, about.Leaves = victim, a.why, true
			about.For = max(about.For, time.Duration(now-a.since))
		}
		if about.Why == "" {
			continue
		}
		for i := range s.edges {
			if e := &s.edges[i]; e.Of == about.Member {
				about.By = about.By.With(e.By.Node)
			}
		}
		if c := about.By.Count(); c > 0 {
			about.Why += fmt.Sprintf(" (complained about by %d of %d)", c, v.Members().Without(n).Count())
		}
		list = append(list, about)
	}
	return list
}
