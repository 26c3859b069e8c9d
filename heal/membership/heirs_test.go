package membership

import (
	"errors"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// A cold start goes by the live members that the view names. So a member does
// not leave beside one that has just died, of which the view does not know it
// yet: the dead one's pool may be lost.
func TestLeaveToTheDead(t *testing.T) {
	x := up(t, 3, 2*time.Second)
	n0, n1, n2 := x.nodes[0], x.nodes[1], x.nodes[2]
	before, err := n2.s.Leave(patience(t), n2.member)
	if err != nil || before.Live != 0b011 {
		t.Fatalf("beside two that run: %+v, %v", before, err)
	}
	n1.stop()
	if err := n0.s.HasHeir(patience(t)); !errors.Is(err, ErrNoHeir) {
		t.Errorf("asked whether it could leave: %v", err)
	}
	v, err := n0.s.Leave(patience(t), n0.member)
	if !errors.Is(err, ErrNoHeir) || v.Epoch != before.Epoch || v.ColdSet() != before.Live {
		t.Errorf("left the view to the dead: epoch %d, a cold start would go by %v, %v", v.Epoch, v.ColdSet().Nodes(nil), err)
	}
	if _, err := n2.s.Remove(patience(t), n0.member); !errors.Is(err, ErrNoHeir) {
		t.Errorf("removed by another node: %v", err)
	}
	if t.Failed() {
		return
	}
	// It is as it was: it serves on without the dead one, and is the last then.
	until(t, "the dead one is out of the view, and the lease of the other renewed", func() bool {
		return n0.s.Current().Live == 0b001 && n0.s.Lease().Valid()
	})
	if _, err := n0.s.Leave(patience(t), n0.member); !errors.Is(err, ErrLastLive) {
		t.Errorf("the last one leaves: %v", err)
	}
}

// What somebody said counts for the life and the time in which it was said.
func TestHeirs(t *testing.T) {
	view := proto.View{Epoch: 5, Configured: 0b1111, Live: 0b0111, Shadow: 0b1000, Shards: 1, Incarnation: [proto.NodesMax]proto.Incarnation{2, 2, 2, 2}}
	next := view.Next(0b0011, 0b1000)
	m := view.Member(0)
	for _, c := range []struct {
		what string
		v    proto.View
		life proto.Incarnation // of node 1
		who  proto.NodeID      // leaves
		at   int64
		want error
	}{
		{"it runs", view, 2, 0, 10, nil},
		{"nobody said so", view, 0, 0, 10, ErrNoHeir},
		{"another life of it runs", view, 3, 0, 10, ErrNoHeir},
		{"it runs in the next view too", next, 2, 0, 10, nil},
		{"the next view has others", next, 0, 0, 10, errAskAgain},
		{"too long ago", view, 2, 0, 101, errAskAgain},
		{"a shadow leaves", view, 0, 3, 101, nil},
	} {
		h := heirs{view: view}
		h.lives[1] = c.life
		m.Node = c.who
		if err := h.take(&c.v, m, c.at, 100); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// A shadow leaves whoever answers: nobody takes anything over from it.
func TestShadowLeavesBesideTheSilent(t *testing.T) {
	c := up(t, 4, 6*time.Second)
	n1, n2 := c.nodes[1], c.nodes[2]
	for _, x := range []*node{n2, c.nodes[3]} {
		if _, err := x.s.Leave(patience(t), x.member); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := n2.s.Admit(patience(t), n2.incarnate(), false); err != nil || v.Shadow != 0b100 {
		t.Fatalf("%+v, %v", v, err)
	}
	n1.stop()
	if v, err := n2.s.Leave(patience(t), n2.member); err != nil || v.Shadow != 0 || v.Live != 0b011 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := n2.s.HasHeir(patience(t)); err != nil {
		t.Errorf("a node that is not live: %v", err)
	}
}

// A node that was drained beats on. A shadow of its that was left in the view is
// removed all the same: its beats say that no life runs.
func TestShadowWithoutALife(t *testing.T) {
	c := up(t, 3, time.Second)
	n2 := c.nodes[2]
	if _, err := n2.s.Leave(patience(t), n2.member); err != nil {
		t.Fatal(err)
	}
	m := n2.incarnate()
	if v, err := n2.s.Admit(patience(t), m, false); err != nil || v.Shadow != 0b100 {
		t.Fatalf("%+v, %v", v, err)
	}
	n0 := c.nodes[0].s
	until(t, "everybody knows of the shadow", func() bool { return n0.Current().Shadow == 0b100 && c.nodes[1].s.Current().Shadow == 0b100 })
	n2.s.SetMember(proto.Member{Node: 2})
	until(t, "the shadow is out of the view", func() bool { return n0.Current().Shadow == 0 })
	if v, err := n2.s.Admit(patience(t), n2.incarnate(), false); err != nil || v.Shadow != 0b100 {
		t.Errorf("its next life: %+v, %v", v, err)
	}
}
