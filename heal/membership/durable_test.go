package membership

import (
	"testing"
	"time"

	"healkv/dataplane/proto"
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
	if a := s.vote(&register.Message{Kind: register.Prepare, From: 0, To: 0, Ballot: b}); a.Kind != register.Refuse || a.Why != register.Silent {
		t.Errorf("voted alone after a restart: %+v", a)
	}
}
