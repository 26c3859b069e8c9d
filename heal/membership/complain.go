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
	"healkv/heal/membership/blame"
)

// Complaints about members whose streams stand still (hazard H29). Every member
// watches how far the others have come with its own streams; what stands still
// goes round with the beats; the graph of it names one member to leave (package
// blame); and a majority of acceptors that come to the same name stop extending
// that member's lease until it has run out and the view without it is decided.

// PatienceLeast is the least that a stream stands still, usually, before its
// member is complained about: a disk may take so long over a flush.
const PatienceLeast = time.Second

// looksAPatience is how often a node looks at its streams.
const looksAPatience = 8

// watch looks at how far the members have come with this node's streams. It is
// a task of its own: a worker that hangs keeps it waiting.
func (s *Service) watch() {
	period := time.Duration(s.stall) / looksAPatience
	if s.slow > 0 {
		period = min(period, time.Duration(s.paces.Every()))
	}
	said := 0
	for {
		pairs := s.cfg.Watch()
		now := s.env.Now()
		s.mu.Lock()
		s.watcher.See(now, pairs)
		s.paces.See(now, pairs, s.known.View.Live)
		s.catchUpLocked(now)
		edges := s.complaintsLocked(now)
		s.uneasy = s.watcher.Uneasy(now) || s.paces.Uneasy(now)
		probe := s.uneasy || now < s.uneasyUntil || s.heldBack&s.known.View.Shadow != 0
		s.mu.Unlock()
		if len(edges) != said {
			// What begins, or is over, is told at once.
			said = len(edges)
			flow.Signal(s.beatNow)
			flow.Signal(s.look)
		}
		if probe && s.cfg.Probe != nil {
			s.cfg.Probe()
			s.mu.Lock()
			s.counts.Probes++
			s.mu.Unlock()
		}
		if !s.until(period, nil) {
			return
		}
	}
}

// NoLink tells that this node cannot connect to a member of the view since
// then, on the clock of Env; 0: it can.
func (s *Service) NoLink(to proto.Member, since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watcher.NoLink(s.env.Now(), to, since)
}

// says is what a node tells the others about the data path.
type says struct {
	Epoch  proto.Epoch   `json:"epoch,omitempty"` // of the view that it is about
	Edges  []blame.Edge  `json:"edges,omitempty"`
	Hears  proto.NodeSet `json:"hears,omitempty"`  // who was heard lately
	Uneasy bool          `json:"uneasy,omitempty"` // something stands still: probe
	Held   proto.NodeSet `json:"held,omitempty"`   // demoted as slow, and not seen to keep up since
}

func (s *Service) saysLocked(now int64) says {
	w := says{Epoch: s.known.View.Epoch, Uneasy: s.uneasy, Edges: s.complaintsLocked(now), Held: s.heldBack}
	for _, n := range s.others() {
		if at := s.peers[n].heardAt; at != 0 && now-at < 2*s.lease/renewalsALease {
			w.Hears = w.Hears.With(n)
		}
	}
	return w
}

// saidLocked takes in what a node told. Complaints in another view than ours
// are not about the present one.
func (s *Service) saidLocked(n proto.NodeID, w *says, now int64) {
	edges := w.Edges
	if w.Epoch != s.known.View.Epoch {
		edges = nil
	}
	s.counts.Damaged += uint64(s.table.Put(n, edges, w.Hears, now))
	s.peers[n].held = w.Held
	if w.Uneasy {
		s.uneasyUntil = now + s.stall/4
	}
	if len(edges) > 0 {
		flow.Signal(s.look)
	}
}

// verdictLocked is whom the complaints known here name.
func (s *Service) verdictLocked(now int64) blame.Verdict {
	w := s.saysLocked(now)
	s.table.Put(s.cfg.Node, w.Edges, w.Hears, now)
	edges, hears := s.table.Sees(s.edges[:0], &s.known.View, s.viewAt, now, s.stall)
	s.edges = edges
	// Whoever hears no majority may be the one that is cut off, and its word
	// would remove nobody: it names nobody.
	if len(edges) == 0 || w.Hears.With(s.cfg.Node).Count() < s.majority {
		return blame.Verdict{}
	}
	running := s.runningLocked(&s.known.View)
	if x := blame.Judge(&s.known.View, edges, &hears, running); x.Victim.Incarnation != 0 {
		return x
	}
	return s.slowLocked(edges, running, now)
}

// agrees reports whether the complaints known here name m too. If so, its lease
// is not extended here for another lease: who asks keeps asking, and when the
// complaints are taken back, so is this.
func (s *Service) agrees(m proto.Member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Now()
	if s.verdictLocked(now).Victim != m && !plant.Is(plant.AgreeUnasked) {
		return false
	}
	s.granter.Complain(m, now+s.lease)
	return true
}

// accusal is the removal of a member over complaints, one at a time.
type accusal struct {
	runs  atomic.Bool
	again atomic.Int64 // not before that
}

// complain looks whom the complaints name, and when they have named it for a
// while, and it is our turn, begins to remove it. The result is when to look
// again, at most.
func (s *Service) complain(a *accusal, v *proto.View, now int64) time.Duration {
	const later = time.Duration(math.MaxInt64)
	s.mu.Lock()
	x, able := s.verdictLocked(now), s.voting && s.stopped == nil
	acc := &s.accused
	if acc.life != x.Victim {
		*acc = suspected{life: x.Victim, since: now}
	}
	acc.why = x.Why
	since := time.Duration(now - acc.since)
	s.mu.Unlock()
	if x.Victim.Incarnation == 0 || !v.Has(x.Victim) {
		return later
	}
	// Both ends of a link complain soon after each other: what is seen first may
	// name the wrong one.
	steady := time.Duration(s.lease) / 4
	if since < steady {
		return steady - since
	}
	s.mu.Lock()
	tell := !acc.gone && acc.life == x.Victim
	acc.gone = acc.gone || tell
	s.mu.Unlock()
	if tell {
		s.log.Warn("membership: complaints name a member", "member", x.Victim, "why", x.Why)
		if s.cfg.OnSuspect != nil {
			s.cfg.OnSuspect(x.Victim.Node, x.Why)
		}
	}
	if x.Victim == s.member() || !able {
		return later // the others decide
	}
	head := min(time.Duration(s.rank(v, proto.NodeSet(0).With(x.Victim.Node)))*max(proposeAfter, 2*s.pace()), time.Duration(s.lease)/2)
	again := time.Duration(a.again.Load() - now)
	switch {
	case since < steady+head:
		return steady + head - since
	case again > 0:
		return again
	case a.runs.CompareAndSwap(false, true):
		s.tasks.Go(func() {
			s.accuse(x.Victim)
			a.again.Store(s.env.Now() + s.lease/renewalsALease)
			a.runs.Store(false)
			flow.Signal(s.look)
		})
	}
	return later
}

// accuse asks the acceptors to let m go, and proposes the view without it when
// a majority does.
func (s *Service) accuse(m proto.Member) {
	ctx, cancel := s.env.Timeout(s.ctx, time.Duration(s.lease))
	defer cancel()
	s.mu.Lock()
	s.counts.Accused++
	q := blamed{Member: m, says: s.saysLocked(s.env.Now())}
	s.mu.Unlock()
	if !s.majorityAgrees(ctx, &q) {
		return
	}
	s.mu.Lock()
	s.accuses = m
	s.mu.Unlock()
	done := false
	_, err := s.Update(ctx, func(v *proto.View) error {
		done = false
		if !v.Has(m) {
			return ErrNoChange
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		done = true
		return s.dropLocked(v, proto.NodeSet(0).With(m.Node))
	})
	s.mu.Lock()
	s.accuses = proto.Member{}
	if done && err == nil {
		s.counts.Blamed++
	}
	s.mu.Unlock()
	if err != nil {
		s.log.Warn("membership: removal over complaints not decided", "member", m, "err", err)
	}
}

// blamed asks an acceptor whether the complaints it knows name the member too,
// and to let its lease run out then.
type blamed struct {
	Member proto.Member `json:"member"`
	says
}

// majorityAgrees: this one, and as many others as it takes, come to the same
// name, and guard no lease of it any more.
func (s *Service) majorityAgrees(ctx context.Context, q *blamed) bool {
	ctx, cancel := s.env.Timeout(ctx, time.Duration(s.lease)/2)
	defer cancel()
	others := s.others()
	answers := newAnswers[bool](s.env)
	s.env.Go(func() { answers.put(s.lets(ctx, q.Member)) })
	for _, n := range others {
		s.env.Go(func() {
			var a mayDropAnswer
			answers.put(s.ctl.Call(ctx, n, kindBlamed, q, &a) == nil && a.Yes)
		})
	}
	yes := 0
	for range len(others) + 1 {
		if a, _ := answers.take(nil); a {
			yes++
		}
		if yes >= s.majority {
			return true
		}
	}
	return false
}

func (s *Service) onBlamed(ctx context.Context, from proto.Member, body json.RawMessage) (any, error) {
	var q blamed
	if err := s.decode(body, &q); err != nil {
		return nil, err
	}
	if q.Member.Node >= proto.NodesMax {
		return nil, fmt.Errorf("membership: message refused: node %d", q.Member.Node)
	}
	s.mu.Lock()
	s.saidLocked(from.Node, &q.says, s.env.Now())
	s.mu.Unlock()
	return mayDropAnswer{s.lets(ctx, q.Member)}, nil
}

// lets reports whether this acceptor lets m go over complaints. It is asked
// about itself too: where few acceptors are left, the one at a bad link is
// needed for the majority.
func (s *Service) lets(ctx context.Context, m proto.Member) bool {
	if !s.agrees(m) {
		return false
	}
	v := s.Current()
	if v.Shadow.Has(m.Node) {
		return true // no lease
	}
	return s.lapses(m)-s.env.Now() <= s.lease/renewalsALease && s.awaitLapse(ctx, m) && s.agrees(m)
}
