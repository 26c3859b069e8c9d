package membership

import (
	"context"
	"fmt"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Bootstrap makes the first view of a new cluster and returns it; at once if
// there is one already. All nodes call it, each with a fresh pool and after
// SetMember; the lowest of those that are there proposes. The view has every
// configured node live or, when a majority has been there for
// Config.BootstrapWait, those that are there: the others join it later, like any
// node that was never live, by full copy. The error names who is missing.
func (s *Service) Bootstrap(ctx context.Context) (proto.View, error) {
	s.mu.Lock()
	s.fresh = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.fresh = false
		s.mu.Unlock()
	}()
	flow.Signal(s.beatNow)
	rank := (s.cfg.Configured & (1<<s.cfg.Node - 1)).Count()
	head := time.Duration(rank) * s.patience(50*time.Millisecond, 80) // others follow when the lowest one does not
	var since, sinceAll int64                                         // when enough, and all, were there; 0: they are not
	for {
		if v := s.Current(); v.Epoch > 0 {
			return v, nil
		}
		now := s.env.Now()
		g := s.gathered()
		lasts(&since, g.enough, now)
		lasts(&sinceAll, g.enough && g.missing == "", now)
		if !g.barred && (past(sinceAll, now, head) || s.cfg.BootstrapWait > 0 && past(since, now, s.cfg.BootstrapWait+head)) {
			if g.missing != "" {
				s.log.Warn("membership: makes the first view without nodes that are missing", "missing", g.missing, "waited", s.cfg.BootstrapWait)
			}
			v, err := s.Update(ctx, func(v *proto.View) error {
				if v.Epoch > 0 {
					return ErrNoChange
				}
				*v = g.first(v)
				return nil
			})
			if err != nil {
				return v, fmt.Errorf("membership: no first view: %w", err)
			}
			return v, nil
		}
		if err := s.pause(ctx, 5*time.Millisecond); err != nil {
			if g.missing == "" {
				g.missing = "nobody"
			}
			return s.Current(), fmt.Errorf("membership: no first view: still waiting for %s: %w", g.missing, err)
		}
	}
}

// lasts keeps since when something is so; 0: it is not.
func lasts(since *int64, is bool, now int64) {
	switch {
	case !is:
		*since = 0
	case *since == 0:
		*since = now
	}
}

// past reports whether something is so for d or longer.
func past(since, now int64, d time.Duration) bool { return since != 0 && now-since >= int64(d) }

// gathered is who is there for a first view.
type gathered struct {
	there   proto.NodeSet // with fresh pools, and lives
	lives   [proto.NodesMax]proto.Incarnation
	enough  bool   // a majority, ourselves among them
	missing string // everybody else, and why; "": nobody
	// barred: somebody is there who must not be left out. Data would be lost if
	// its pool is not new; a mistake would be kept if its configuration differs.
	barred bool
}

func (g *gathered) first(v *proto.View) proto.View {
	set := g.there
	if plant.Is(plant.BootstrapAbsent) {
		set = v.Configured
	}
	w := v.Next(set, 0)
	for _, n := range g.there.Nodes(nil) {
		w.Incarnation[n] = g.lives[n]
	}
	return w
}

func (s *Service) gathered() (g gathered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.self.Incarnation == 0 {
		g.missing = fmt.Sprintf("node %d, which is us and has no incarnation yet", s.cfg.Node)
		return g
	}
	if !s.voting {
		g.missing = "enough other nodes to vote"
		return g
	}
	g.there, g.lives[s.cfg.Node] = g.there.With(s.cfg.Node), s.self.Incarnation
	for _, n := range s.others() {
		p := &s.peers[n]
		here := s.ctl.Connected(n)
		switch {
		case p.config != "":
			g.missing += fmt.Sprintf("node %d (%s) ", n, p.config)
			g.barred = g.barred || here
		case !here || p.life.Incarnation == 0:
			g.missing += fmt.Sprintf("node %d ", n)
		case !p.fresh:
			g.missing += fmt.Sprintf("node %d (its pool is not new) ", n)
			g.barred = g.barred || !plant.Is(plant.BootstrapUsed)
		default:
			g.there, g.lives[n] = g.there.With(n), p.life.Incarnation
		}
	}
	g.enough = g.there.Count() >= s.majority || plant.Is(plant.BootstrapFew)
	return g
}
