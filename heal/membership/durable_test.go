package membership

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/control"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

// A lease is granted from the view that is durable here: that is what a
// restarted acceptor guards.
func TestLeaseNeedsTheDurableView(t *testing.T) {
	c := up(t, 3, 300*time.Millisecond)
	s := c.nodes[0].s
	v := s.Current()
	m := v.Member(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.Now()
	accepted, durable := s.acceptor.State, s.durable
	defer func() { s.acceptor.State, s.durable = accepted, durable }()
	s.acceptor.Value.View, s.durable.Value.View = v, v // this node may not have heard yet
	if a := s.grantLocked(m, now); a != grant.Granted {
		t.Errorf("live and durable: %v", a)
	}
	s.durable.Value.View.Live = s.durable.Value.View.Live.Without(1)
	if a := s.grantLocked(m, now); a != grant.NotLive {
		t.Errorf("live in a view that is not durable: %v", a)
	}
	s.durable.Value.View = v
	if a := s.grantLocked(proto.Member{Node: 1, Incarnation: m.Incarnation + 1}, now); a != grant.NotLive {
		t.Errorf("another life: %v", a)
	}
}

// A restarted acceptor does not vote before it has heard from enough others to
// make a majority with itself: its file may be an older copy.
func TestRestartedAcceptorIsSilentAlone(t *testing.T) {
	c := up(t, 3, 300*time.Millisecond)
	for _, x := range c.nodes {
		x.die()
	}
	s := c.start(0).s
	if s.catchUpOnce() {
		t.Error("caught up with nobody")
	}
	b := register.Ballot{Round: 1 << 20, Node: 0, Life: 1}
	if a := s.vote(patience(t), &register.Message{Kind: register.Prepare, From: 0, To: 0, Ballot: b}); a.Kind != register.Refuse || a.Why != register.Silent {
		t.Errorf("voted alone after a restart: %+v", a)
	}
}

// A disk that hangs costs a vote, not the lease: requests to vote end when who
// asked has given up, and the beats of the same connection are answered.
func TestHungDiskLeavesRoomForBeats(t *testing.T) {
	c := up(t, 3, 2*time.Second)
	asks, hangs := c.nodes[0], c.nodes[2].s
	hangs.takeDisk()
	defer hangs.leaveDisk()
	const votes = 150 // far above what a connection takes at once
	ends := make(chan error, votes)
	for i := range uint64(votes) {
		b := register.Ballot{Round: 1000*RoundsAway + i, Node: 0, Life: 1}
		q := voteOf(register.Message{Kind: register.Prepare, From: 0, To: 2, Ballot: b})
		q.Seed = asks.s.seed
		go func() {
			ctx, cancel := context.WithTimeout(patience(t), 100*time.Millisecond)
			defer cancel()
			var a voteJSON
			err := asks.ctl.Call(ctx, 2, kindVote, q, &a)
			if err == nil && (a.Kind != register.Refuse || a.Why != register.Silent) {
				err = fmt.Errorf("voted with a disk that hangs: %+v", a)
			} else if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, control.ErrBusy) {
				err = nil
			}
			ends <- err
		}()
	}
	for range votes {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
	until(t, "the places are free again", func() bool { return hangs.voters.Load() == 0 })
	for range 100 {
		s := asks.s
		b := beat{Life: asks.member, Want: true, Configured: c.nodeset(), Shards: 2, Seed: s.seed, Lease: s.lease}
		var a beatAnswer
		if err := asks.ctl.Call(patience(t), 2, kindBeat, b, &a); err != nil || !a.Granted {
			t.Fatalf("a beat beside a disk that hangs: %+v, %v", a, err)
		}
	}
	// More at once than may wait: the rest is answered on the spot.
	ctx, cancel := context.WithCancel(context.Background())
	silent := make(chan register.Message, votersMost)
	m := register.Message{Kind: register.Prepare, From: 1, To: 2, Ballot: register.Ballot{Round: 1, Node: 1, Life: 1}}
	for range votersMost {
		go func() { silent <- hangs.vote(ctx, &m) }()
	}
	until(t, "as many wait as may", func() bool { return hangs.voters.Load() == votersMost })
	if a := hangs.vote(ctx, &m); a.Why != register.Silent {
		t.Errorf("one more: %+v", a)
	}
	cancel()
	for range votersMost {
		if a := <-silent; a.Why != register.Silent {
			t.Errorf("after its asker gave up: %+v", a)
		}
	}
}
