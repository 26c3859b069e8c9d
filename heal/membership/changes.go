package membership

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

var (
	ErrMoved     = errors.New("membership: the view moved on")
	ErrNotMember = errors.New("membership: not a member in that life")
	ErrStale     = errors.New("membership: a later life of the node is known")
	ErrLastLive  = errors.New("membership: it is the last live member")
	ErrCold      = errors.New("membership: no live member runs: the cluster must start cold")
)

// NextIncarnation has the register hand out a new life of this node. A number
// is never handed out twice; some may be skipped.
func (s *Service) NextIncarnation(ctx context.Context) (proto.Incarnation, error) {
	n := s.cfg.Node
	// At the first start of a cluster all nodes ask at once; one that comes back
	// alone should not wait for that.
	s.mu.Lock()
	first := s.durable.Value.View.Epoch == 0 // on our disk: nobody has told us anything yet
	s.mu.Unlock()
	if d := s.spread(); d > 0 && first {
		if err := s.pause(ctx, s.random(d*time.Duration(s.cfg.Configured.Count()))); err != nil {
			return 0, fmt.Errorf("membership: no incarnation for node %d: %w", n, err)
		}
	}
	v, err := s.Update(ctx, func(v *proto.View) error {
		v.Issued[n]++
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("membership: no incarnation for node %d: %w", n, err)
	}
	return v.Issued[n], nil
}

// Admit makes m a shadow; an earlier life of its node leaves with the same
// view. full means that m will be given a full copy: what it has counts for
// nothing (liveUntil 0). Errors: ErrStale, ErrCold, ErrLastLive.
//
// It needs a live member that runs and stays: without one the view is left as
// it is, because a cold start goes by it. We may not have heard of one yet, so
// ErrCold takes as long as it takes to call somebody silent.
func (s *Service) Admit(ctx context.Context, m proto.Member, full bool) (proto.View, error) {
	begin := s.env.Now()
	for {
		v, err := s.Update(ctx, func(v *proto.View) error {
			if err := admit(v, m, full); err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.runningLocked(v) == 0 {
				return fmt.Errorf("%w: live members of epoch %d: %v", ErrCold, v.Epoch-1, v.Live.Nodes(nil))
			}
			return nil
		})
		if !errors.Is(err, ErrCold) || v.Live == 0 || s.env.Now()-begin > s.lease+s.lease/2 {
			return v, err
		}
		if s.pause(ctx, time.Duration(s.lease)/50) != nil {
			return v, err
		}
	}
}

func admit(v *proto.View, m proto.Member, full bool) error {
	n := m.Node
	switch {
	case m.Incarnation == 0 || m.Incarnation > v.Issued[n]:
		return fmt.Errorf("%w: %v was never handed out, the last one was %d", ErrNotMember, m, v.Issued[n])
	case v.Has(m) && (!full || v.Live.Has(n) || v.LiveUntil[n] == 0):
		return ErrNoChange
	case m.Incarnation < v.Incarnation[n]:
		return fmt.Errorf("%w: %v, and the view had %d", ErrStale, m, v.Incarnation[n])
	case v.Live == 0:
		return ErrCold
	case v.Live.Without(n) == 0:
		return fmt.Errorf("%w: %v can only come back by a cold start", ErrLastLive, v.Member(n))
	}
	*v = v.Admitted(m, full)
	return nil
}

// Promote makes the shadow m live if the view is still that of epoch expect;
// else ErrMoved, and the caller tries again when it is done in the new one.
func (s *Service) Promote(ctx context.Context, m proto.Member, expect proto.Epoch) (proto.View, error) {
	return s.Update(ctx, func(v *proto.View) error {
		switch {
		case v.Has(m) && v.Live.Has(m.Node):
			return ErrNoChange
		case !v.Has(m):
			return fmt.Errorf("%w: %v", ErrNotMember, m)
		case v.Epoch != expect && !plant.Is(plant.PromoteMoved):
			return fmt.Errorf("%w: from %d to %d", ErrMoved, expect, v.Epoch)
		case v.Live == 0:
			return fmt.Errorf("%w: its members are promoted together", ErrCold)
		}
		*v = v.Promoted(m.Node)
		return nil
	})
}

// Leave takes m, which is us, out of the view: the lease is given up at once
// and nobody has to wait for it. The last live member stays in the view
// (ErrLastLive), because a cold start goes by it, and so does one beside whom no
// other live member answers (ErrNoHeir). m's life is over afterwards, unless
// that was so from the beginning: then nothing has changed.
func (s *Service) Leave(ctx context.Context, m proto.Member) (proto.View, error) {
	s.mu.Lock()
	if m != s.self {
		s.mu.Unlock()
		return s.Current(), fmt.Errorf("%w: leave of %v by %v", ErrNotMember, m, s.self)
	}
	s.mu.Unlock()
	h, err := s.mayLeave(ctx, m)
	if err != nil {
		return h.view, err
	}
	s.mu.Lock()
	s.leaving = true
	s.holder.Revoke()
	s.granter.End(m)
	s.mu.Unlock()
	s.release(ctx)
	return s.removeTo(ctx, m, h)
}

// release tells the others that this life is over, and waits until a majority
// knows, but not long for those that do not answer: they let the lease run out.
func (s *Service) release(ctx context.Context) {
	rctx, cancel := s.env.Timeout(ctx, time.Duration(s.lease)/4)
	defer cancel()
	others := s.others()
	told := newAnswers[bool](s.env)
	for _, n := range others {
		s.env.Go(func() { told.put(s.ctl.Call(rctx, n, kindRelease, nil, nil) == nil) })
	}
	know := 1 // we do
	for range others {
		if know >= s.majority && !plant.Is(plant.LeaveAll) {
			return
		}
		if ok, _ := told.take(nil); ok {
			know++
		}
	}
}

// Remove takes m out of the view. While its lease may run it takes until ctx
// ends or the lease has run out, whichever comes first. A live member is not
// removed unless another one answers (ErrNoHeir).
func (s *Service) Remove(ctx context.Context, m proto.Member) (proto.View, error) {
	return s.removeTo(ctx, m, s.heirs(ctx, m.Node))
}

func (s *Service) removeTo(ctx context.Context, m proto.Member, h *heirs) (proto.View, error) {
	for {
		v, err := s.Update(ctx, func(v *proto.View) error {
			switch {
			case !v.Has(m):
				return ErrNoChange
			case v.Live.Without(m.Node) == 0 && v.Live != 0:
				return fmt.Errorf("%w: %v", ErrLastLive, m)
			case v.Live == 0:
				return ErrCold
			}
			if err := h.take(v, m, s.env.Now(), s.lease); err != nil {
				return err
			}
			*v = v.Without(proto.NodeSet(0).With(m.Node))
			return nil
		})
		if !errors.Is(err, errAskAgain) || ctx.Err() != nil {
			return v, err
		}
		h = s.heirs(ctx, m.Node)
	}
}

// SameMembers takes the next epoch with the members of expect: a version is
// exhausted, or tombstones are to be dropped. ErrMoved if another view came.
func (s *Service) SameMembers(ctx context.Context, expect proto.Epoch) (proto.View, error) {
	return s.Update(ctx, func(v *proto.View) error {
		if v.Epoch != expect {
			return fmt.Errorf("%w: from %d to %d", ErrMoved, expect, v.Epoch)
		}
		cold := v.Cold
		*v = v.Next(v.Live, v.Shadow)
		v.Cold = cold
		return nil
	})
}
