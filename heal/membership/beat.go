package membership

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

// beat is sent to every configured node several times a lease: it says that
// we live, asks for our lease, and compares what both know of the register.
type beat struct {
	Life       proto.Member  `json:"life"`
	Want       bool          `json:"want"` // a lease
	Fresh      bool          `json:"fresh,omitempty"`
	Seq        uint64        `json:"seq"`  // newest value known
	Turn       uint64        `json:"turn"` // of the acceptor's file
	Configured proto.NodeSet `json:"configured"`
	Model      proto.Model   `json:"model"`
	Shards     uint8         `json:"shards"`
	Seed       string        `json:"seed"`  // digest of the hash seed
	Lease      int64         `json:"lease"` // ns, as configured
	says
}

type beatAnswer struct {
	Life    proto.Member `json:"life"`
	Granted bool         `json:"granted"`
	Why     string       `json:"why,omitempty"`
	Seq     uint64       `json:"seq"`
	Turn    uint64       `json:"turn"`
	Seen    uint64       `json:"seen"` // highest turn heard of who sent the beat
	says
}

// beats runs the beat's loop. Nothing in it waits for a disk.
func (s *Service) beats() {
	period := time.Duration(s.lease) / renewalsALease
	var progressed int64 // last time Progress said yes
	for {
		now := s.env.Now()
		s.mu.Lock()
		want := s.liveLocked() && !s.leaving && s.config == nil
		s.newcomers = 0 // all are told
		s.mu.Unlock()
		wait := period
		// A beat out of turn (a new view, a new peer) must not ask Progress
		// again so soon that an honest answer is no.
		if want && s.cfg.Progress != nil && now-progressed > s.lease/8 {
			if want = s.cfg.Progress() || plant.Is(plant.H29Progress); want {
				progressed = now
			} else {
				wait = period / 4
				s.mu.Lock()
				s.counts.NoProgress++
				s.mu.Unlock()
			}
		}
		s.beat(want, s.others())
		for due := s.env.Now() + int64(wait); ; {
			left, some := due-s.env.Now(), s.ungreeted()
			if left <= 0 {
				break
			}
			if some {
				left = min(left, int64(greetAgain))
			}
			if i := s.env.Wait(time.Duration(left), s.beatNow, s.newcomer, s.ctx.Done()); i != 1 && !(i == -1 && some) {
				break
			}
			s.greet()
		}
		if s.ctx.Err() != nil {
			return
		}
	}
}

// greetAgain is how soon to look whether a newcomer can be greeted now: it spoke
// to us before our own connection to it was made.
const greetAgain = 5 * time.Millisecond

func (s *Service) ungreeted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newcomers != 0
}

// greet tells new lives that we live. It is no turn for the lease: that asks all,
// and whether there was progress.
func (s *Service) greet() {
	s.mu.Lock()
	new := s.newcomers
	s.newcomers = 0
	s.mu.Unlock()
	var reached proto.NodeSet
	for _, n := range new.Nodes(nil) {
		if s.ctl.Connected(n) {
			reached = reached.With(n)
		}
	}
	s.mu.Lock()
	s.newcomers |= new &^ reached
	s.mu.Unlock()
	s.beat(false, reached.Nodes(nil))
}

// beatSoon has us ask for our lease out of turn, if we have none.
func (s *Service) beatSoon() {
	s.mu.Lock()
	lacks := s.lacksLeaseLocked()
	s.mu.Unlock()
	if lacks {
		flow.Signal(s.beatNow)
	}
}

// lacksLeaseLocked: a life that is live asks for its lease at once; one that has
// it does so in its turn. With every view all of them used to ask all others.
func (s *Service) lacksLeaseLocked() bool {
	return s.liveLocked() && s.holder.Until() == 0
}

func (s *Service) beat(want bool, to []proto.NodeID) {
	sent := s.env.Now() // before anything is sent: the lease is counted from here
	s.mu.Lock()
	b := beat{
		Life: s.self, Want: want && s.liveLocked(), Fresh: s.fresh, Seq: s.known.Seq, Turn: s.turn,
		Configured: s.cfg.Configured, Model: s.cfg.Initial.Model, Shards: s.cfg.Initial.Shards, Seed: s.seed, Lease: s.lease, says: s.saysLocked(sent),
	}
	if b.Want && s.grantLocked(b.Life, sent) == grant.Granted {
		s.grantedLocked(s.cfg.Node, b.Life, sent)
	}
	s.mu.Unlock()
	for _, n := range to {
		if s.ctl.Connected(n) {
			s.env.Go(func() { s.beatOne(n, b, sent) })
		}
	}
}

// grantedLocked counts a granted request.
func (s *Service) grantedLocked(n proto.NodeID, life proto.Member, sent int64) {
	if s.self != life || s.leaving || !s.liveLocked() || s.stopped == ErrClosed {
		return
	}
	s.renewal.Granted(n, sent)
	s.counts.BeatsGranted++
	had := s.holder.Until() != 0
	if !s.holder.Extend(s.renewal.Until(s.hold), s.env.Now()) {
		return
	}
	if had {
		s.counts.LeasesLost++
		s.log.Warn("membership: the lease had run out and was won again")
	}
	if s.cfg.OnLease != nil {
		s.cfg.OnLease()
	}
}

func (s *Service) beatOne(n proto.NodeID, b beat, sent int64) {
	ctx, cancel := s.env.Timeout(s.ctx, time.Duration(s.lease))
	defer cancel()
	var a beatAnswer
	err := s.ctl.Call(ctx, n, kindBeat, b, &a)
	s.mu.Lock()
	s.counts.BeatsSent++
	if err != nil {
		s.mu.Unlock()
		s.log.Debug("membership: beat", "to", n, "err", err)
		return
	}
	if a.Life.Node == n {
		s.heardLocked(a.Life, s.env.Now())
		s.saidLocked(n, &a.says, s.env.Now())
		s.heardTurnLocked(n, a.Turn)
		s.heardSeenLocked(n, a.Seen)
	}
	if b.Want && a.Granted {
		if plant.Is(plant.LeaseReply) {
			sent = s.env.Now()
		}
		s.grantedLocked(n, b.Life, sent)
	} else if b.Want {
		s.counts.BeatsRefused++
		s.log.Debug("membership: lease refused", "by", n, "why", a.Why)
	}
	known := s.known.Seq
	s.mu.Unlock()
	switch {
	case a.Seq < known:
		s.tell(n)
	case a.Seq > known:
		s.fetch(ctx, n)
	}
}

// fetch asks n for the newest value it knows.
func (s *Service) fetch(ctx context.Context, n proto.NodeID) {
	if a := s.state(ctx, n); a != nil {
		s.learn(a.Chosen.Ballot, register.Value(a.Chosen.Value))
	}
}

func (s *Service) onBeat(_ context.Context, from proto.Member, body json.RawMessage) (any, error) {
	var b beat
	if err := s.decode(body, &b); err != nil {
		return nil, err
	}
	if b.Life.Node != from.Node {
		return nil, fmt.Errorf("membership: message refused: node %d sends a beat of %v", from.Node, b.Life)
	}
	theirs := s.cfg.Initial
	theirs.Configured, theirs.Model, theirs.Shards = b.Configured, b.Model, b.Shards
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Now() // with the lock: what is granted is counted in the order in which it is
	p := &s.peers[from.Node]
	err := sameConfig(&s.cfg.Initial, &theirs)
	p.seed = ""
	if err == nil {
		if err = s.sameSeed(from.Node, b.Seed); err != nil {
			p.seed = cmp.Or(b.Seed, "none")
		}
	}
	if err == nil && b.Lease != s.lease { // its holder would count on more than we guard, or on less
		err = fmt.Errorf("%w: this node has a lease of %v, node %d one of %v: all nodes need the same",
			ErrConfig, time.Duration(s.lease), from.Node, time.Duration(b.Lease))
	}
	if err != nil {
		if p.config == "" {
			s.log.Error("membership: a node has another configuration", "node", from.Node, "err", err)
		}
		p.config, p.fresh = err.Error(), false
		return nil, err
	}
	p.config, p.fresh = "", b.Fresh
	s.heardLocked(b.Life, now)
	p.rhythm.beat(now, s.lease)
	s.saidLocked(from.Node, &b.says, now)
	s.heardTurnLocked(from.Node, b.Turn)
	a := beatAnswer{Life: s.self, Seq: s.known.Seq, Turn: s.turn, Seen: s.turns[from.Node], says: s.saysLocked(now)}
	if b.Want {
		p.wantAt = now
		answer := s.grantLocked(b.Life, now)
		if a.Granted = answer == grant.Granted; !a.Granted {
			a.Why = answer.String()
		}
	}
	return a, nil
}
