package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership/register"
)

const (
	probeFor     = 2 * time.Second       // after a peer's process exited or hung up
	probeEvery   = time.Millisecond      // the kernel is still unmapping it, say
	proposeAfter = 20 * time.Millisecond // per rank, at least: the others give the first one this head start
	proposeAgain = 20 * time.Millisecond // in one epoch
	slackLeast   = time.Millisecond
	waitLeast    = 50 * time.Microsecond // beyond what a clock rounds off
	missedBeats  = 3                     // of a shadow
)

// suspected is a member about to be removed.
type suspected struct {
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
		s.newcomers = s.newcomers.With(n)
		flow.Signal(s.newcomer)
	default:
		// Where nothing can ever prove a death there is nothing to look for again
		// and again: a connection that ends, as every link between hosts may, then
		// has the detector look once.
		if s.cfg.ProvenDead != nil || plant.Is(plant.ProbeUnprovable) {
			s.peers[n].probe = s.env.Now() + int64(probeFor)
		}
	}
	s.mu.Unlock()
	flow.Signal(s.look)
}

// detect looks at every member now and then, and often when something
// happened to one.
func (s *Service) detect() {
	period := time.Duration(s.lease) / 8
	// Who is gone for certain does not wait for what others say of the silent.
	var dead, quiet removal
	var settling, leading atomic.Bool
	var half halfWay
	var accusal accusal
	var led int64 // when we last prepared a proposal
	last := s.env.Now()
	grace := last + s.lease // we have not listened long enough to call anybody silent
	for {
		now := s.env.Now()
		s.mu.Lock()
		s.counts.Looks++
		s.mu.Unlock()
		if now-last > s.lease/2 { // this process stood still: that it heard nothing means nothing
			grace = now + s.lease
		}
		last = now
		gone, silent, next := s.examine(now, grace)
		wait := min(period, time.Duration(next-now))
		if v := s.Current(); gone|silent != 0 && s.mayPropose(&v, gone|silent) {
			rank := s.rank(&v, gone|silent)
			wait = min(wait, s.removal(&dead, &v, rank, gone, 0, now), s.removal(&quiet, &v, rank, 0, silent, now))
		}
		if v := s.Current(); v.Epoch != 0 {
			wait = min(wait, s.complain(&accusal, &v, now))
		}
		s.classify(now)
		if soon := next - now; soon < s.lease/4 && now-led > s.lease/2 && s.first() && leading.CompareAndSwap(false, true) {
			led = now
			s.tasks.Go(func() {
				s.takeLead(s.ctx)
				leading.Store(false)
			})
		}
		if since := s.halfWay(&half, now); since > s.lease/4 && settling.CompareAndSwap(false, true) {
			s.tasks.Go(func() {
				s.settle()
				settling.Store(false)
			})
		}
		if !s.until(max(wait, waitLeast), s.look) {
			return
		}
	}
}

// removal is a task that removes members, one at a time.
type removal struct {
	runs  atomic.Bool
	epoch proto.Epoch   // of the view it began in
	again atomic.Int64  // not before that in the same view
	about proto.NodeSet // who was silent in the last task
	polls int           // in a row that freed nobody of them, of whom some are refused; the task's
}

// removal begins to remove those who are gone, or silent, if it is our turn. The
// result is when to look again, at most.
func (s *Service) removal(r *removal, v *proto.View, rank int, gone, silent proto.NodeSet, now int64) time.Duration {
	const later = time.Duration(math.MaxInt64)
	if gone|silent == 0 {
		return later
	}
	head := min(time.Duration(rank)*max(proposeAfter, 2*s.pace()), time.Duration(s.lease)/2)
	since := time.Duration(now - s.noticed(gone|silent))
	again := time.Duration(r.again.Load() - now)
	switch {
	case since < head:
		return head - since
	case r.epoch == v.Epoch && again > 0 && (silent&^r.about == 0 || !s.refused(silent&^r.about)):
		return again
	case r.runs.CompareAndSwap(false, true):
		if r.epoch != v.Epoch || silent != r.about {
			r.polls = 0
		}
		r.epoch, r.about = v.Epoch, silent
		s.tasks.Go(func() {
			pause := int64(proposeAgain)
			if !s.remove(v, silent) {
				pause = s.lease / 4 // in which a guard that forbids it comes to its end, see mayDrop
				if s.refused(silent) {
					pause = int64(s.refusedPause(r.polls)) // or another has been refused too
					r.polls++
				}
			}
			r.again.Store(s.env.Now() + pause)
			r.runs.Store(false)
			flow.Signal(s.look)
		})
	}
	return later
}

// first reports whether we are the one who proposes if nobody else is bad, and
// have no lead yet.
func (s *Service) first() bool {
	v := s.Current()
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.Epoch != 0 && s.voting && s.stopped == nil && s.lead.Ballot == register.Ballot{} && s.rank(&v, 0) == 0
}

// takeLead has a majority promise us a ballot before we know what for, so that
// the removal of a member that is late is one trip once it is due.
func (s *Service) takeLead(ctx context.Context) {
	ctx, cancel := s.env.Timeout(ctx, time.Duration(s.lease)/4)
	defer cancel()
	if _, err := s.Update(ctx, func(*proto.View) error { return ErrNoChange }); err != nil {
		s.log.Debug("membership: no lead", "err", err)
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
	ctx, cancel := s.env.Timeout(s.ctx, 2*time.Duration(s.lease))
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
// and those that only say nothing, of whom there are none before grace. next is
// when to look again at the latest.
func (s *Service) examine(now, grace int64) (gone, silent proto.NodeSet, next int64) {
	v := s.Current()
	next = math.MaxInt64
	if v.Epoch == 0 {
		return 0, 0, next
	}
	for _, n := range v.Members().Nodes(nil) {
		m := v.Member(n)
		if n == s.cfg.Node {
			continue // a new life of ours replaces the old one by Admit
		}
		s.mu.Lock()
		probing := now < s.peers[n].probe
		over := s.granter.Ended(m)
		at, why := max(s.dueLocked(&v, m), grace), ""
		if s.granter.Refused(m) {
			at, why = now, "its connections are refused"
		} else if at <= now {
			why = s.silenceLocked(&v, m, now)
		}
		s.mu.Unlock()
		if !over && (probing || !s.ctl.Connected(n)) {
			over = s.dead(m)
			if probing && !over {
				next = min(next, now+int64(probeEvery))
			}
		}
		switch {
		case over:
			gone = gone.With(n)
			s.suspect(m, now, true, "its process is dead")
		case at <= now:
			silent = silent.With(n)
			s.suspect(m, now, false, why)
		default:
			next = min(next, at)
			s.clear(m)
		}
		if over {
			s.mu.Lock()
			s.peers[n].probe = 0
			s.mu.Unlock()
		}
	}
	return gone, silent, next
}

// dueLocked is when m should be removed although nothing proves it dead, if it
// goes on as it does.
//
// A live member is due when it has not asked for its lease for as long as we
// guard it: others may have heard of it later, which is what the poll is for.
// Whether its requests were granted plays no part: who is refused because of a
// view that is not decided yet, or because our disk is slow, is not silent. A
// shadow has no lease that anybody would have to wait for: it is due when three
// beats were missed.
func (s *Service) dueLocked(v *proto.View, m proto.Member) int64 {
	p := &s.peers[m.Node]
	last, want, slack := p.placeAt, p.placeAt, s.lease/2
	if p.life == m {
		last, want, slack = max(last, p.heardAt), max(want, p.wantAt), p.rhythm.slack(s.lease)
	}
	if v.Live.Has(m.Node) {
		return want + s.lease + slack
	}
	return last + missedBeats*s.lease/renewalsALease + slack
}

// silenceLocked says why a member that is due is, for people.
func (s *Service) silenceLocked(v *proto.View, m proto.Member, now int64) string {
	p := &s.peers[m.Node]
	last, want := p.placeAt, p.placeAt
	if p.life == m {
		last, want = max(last, p.heardAt), max(want, p.wantAt)
	}
	quiet := time.Duration(now - last).Round(time.Millisecond)
	switch {
	case !v.Live.Has(m.Node):
		return fmt.Sprintf("shadow, nothing heard for %v", quiet)
	case now-last > s.lease/2:
		return fmt.Sprintf("nothing heard for %v", quiet)
	}
	return fmt.Sprintf("has not renewed its lease for %v, though it speaks: its shards do not move", time.Duration(now-want).Round(time.Millisecond))
}

// rhythm is how regularly the beats of a peer arrive here: an interval and its
// mean deviation, smoothed as in RFC 6298.
type rhythm struct {
	last       int64 // 0: none yet
	usual, dev int64 // ns
}

// beat takes one in. Those out of turn, because of a new view say, tell nothing.
func (r *rhythm) beat(now, lease int64) {
	period := lease / renewalsALease
	switch took := min(now-r.last, lease); {
	case r.last == 0:
		r.usual = period
	case took > period/2:
		r.dev += (max(took-r.usual, r.usual-took) - r.dev) / 4
		r.usual += (took - r.usual) / 8
	}
	r.last = now
}

// slack is how much later than it should a beat may come before its absence
// means something: next to nothing where beats come as regularly as a clock
// ticks, half a lease at most where they do not.
func (r *rhythm) slack(lease int64) int64 {
	return min(max(4*r.dev, int64(slackLeast)), lease/2)
}

func (s *Service) suspect(m proto.Member, now int64, gone bool, why string) {
	s.mu.Lock()
	x := &s.suspects[m.Node]
	isNew := x.life != m || x.since == 0
	if isNew {
		*x = suspected{life: m, since: now}
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
	s.suspects[m.Node] = suspected{}
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
// ones if a majority's leases let them go. False: a majority does not, for now,
// and nobody else is gone.
func (s *Service) remove(v *proto.View, silent proto.NodeSet) bool {
	ctx, cancel := s.env.Timeout(s.ctx, time.Duration(s.lease))
	defer cancel()
	var freed [proto.NodesMax]proto.Incarnation
	polls := flow.NewGroup(s.env)
	for _, n := range silent.Nodes(nil) {
		polls.Go(func() {
			if m := v.Member(n); s.poll(ctx, v, m) {
				freed[n] = m.Incarnation // each its own
			}
		})
	}
	polls.Wait()
	if silent != 0 && freed == [proto.NodesMax]proto.Incarnation{} {
		return false
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
		return true
	}
	if next.Epoch > v.Epoch {
		s.mu.Lock()
		s.counts.Removed += uint64(dropped.Count())
		s.mu.Unlock()
	}
	return true
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
	if s.releases(ctx, v, m) {
		yes++
	}
	ask := s.cfg.Configured.Without(s.cfg.Node)
	s.mu.Lock()
	if s.peers[m.Node].life == m {
		ask = ask.Without(m.Node) // it says no, or nothing
	}
	s.mu.Unlock()
	others := ask.Nodes(nil)
	answers := newAnswers[bool](s.env)
	ctx, cancel := s.env.Timeout(ctx, time.Duration(s.lease)/2)
	defer cancel()
	for _, n := range others {
		s.env.Go(func() {
			var a mayDropAnswer
			answers.put(s.ctl.Call(ctx, n, kindMayDrop, mayDrop{m}, &a) == nil && a.Yes)
		})
	}
	for left := len(others); yes < s.majority && yes+left >= s.majority; left-- {
		if a, _ := answers.take(nil); a {
			yes++
		}
	}
	return yes >= s.majority
}

func (s *Service) onMayDrop(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
	var q mayDrop
	if err := s.decode(body, &q); err != nil {
		return nil, err
	}
	v := s.Current()
	if q.Member.Node >= proto.NodesMax || q.Member.Incarnation > v.Issued[q.Member.Node] {
		return nil, fmt.Errorf("membership: message refused: %v, of which nothing is known here", q.Member)
	}
	return mayDropAnswer{q.Member != s.member() && s.releases(ctx, &v, q.Member)}, nil
}

// releases reports whether this acceptor lets m go, and then holds to it. A
// lease that has almost run out is waited for, so that the answer comes with
// its end: who asks again every quarter of a lease misses none.
func (s *Service) releases(ctx context.Context, v *proto.View, m proto.Member) bool {
	s.awaitRefusal(ctx, m)
	now := s.env.Now()
	if v.Shadow.Has(m.Node) { // no lease; but whom we still hear is not dropped
		s.mu.Lock()
		defer s.mu.Unlock()
		p := &s.peers[m.Node]
		if p.life != m && !plant.Is(plant.ShadowAnyLife) {
			return true // its node speaks for another life, or for none
		}
		return s.granter.Refused(m) || now-p.heardAt > s.lease/2
	}
	left := s.lapses(m) - now
	if plant.Is(plant.LapseUnawaited) && left > 0 {
		return false
	}
	return left <= s.lease/4 && s.awaitLapse(ctx, m)
}

// lapses is when this acceptor's guard of m's lease ends if it grants nothing
// more; in the past if none stands in the way of a view without m.
func (s *Service) lapses(m proto.Member) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.granter.Until(m)
}

// awaitLapse waits until this acceptor's guard of m's lease has ended, and from
// then on extends nothing for another lease, in which the view without m can be
// decided. False: m was granted more meanwhile, or ctx ended.
func (s *Service) awaitLapse(ctx context.Context, m proto.Member) bool {
	if d := time.Duration(s.lapses(m) - s.env.Now()); d > 0 && s.pause(ctx, d+waitLeast) != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Now()
	if !s.granter.MayDrop(m, now) {
		return false
	}
	s.granter.Complain(m, now+s.lease)
	return true
}
