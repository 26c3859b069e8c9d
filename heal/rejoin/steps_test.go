package rejoin_test

import (
	"strings"
	"testing"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// joining is node 3 of four in life 5 on its way back. Node 0 and 1 are live,
// node 2 is a shadow; node 3 was last live in view 4.
func joining(c rejoin.Config) (*rejoin.Machine, proto.View) {
	c.Self = proto.Member{Node: 3, Incarnation: 5}
	m := rejoin.New(c)
	v := proto.View{Epoch: 6, Configured: 0b1111, Live: 0b0011, Shadow: 0b0100, Shards: 1}
	v.Incarnation = [proto.NodesMax]proto.Incarnation{1, 2, 3, 4}
	v.LiveUntil[3] = 4
	m.SawView(&v)
	return m, v
}

func meet(m *rejoin.Machine, v *proto.View) {
	for _, n := range v.Members().Nodes(nil) {
		if n != 3 {
			m.Connected(v.Member(n))
		}
	}
}

// admitted is the view after the admission.
func admitted(m *rejoin.Machine, v proto.View) proto.View {
	meet(m, &v)
	w := v.Next(v.Live, v.Shadow.With(3))
	w.Incarnation[3] = 5
	m.SawView(&w)
	return w
}

func expect(t *testing.T, what string, m *rejoin.Machine, want rejoin.Action) {
	t.Helper()
	if a := m.Next(); a != want {
		t.Fatalf("%s: %+v, want %+v", what, a, want)
	}
}

// TestStepsOfAShadow: one step after the other, none left out (J1).
func TestStepsOfAShadow(t *testing.T) {
	m, v := joining(rejoin.Config{})
	expect(t, "nobody met", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b0111})
	m.Connected(v.Member(0))
	m.Connected(v.Member(1))
	m.Connected(proto.Member{Node: 2, Incarnation: 2}) // not the life of the view
	expect(t, "an older life met", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b0111})
	m.Connected(v.Member(2))
	expect(t, "all met", m, rejoin.Action{Do: rejoin.Admit})
	v = admitted(m, v)
	expect(t, "admitted", m, rejoin.Action{Do: rejoin.AwaitInstalled, Epoch: 7})
	m.AllInstalled(6)
	expect(t, "an older view installed", m, rejoin.Action{Do: rejoin.AwaitInstalled, Epoch: 7})
	m.AllInstalled(7)
	expect(t, "installed", m, rejoin.Action{Do: rejoin.Transfer, Buddy: v.Member(0)})
	m.Transferred(v.Member(0), true, false)
	expect(t, "transferred", m, rejoin.Action{Do: rejoin.RollLeftovers})
	m.Rolled()
	expect(t, "rolled", m, rejoin.Action{Do: rejoin.Flush})
	m.Flushed()
	expect(t, "flushed", m, rejoin.Action{Do: rejoin.Promote, Epoch: 7})
	// Another view came first: the transfer stays valid, but all must have
	// installed it, and what was flushed was flushed before it.
	w := v.Next(v.Live, v.Shadow.Without(2))
	m.SawView(&w)
	expect(t, "the view moved", m, rejoin.Action{Do: rejoin.AwaitInstalled, Epoch: 8})
	m.AllInstalled(8)
	expect(t, "installed again", m, rejoin.Action{Do: rejoin.Flush})
	m.Flushed()
	expect(t, "flushed again", m, rejoin.Action{Do: rejoin.Promote, Epoch: 8})
	x := w.Next(w.Live.With(3), 0)
	m.SawView(&x)
	expect(t, "promoted", m, rejoin.Action{Do: rejoin.Serve})
}

// TestBuddies: only live members, the next one after each failure, and a
// transfer counts only if its buddy was the same life to the end (J2).
func TestBuddies(t *testing.T) {
	m, v := joining(rejoin.Config{})
	v = admitted(m, v)
	m.AllInstalled(7)
	for _, n := range []proto.NodeID{0, 1, 0, 1} { // never 2, a shadow
		expect(t, "next buddy", m, rejoin.Action{Do: rejoin.Transfer, Buddy: v.Member(n)})
		m.Transferred(v.Member(n), false, false)
	}
	m.Transferred(v.Member(0), false, true)
	if a := m.Next(); a.Do != rejoin.StartOver {
		t.Errorf("no range anywhere: %+v", a)
	}
	m, v = joining(rejoin.Config{})
	v = admitted(m, v)
	w := v.Next(0, 0b1100)
	m.SawView(&w)
	m.AllInstalled(w.Epoch)
	if a := m.Next(); a.Do != rejoin.StartOver {
		t.Errorf("a shadow is left, nobody live: %+v", a)
	}
}

// TestWhyFull: by range only if the pool is what the view says it was (J3, H17,
// H19).
func TestWhyFull(t *testing.T) {
	for _, c := range []struct {
		what   string
		config rejoin.Config
		change func(*proto.View)
	}{
		{"asked for", rejoin.Config{Full: "asked for"}, func(*proto.View) {}},
		{"never live", rejoin.Config{}, func(v *proto.View) { v.LiveUntil[3] = 0 }},
	} {
		m, v := joining(c.config)
		c.change(&v)
		v.Epoch++
		m.SawView(&v)
		meet(m, &v)
		if a := m.Next(); a.Do != rejoin.Admit || !a.Full || a.Why == "" {
			t.Errorf("%s: %+v", c.what, a)
		}
		v = admitted(m, v)
		m.AllInstalled(v.Epoch)
		if a := m.Next(); a.Do != rejoin.Transfer || !a.Full {
			t.Errorf("%s: %+v", c.what, a)
		}
		if c.config.Full == "" {
			continue
		}
		m.Stale() // says nothing new
		if a := m.Next(); a.Do != rejoin.Transfer {
			t.Errorf("%s, and stale: %+v", c.what, a)
		}
	}
	m, v := joining(rejoin.Config{})
	meet(m, &v)
	m.Stale()
	if a := m.Next(); a.Do != rejoin.StartOver || !strings.Contains(a.Why, "older") {
		t.Errorf("a member saw more flushed: %+v", a)
	}
}

// TestMissedColdStart: who was not in the last cold start and holds what nobody
// confirmed is healed by full copy, unless the model shows nothing that is not
// durable everywhere (J6).
func TestMissedColdStart(t *testing.T) {
	for _, c := range []struct {
		what   string
		config rejoin.Config
		change func(*proto.View)
		again  bool
	}{
		{"away", rejoin.Config{Leftovers: true}, func(*proto.View) {}, true},
		{"away, strict", rejoin.Config{Leftovers: true}, func(v *proto.View) { v.Model = proto.Strict }, true},
		{"away, read-enforced", rejoin.Config{Leftovers: true}, func(v *proto.View) { v.Model = proto.ReadEnforced }, true},
		{"away, synchronous", rejoin.Config{Leftovers: true}, func(v *proto.View) { v.Model = proto.Synchronous }, false},
		{"nothing left", rejoin.Config{}, func(*proto.View) {}, false},
		{"took part", rejoin.Config{Leftovers: true}, func(v *proto.View) { v.LiveUntil[3] = v.ColdAfter }, false},
		{"live since", rejoin.Config{Leftovers: true}, func(v *proto.View) { v.Live = v.Live.With(3) }, false},
		{"no cold start", rejoin.Config{Leftovers: true}, func(v *proto.View) { v.ColdAfter = 0 }, false},
		{"a full copy anyway", rejoin.Config{Leftovers: true, Full: "asked for"}, func(*proto.View) {}, false},
	} {
		m, v := joining(c.config)
		v.Model, v.ColdAfter = proto.Eventual, v.LiveUntil[3]+1
		c.change(&v)
		v.Epoch++
		m.SawView(&v)
		meet(m, &v)
		a := m.Next()
		if got := a.Do == rejoin.StartOver && strings.Contains(a.Why, "cold start"); got != c.again {
			t.Errorf("%s: %+v", c.what, a)
		}
	}
	// The cold start itself says until when one had to be live, also when it is
	// made again.
	m, v := down(rejoin.Config{})
	meet(m, &v)
	w := m.ColdView()
	if w.ColdAfter != v.Epoch || w.LiveUntil[0] != v.Epoch || w.LiveUntil[1] != v.Epoch {
		t.Errorf("cold after epoch %d: %+v", v.Epoch, w)
	}
	m.SawView(&w)
	if again := m.ColdView(); again.ColdAfter != v.Epoch {
		t.Errorf("made again after epoch %d: after %d", v.Epoch, again.ColdAfter)
	}
}

// down is a group of three of which nobody runs but node 0; 0 and 1 were live.
func down(c rejoin.Config) (*rejoin.Machine, proto.View) {
	c.Self = proto.Member{Node: 0, Incarnation: 4}
	m := rejoin.New(c)
	v := proto.View{Epoch: 6, Configured: 0b0111, Live: 0b0011, Shadow: 0b0100, Shards: 1}
	v.Incarnation = [proto.NodesMax]proto.Incarnation{1, 2, 3}
	m.SawView(&v)
	return m, v
}

// TestColdStartWaitsForAll: all live members of the last view, in new lives,
// with pools that hold something, and nobody else (J4, H15).
func TestColdStartWaitsForAll(t *testing.T) {
	m, v := down(rejoin.Config{})
	m.Died(v.Member(1))
	m.Died(v.Member(2))
	expect(t, "alone", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b0110})
	m.Connected(proto.Member{Node: 2, Incarnation: 9})
	expect(t, "with a shadow", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b0110})
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	expect(t, "with all", m, rejoin.Action{Do: rejoin.ColdStart, Epoch: 6})
	m.Blank(1, true)
	if a := m.Next(); a.Do != rejoin.Wait || !strings.Contains(a.Why, "go on without") {
		t.Errorf("a blank pool: %+v", a)
	}
	m.Blank(1, false)
	c := m.ColdView()
	if c.Live != 0 || c.Shadow != 0b0011 || !c.Cold || c.Incarnation[1] != 8 || c.Incarnation[0] != 4 {
		t.Errorf("%+v", c)
	}
	m, v = down(rejoin.Config{Blank: true})
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	if a := m.Next(); a.Do != rejoin.Wait || !strings.Contains(a.Why, "go on without") {
		t.Errorf("its own pool is blank: %+v", a)
	}
	m.Blank(1, true)
	if a := m.Next(); a.Do != rejoin.Wait || !strings.Contains(a.Why, "nobody to go on without") {
		t.Errorf("all pools are blank: %+v", a)
	}
	// A shadow of the last view makes no cold start.
	m = rejoin.New(rejoin.Config{Self: proto.Member{Node: 2, Incarnation: 4}})
	m.SawView(&v)
	m.Connected(proto.Member{Node: 0, Incarnation: 9})
	m.Connected(proto.Member{Node: 1, Incarnation: 9})
	expect(t, "a shadow", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b0011})
}

// TestColdSteps: leftovers, flush, report, and the promotion of all together
// when the last one has reported.
func TestColdSteps(t *testing.T) {
	m, v := down(rejoin.Config{})
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	v = m.ColdView()
	m.SawView(&v)
	expect(t, "cold view", m, rejoin.Action{Do: rejoin.AwaitInstalled, Epoch: 7})
	m.AllInstalled(7)
	expect(t, "installed", m, rejoin.Action{Do: rejoin.RollLeftovers})
	m.Rolled()
	expect(t, "rolled", m, rejoin.Action{Do: rejoin.Flush})
	m.Flushed()
	expect(t, "flushed", m, rejoin.Action{Do: rejoin.ReportCold, Epoch: 7})
	m.ColdDone(0, 7)
	m.Reported()
	expect(t, "the other is not done", m, rejoin.Action{Do: rejoin.Wait})
	m.ColdDone(1, 7)
	expect(t, "all done", m, rejoin.Action{Do: rejoin.PromoteCold, Epoch: 7})
}
