package membership

import (
	"errors"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership/register"
)

// TestUndisturbedProposerNeedsOneTrip: the second change of a node that nobody
// got in the way of asks for no promise.
func TestUndisturbedProposerNeedsOneTrip(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	s := c.nodes[0].s
	const changes = 8
	led := func() uint64 { return s.Status().Counts.Led }
	change := func(v *proto.View) error { v.Issued[0]++; return nil }
	if _, err := s.Update(patience(t), change); err != nil {
		t.Fatal(err)
	}
	before := led()
	for range changes {
		if _, err := s.Update(patience(t), change); err != nil {
			t.Fatal(err)
		}
	}
	if n := led() - before; n != changes {
		t.Errorf("%d of %d changes in one trip", n, changes)
	}
	// Another node's change ends it, and costs no more than that.
	if _, err := c.nodes[1].s.Update(patience(t), change); err != nil {
		t.Fatal(err)
	}
	v, err := s.Update(patience(t), change)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "everybody has heard", func() bool { return c.nodes[1].s.Current() == v && c.nodes[2].s.Current() == v })
}

// TestLeadAnswersNoDecline: a node that has not heard of the newest value does
// not answer by the one that it led to.
func TestLeadAnswersNoDecline(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	s := c.nodes[0].s
	if _, err := s.Update(patience(t), func(v *proto.View) error { v.Issued[0]++; return nil }); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	old := s.lead
	s.mu.Unlock()
	if old.Ballot == (register.Ballot{}) {
		t.Fatal("a change left no lead")
	}
	newest, err := c.nodes[1].s.Update(patience(t), func(v *proto.View) error { v.Issued[1]++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	until(t, "told", func() bool { return s.Current() == newest })
	s.mu.Lock()
	kept := s.lead
	s.lead = old // as if we had not been told
	s.mu.Unlock()
	if kept.Value.Seq != 0 && kept.Value.View != newest {
		t.Errorf("a lead outlived a newer value: %+v", kept)
	}
	mine := errors.New("not today")
	if v, err := s.Update(patience(t), func(*proto.View) error { return mine }); !errors.Is(err, mine) || v != newest {
		t.Errorf("declined on %+v, the newest is %+v (%v)", v, newest, err)
	}
}

// TestLeadIsUsedOnce: whatever becomes of the proposal that a lead began, the
// next one does not begin with it: there is one value to a ballot.
func TestLeadIsUsedOnce(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	s := c.nodes[0].s
	change := func(v *proto.View) error { v.Issued[0]++; return nil }
	if _, err := s.Update(patience(t), change); err != nil {
		t.Fatal(err)
	}
	first, led := s.begin(s.checked(change))
	if !led {
		t.Fatal("a change left no lead")
	}
	if second, led := s.begin(s.checked(change)); led || second.Ballot() == first.Ballot() {
		t.Errorf("two proposals at %v, the second led %v", second.Ballot(), led)
	}
}

// TestFirstProposalIsNotOutbid: a node that comes back does not know what the
// others have promised meanwhile, and asks in vain if it goes by its own file:
// its way back then waits for a trip and a pause more.
func TestFirstProposalIsNotOutbid(t *testing.T) {
	c := up(t, 3, 10*time.Second)
	c.nodes[2].die()
	const meanwhile = 20
	for i := range meanwhile {
		if _, err := c.nodes[i%2].s.Update(patience(t), func(v *proto.View) error { v.Issued[i%2]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	x := c.listen(2) // and asks before it has heard anything
	x.ctl.Await(patience(t), 2, time.Minute)
	inc, err := x.s.NextIncarnation(patience(t))
	if err != nil {
		t.Fatal(err)
	}
	n := x.s.Status().Counts
	t.Logf("%d changes meanwhile; number %d after %d proposals", meanwhile, inc, n.Proposals)
	if n.Proposals != 1 || n.Conflicts != 0 {
		t.Errorf("%d proposals for one number, %d were outbid", n.Proposals, n.Conflicts)
	}
}
