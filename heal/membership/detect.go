package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership/register"
)

const (
	probeFor     = 2 * time.Second       // after a peer's process exited or hung up
	probeEvery   = time.Millisecond      // the kernel is still unmapping it, say
	proposeAfter = 10 * time.Millisecond // per rank, at least: the others give the first one this head start
	proposeAgain = 20 * time.Millisecond // in one epoch
)

// suspect is a member about to be removed.
type suspect struct {
	life  proto.Member // whom the rest is about
	since int64        // first noticed
	gone  bool         // its death is proven
	why   string
}

// onEvent hears from the control plane. An event only makes the detector
// look: what counts is what ProvenDead says.
func (s *Service) onEvent(e control.Event) {
	n := e.Member.Node
	s.mu.Lock()
	switch e.Kind {
	case control.PeerHello:
		// A later life speaks, so it holds the pool's lock, so the earlier ones
		// are over.
		s.granter.End(proto.Member{Node: n, Incarnation: e.Member.Incarnation - 1})
	default:
		s.peers[n].probe = s.env.Now() + int64(probeFor)
	}
	s.mu.Unlock()
	flow.Signal(s.look)
	if e.Kind == control.PeerHello {
		flow.Signal(s.beatNow)
	}
}

// detect looks at every member now and then, and often when something
// happened to one.
func (s *Service) detect() {
	period := time.Duration(s.lease) / 8
	var removing, settling atomic.Bool
	var attempt struct {
		epoch proto.Epoch
		at    int64
	}
	var half halfWay
	last := s.env.Now()
	grace := last + s.guard // we have not listened long enough to call anybody silent
	for {
		now := s.env.Now()
		if now-last > s.lease/2 { // this process stood still: that it heard nothing means nothing
			grace = now + s.guard
		}
		last = now
		gone, silent, again := s.examine(now, now >= grace)
		wait := period
		if again {
			wait = probeEvery
		}
		if v := s.Current(); gone|silent != 0 && s.mayPropose(&v, gone|silent) {
			head := min(time.Duration(s.rank(&v, gone|silent))*max(proposeAfter, 2*s.pace()), time.Duration(s.lease)/2)
			since := time.Duration(now - s.noticed(gone|silent))
			switch {
			case since < head:
				wait = min(wait, head-since)
			case attempt.epoch == v.Epoch && now-attempt.at < int64(proposeAgain):
				wait = min(wait, proposeAgain)
			case removing.CompareAndSwap(false, true):
				attempt.epoch, attempt.at = v.Epoch, now
				s.tasks.Go(func() {
					s.remove(&v, silent)
					removing.Store(false)
					flow.Signal(s.look)
				})
			}
		}
		if since := s.halfWay(&half, now); since > s.lease/4 && settling.CompareAndSwap(false, true) {
			s.tasks.Go(func() {
				s.settle()
				settling.Store(false)
			})
		}
		if !s.until(wait, s.look) {
			return
		}
	}
}

// halfWay is a value this acceptor accepted and never heard to be chosen.
type halfWay struct {
	at    register.Ballot
	since int64 // when it was noticed
}

// halfWay says for how long there has been one, less a head start for those
// who propose before us; 0: there is none.
func (s *Service) halfWay(h *halfWay, now int64) int64 {
	s.mu.Lock()
	at, seq, known, v := s.durable.At, s.durable.Value.Seq, s.known.Seq, s.known.View
	ready := s.voting && s.stopped == nil
	s.mu.Unlock()
	if seq <= known || !ready {
		h.at = register.Ballot{}
		return 0
	}
	if h.at != at {
		h.at, h.since = at, now
	}
	head := int64(s.rank(&v, 0)) * int64(max(proposeAfter, 2*s.pace()))
	return max(0, now-h.since-min(head, s.lease/2))
}

// settle carries through what somebody began: a proposer that gave up has left
// it with some. They grant nothing any more to a member it drops, and nobody
// suspects that member, since it speaks and asks for its lease as it should.
func (s *Service) settle() {
	ctx, cancel := s.env.Timeout(s.ctx, 2*time.Duration(s.guard))
	defer cancel()
	v, err := s.Update(ctx, func(*proto.View) error { return ErrNoChange })
	if err != nil {
		s.log.Warn("membership: a value accepted here is not settled", "err", err)
		return
	}
	s.log.Info("membership: settled what another proposer began", "epoch", v.Epoch)
	s.mu.Lock()
	s.counts.Settled++
	s.mu.Unlock()
}

// examine sorts out the members of the newest view that are gone for certain
// and those that only say nothing. again asks to look again very soon.
func (s *Service) examine(now int64, listen bool) (gone, silent proto.NodeSet, again bool) {
	v := s.Current()
	if v.Epoch == 0 {
		return 0, 0, false
	}
	for _, n := range v.Members().Nodes(nil) {
		m := v.Member(n)
		if n == s.cfg.Node {
			continue // a new life of ours replaces the old one by Admit
		}
		s.mu.Lock()
		probing := now < s.peers[n].probe
		over := s.granter.Ended(m)
		why := s.silenceLocked(&v, m, now)
		s.mu.Unlock()
		if !over && (probing || !s.ctl.Connected(n)) {
			over = s.dead(m)
			again = again || probing && !over
		}
		switch {
		case over:
			gone = gone.With(n)
			s.suspect(m, now, true, "its process is dead")
		case listen && why != "":
			silent = silent.With(n)
			s.suspect(m, now, false, why)
		default:
			s.clear(m)
		}
		if over {
			s.mu.Lock()
			s.peers[n].probe = 0
			s.mu.Unlock()
		}
	}
	return gone, silent, again
}

// silenceLocked says why m should be removed although nothing proves it dead.
func (s *Service) silenceLocked(v *proto.View, m proto.Member, now int64) string {
	p, patience := &s.peers[m.Node], s.guard+s.lease/2
	last, want := s.viewAt, s.viewAt
	if p.life == m {
		last, want = max(last, p.heardAt), max(want, p.wantAt)
	}
	if v.Live.Has(m.Node) {
		quiet := time.Duration(now - want).Round(time.Millisecond)
		switch {
		case now-want <= patience:
			return ""
		case now-last > s.guard:
			return fmt.Sprintf("nothing heard for %v", time.Duration(now-last).Round(time.Millisecond))
		default:
			return fmt.Sprintf("has not renewed its lease for %v, though it speaks: its shards do not move", quiet)
		}
	}
	if now-last > patience {
		return fmt.Sprintf("shadow, nothing heard for %v", time.Duration(now-last).Round(time.Millisecond))
	}
	return ""
}

func (s *Service) suspect(m proto.Member, now int64, gone bool, why string) {
	s.mu.Lock()
	x := &s.suspects[m.Node]
	isNew := x.life != m || x.since == 0
	if isNew {
		*x = suspect{life: m, since: now}
	}
	x.gone, x.why = gone, why
	s.mu.Unlock()
	if isNew {
		s.log.Warn("membership: suspects a member", "member", m, "why", why)
		if s.cfg.OnSuspect != nil {
			s.cfg.OnSuspect(m.Node, why)
		}
	}
}

func (s *Service) clear(m proto.Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspects[m.Node] = suspect{}
}

// noticed is when the first of them was.
func (s *Service) noticed(set proto.NodeSet) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := int64(0)
	for _, n := range set.Nodes(nil) {
		if t := s.suspects[n].since; first == 0 || t < first {
			first = t
		}
	}
	return first
}

// mayPropose reports whether there is anything to propose.
func (s *Service) mayPropose(v *proto.View, bad proto.NodeSet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := *v
	return s.voting && s.stopped == nil && s.dropLocked(&w, bad) == nil
}

// rank is our place in the order of those who propose: live members first,
// the lowest at once.
func (s *Service) rank(v *proto.View, bad proto.NodeSet) int {
	r := 0
	for _, set := range []proto.NodeSet{v.Live &^ bad, v.Configured &^ v.Live &^ bad} {
		for _, n := range set.Nodes(nil) {
			if n == s.cfg.Node {
				return r
			}
			r++
		}
	}
	return r
}

// dropLocked makes v the view without bad. It does nothing unless a live
// member is left that runs: when none does, the live members of the last view
// are what a cold start must wait for, and they stay written there even if
// they are dead.
func (s *Service) dropLocked(v *proto.View, bad proto.NodeSet) error {
	left := *v
	left.Live &^= bad
	if bad&v.Members() == 0 || s.runningLocked(&left) == 0 {
		return ErrNoChange
	}
	*v = v.Without(bad)
	return nil
}

// remove proposes the view without those who are gone, and without the silent
// ones if a majority's leases let them go.
func (s *Service) remove(v *proto.View, silent proto.NodeSet) {
	ctx, cancel := s.env.Timeout(s.ctx, time.Duration(s.lease))
	defer cancel()
	var freed [proto.NodesMax]proto.Incarnation
	for _, n := range silent.Nodes(nil) {
		if m := v.Member(n); s.poll(ctx, v, m) {
			freed[n] = m.Incarnation
		}
	}
	dropped := proto.NodeSet(0)
	next, err := s.Update(ctx, func(w *proto.View) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		dropped = 0
		for _, n := range w.Members().Nodes(nil) {
			if m := w.Member(n); m != s.self && (s.granter.Ended(m) || freed[n] != 0 && freed[n] == m.Incarnation) {
				dropped = dropped.With(n)
			}
		}
		return s.dropLocked(w, dropped)
	})
	if err != nil {
		s.log.Warn("membership: removal not decided", "epoch", v.Epoch, "err", err)
		return
	}
	if next.Epoch > v.Epoch {
		s.mu.Lock()
		s.counts.Removed += uint64(dropped.Count())
		s.mu.Unlock()
	}
}

type mayDrop struct {
	Member proto.Member `json:"member"`
}

type mayDropAnswer struct {
	Yes bool `json:"yes"`
}

// poll asks all acceptors whether m's lease still stands in the way. Those
// that say no more extend nothing for a while, so what a majority lets go
// cannot slip back before the proposal reaches it; and a link that is bad
// from here alone removes nobody.
func (s *Service) poll(ctx context.Context, v *proto.View, m proto.Member) bool {
	yes := 0
	if s.releases(v, m) {
		yes++
	}
	others := s.others()
	answers := newAnswers[bool](s.env)
	ctx, cancel := s.env.Timeout(ctx, time.Duration(s.lease)/4)
	defer cancel()
	for _, n := range others {
		s.env.Go(func() {
			var a mayDropAnswer
			answers.put(s.ctl.Call(ctx, n, kindMayDrop, mayDrop{m}, &a) == nil && a.Yes)
		})
	}
	for range others {
		if a, _ := answers.take(nil); a {
			yes++
		}
		if yes >= s.majority {
			return true
		}
	}
	return false
}

func (s *Service) onMayDrop(_ context.Context, from proto.Member, body json.RawMessage) (any, error) {
	var q mayDrop
	if err := s.decode(body, &q); err != nil {
		return nil, err
	}
	if q.Member.Node >= proto.NodesMax {
		return nil, fmt.Errorf("membership: message refused: node %d", q.Member.Node)
	}
	v := s.Current()
	return mayDropAnswer{q.Member != s.member() && s.releases(&v, q.Member)}, nil
}

// releases reports whether this acceptor lets m go, and then holds to it.
func (s *Service) releases(v *proto.View, m proto.Member) bool {
	now := s.env.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Shadow.Has(m.Node) { // no lease; but whom we still hear is not dropped
		return now-s.peers[m.Node].heardAt > s.guard
	}
	if !s.granter.MayDrop(m, now) {
		return false
	}
	s.granter.Complain(m, now+s.lease)
	return true
}
