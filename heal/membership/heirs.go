package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

var (
	// ErrNoHeir: a live member would leave the view to others of which nobody
	// answers, in the life that the view names. They may be dead, and with them
	// what a cold start would go by; the member has it all, so it stays.
	ErrNoHeir = errors.New("membership: no other live member answers")

	errAskAgain = errors.New("membership: who takes over was asked in another view, or too long ago")
)

type runsAnswer struct {
	Life proto.Member `json:"life"` // that runs and stays, incarnation 0: none
}

// heirs is which live members of a view said just now that they run and stay.
type heirs struct {
	view  proto.View
	asked int64 // when, Env.Now
	lives [proto.NodesMax]proto.Incarnation
}

// onRuns answers kindRuns.
func (s *Service) onRuns(context.Context, proto.Member, json.RawMessage) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := runsAnswer{s.self}
	if s.leaving {
		a.Life.Incarnation = 0
	}
	return a, nil
}

// heirs asks the live members of the newest view beside gone whether they run,
// until the first says yes. What was heard of them some time ago does not do:
// they may have died since, and nobody noticed yet.
func (s *Service) heirs(ctx context.Context, gone proto.NodeID) *heirs {
	s.mu.Lock()
	h := &heirs{view: s.known.View, asked: s.env.Now()}
	self := s.self
	we := s.liveLocked() && !s.leaving && self.Node != gone
	s.mu.Unlock()
	if we {
		h.lives[self.Node] = self.Incarnation
		return h
	}
	others := h.view.Live.Without(gone).Without(s.cfg.Node).Nodes(nil)
	ctx, cancel := s.env.Timeout(ctx, s.patience(time.Second, 4))
	defer cancel()
	said := newAnswers[proto.Member](s.env)
	for _, n := range others {
		s.env.Go(func() {
			var a runsAnswer
			if s.ctl.Call(ctx, n, kindRuns, nil, &a) != nil || a.Life.Node != n {
				a.Life = proto.Member{}
			}
			said.put(a.Life)
		})
	}
	for range others {
		if m, _ := said.take(nil); m.Incarnation != 0 && m == h.view.Member(m.Node) {
			h.lives[m.Node] = m.Incarnation
			return h
		}
	}
	return h
}

// take reports whether one of them takes over when m leaves v: ErrNoHeir, or
// errAskAgain if what they said is not about v, or is older than recent (ns).
func (h *heirs) take(v *proto.View, m proto.Member, now, recent int64) error {
	if !v.Live.Has(m.Node) || plant.Is(plant.HeirUnasked) {
		return nil // nobody has to take over from a shadow
	}
	left := v.Live.Without(m.Node).Nodes(nil)
	if now-h.asked > recent {
		return errAskAgain
	}
	for _, n := range left {
		if h.lives[n] != 0 && h.lives[n] == v.Incarnation[n] {
			return nil
		}
	}
	if v.Epoch != h.view.Epoch {
		return errAskAgain
	}
	return fmt.Errorf("%w: of %v, the live members of epoch %d beside %v, nobody does; it stays in the view, because a cold start goes by those it names: wait until they are back, or until the view is without them",
		ErrNoHeir, left, v.Epoch, m)
}

// mayLeave is ErrNoHeir if nobody takes over from m, and who does otherwise.
// Before it says so it asks a majority, for a moment, whether the view that
// names the others is still the newest.
func (s *Service) mayLeave(ctx context.Context, m proto.Member) (*heirs, error) {
	for {
		h := s.heirs(ctx, m.Node)
		if !h.view.Has(m) || h.view.Live.Without(m.Node) == 0 {
			return h, nil // not in the view, or the last one: the register declines
		}
		err := h.take(&h.view, m, h.asked, s.lease)
		if err == nil {
			return h, nil
		}
		at, cancel := s.env.Timeout(ctx, s.patience(time.Second, 4))
		v, _ := s.Update(at, func(*proto.View) error { return ErrNoChange })
		cancel()
		if v.Epoch <= h.view.Epoch {
			if ended := ctx.Err(); ended != nil {
				err = fmt.Errorf("%w (asked until: %w)", err, ended)
			}
			return h, err
		}
	}
}

// HasHeir says whether another live member could take over if this one left
// now: nil, or ErrNoHeir. A node that is not live needs none, and to the last
// live one it does not apply.
func (s *Service) HasHeir(ctx context.Context) error {
	_, err := s.mayLeave(ctx, s.member())
	return err
}
