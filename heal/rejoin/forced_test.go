package rejoin_test

import (
	"errors"
	"strings"
	"testing"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// lostOne is node 0 of four in life 4 with everybody down but itself and, in
// its next life, node 1: 0, 1 and 2 were live, and 2 is never heard of again.
func lostOne(c rejoin.Config) (*rejoin.Machine, proto.View) {
	c.Self = proto.Member{Node: 0, Incarnation: 4}
	m := rejoin.New(c)
	v := proto.View{Epoch: 6, Configured: 0b1111, Live: 0b0111, Shadow: 0b1000, Shards: 1}
	v.Incarnation = [proto.NodesMax]proto.Incarnation{1, 2, 3, 3}
	v.LiveUntil = [proto.NodesMax]proto.Epoch{2, 3, 4, 5}
	m.SawView(&v)
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	return m, v
}

// TestForced: without an order the node waits for ever; with one it starts cold
// with those who are there, whoever has the lowest number, and what the lost
// one holds counts for nothing from then on (J6).
func TestForced(t *testing.T) {
	m, v := lostOne(rejoin.Config{})
	expect(t, "nobody says that node 2 is dead", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b1110})
	if err := m.Force(rejoin.Forced{Epoch: 6, Without: 0b0100, Dry: true}); err != nil {
		t.Fatal(err)
	}
	expect(t, "only asked", m, rejoin.Action{Do: rejoin.Connect, Nodes: 0b1110})
	if err := m.Force(rejoin.Forced{Epoch: 6, Without: 0b0100}); err != nil {
		t.Fatal(err)
	}
	expect(t, "ordered", m, rejoin.Action{Do: rejoin.ColdStart, Epoch: 6})
	w := m.ColdView()
	if w.Epoch != 7 || w.Live != 0 || w.Shadow != 0b0011 || !w.Cold || w.Incarnation[0] != 4 || w.Incarnation[1] != 8 || w.Incarnation[2] != 3 {
		t.Errorf("%+v", w)
	}
	if w.LiveUntil != [proto.NodesMax]proto.Epoch{6, 6, 0, 5} || w.ColdAfter != 6 {
		t.Errorf("live until %v, cold after %d", w.LiveUntil, w.ColdAfter)
	}
	// The lost one appears after the order, in the life of the view or in a
	// later one with its data: nothing is done without it.
	m.Connected(proto.Member{Node: 2, Incarnation: 3})
	if a := m.Next(); a.Do == rejoin.ColdStart {
		t.Errorf("node 2 runs: %+v", a)
	}
	m.Connected(proto.Member{Node: 2, Incarnation: 4})
	if c := m.ColdView(); c.Shadow != 0b0111 || c.LiveUntil[2] != 6 {
		t.Errorf("node 2 is back with its pool: %+v", c)
	}
	m.Disconnected(2)
	// Another view came first: the order is void.
	x := v.Without(0b1000)
	m.SawView(&x)
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	if a := m.Next(); a.Do != rejoin.Connect {
		t.Errorf("an order about another view: %+v", a)
	}

	// The lost one comes back after all: by full copy.
	back := rejoin.New(rejoin.Config{Self: proto.Member{Node: 2, Incarnation: 5}})
	w = w.ColdDone()
	back.SawView(&w)
	for _, n := range w.Live.Nodes(nil) {
		back.Connected(w.Member(n))
	}
	if a := back.Next(); a.Do != rejoin.Admit || !a.Full {
		t.Errorf("left out by force, and back: %+v", a)
	}
}

// TestForcedByAnother: the order may go to any of those that count.
func TestForcedByAnother(t *testing.T) {
	m := rejoin.New(rejoin.Config{Self: proto.Member{Node: 1, Incarnation: 8}})
	_, v := lostOne(rejoin.Config{})
	m.SawView(&v)
	m.Connected(proto.Member{Node: 0, Incarnation: 4})
	if err := m.Force(rejoin.Forced{Epoch: 6, Without: 0b0100}); err != nil {
		t.Fatal(err)
	}
	expect(t, "ordered, and not the lowest", m, rejoin.Action{Do: rejoin.ColdStart, Epoch: 6})
}

// TestForcedAgain: a cold start one of whose members was lost in it is made
// without that one, by the next lives of the others.
func TestForcedAgain(t *testing.T) {
	_, v := lostOne(rejoin.Config{})
	lives := [proto.NodesMax]proto.Incarnation{4, 8, 9}
	cold := v.ColdOf(0b0111, &lives, 0)
	m := rejoin.New(rejoin.Config{Self: proto.Member{Node: 0, Incarnation: 5}})
	m.SawView(&cold)
	m.Connected(proto.Member{Node: 1, Incarnation: 9})
	if a := m.Next(); a.Do != rejoin.Connect {
		t.Fatalf("%+v", a)
	}
	if err := m.Force(rejoin.Forced{Epoch: 7, Without: 0b0100}); err != nil {
		t.Fatal(err)
	}
	expect(t, "ordered", m, rejoin.Action{Do: rejoin.ColdStart, Epoch: 7})
	if w := m.ColdView(); w.Shadow != 0b0011 || w.LiveUntil[2] != 0 || w.LiveUntil[1] != 6 || w.ColdAfter != 6 || w.Incarnation[1] != 9 {
		t.Errorf("%+v", w)
	}
}

// TestForcedInACutOffColdStart: a member that is still in its life of the cold
// start before neither counts as away nor is left out.
func TestForcedInACutOffColdStart(t *testing.T) {
	_, v := lostOne(rejoin.Config{})
	lives := [proto.NodesMax]proto.Incarnation{4, 8, 9}
	cold := v.ColdOf(0b0111, &lives, 0)
	for _, without := range []proto.NodeSet{0b0100, 0b0110} {
		m := rejoin.New(rejoin.Config{Self: proto.Member{Node: 0, Incarnation: 5}})
		m.SawView(&cold)
		m.Connected(cold.Member(1))
		err := m.Force(rejoin.Forced{Epoch: 7, Without: without})
		if !errors.Is(err, rejoin.ErrForced) || !strings.Contains(err.Error(), "node 1 is still in its life 8") {
			t.Errorf("without %v: %v", without, err)
		}
		m.Disconnected(1)
		err = m.Force(rejoin.Forced{Epoch: 7, Without: without})
		if taken := without.Has(1); (err == nil) != taken {
			t.Errorf("it has gone, without %v: %v", without, err)
		}
	}
}

// TestForcedRefusals: everything for which an order must not be followed.
func TestForcedRefusals(t *testing.T) {
	for _, c := range []struct {
		what   string
		order  rejoin.Forced
		config rejoin.Config
		change func(*rejoin.Machine, *proto.View)
		says   string
	}{
		{"another view", rejoin.Forced{Epoch: 5, Without: 0b0100}, rejoin.Config{}, nil, "view 5"},
		{"nobody", rejoin.Forced{Epoch: 6}, rejoin.Config{}, nil, "names nobody"},
		{"a shadow", rejoin.Forced{Epoch: 6, Without: 0b1100}, rejoin.Config{}, nil, "nodes [3] are not among"},
		{"this node", rejoin.Forced{Epoch: 6, Without: 0b0101}, rejoin.Config{}, nil, "leaves out this node"},
		{"a pool that is blank", rejoin.Forced{Epoch: 6, Without: 0b0100}, rejoin.Config{Blank: true}, nil, "pool of this node"},
		{"somebody is missing", rejoin.Forced{Epoch: 6, Without: 0b0100}, rejoin.Config{},
			func(m *rejoin.Machine, _ *proto.View) { m.Disconnected(1) }, "node 1 does not answer"},
		{"another one is blank", rejoin.Forced{Epoch: 6, Without: 0b0100}, rejoin.Config{},
			func(m *rejoin.Machine, _ *proto.View) { m.Blank(1, true) }, "pool of node 1"},
		{"the lost one runs", rejoin.Forced{Epoch: 6, Without: 0b0100}, rejoin.Config{},
			func(m *rejoin.Machine, v *proto.View) { m.Connected(v.Member(2)) }, "node 2 runs in its life 3"},
		{"somebody else runs", rejoin.Forced{Epoch: 6, Without: 0b0100}, rejoin.Config{},
			func(m *rejoin.Machine, v *proto.View) { m.Connected(v.Member(1)) }, "node 1 runs in its life 2"},
		{"the lost one is back", rejoin.Forced{Epoch: 6, Without: 0b0100}, rejoin.Config{},
			func(m *rejoin.Machine, _ *proto.View) { m.Connected(proto.Member{Node: 2, Incarnation: 7}) }, "no need to go without it"},
		{"a member", rejoin.Forced{Epoch: 7, Without: 0b0100}, rejoin.Config{}, func(m *rejoin.Machine, v *proto.View) {
			w := v.Admitted(proto.Member{Node: 0, Incarnation: 4}, false)
			m.SawView(&w)
		}, "member of view 7"},
		{"in the cold start", rejoin.Forced{Epoch: 7, Without: 0b0100}, rejoin.Config{}, func(m *rejoin.Machine, v *proto.View) {
			lives := [proto.NodesMax]proto.Incarnation{4, 8, 9}
			w := v.ColdOf(0b0111, &lives, 0)
			m.SawView(&w)
		}, "restart this node"},
		{"not one of them", rejoin.Forced{Epoch: 7, Without: 0b0100}, rejoin.Config{}, func(m *rejoin.Machine, v *proto.View) {
			w := v.Without(0b0001)
			m.SawView(&w)
		}, "give the order to one of them"},
	} {
		m, v := lostOne(c.config)
		if c.change != nil {
			c.change(m, &v)
		}
		err := m.Force(c.order)
		if !errors.Is(err, rejoin.ErrForced) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want a refusal that says %q", c.what, err, c.says)
		}
		if a := m.Next(); a.Do == rejoin.ColdStart && m.ColdView().Shadow != v.Live {
			t.Errorf("%s: refused, and %+v", c.what, a)
		}
	}
	// A lost one that is there with a blank pool is what orders are for.
	m, _ := lostOne(rejoin.Config{})
	m.Connected(proto.Member{Node: 2, Incarnation: 7})
	m.Blank(2, true)
	if a := m.Next(); a.Do != rejoin.Wait || !strings.Contains(a.Why, "[2]") {
		t.Errorf("a blank pool: %+v", a)
	}
	if err := m.Force(rejoin.Forced{Epoch: 6, Without: 0b0100}); err != nil {
		t.Error(err)
	}
	expect(t, "without the blank one", m, rejoin.Action{Do: rejoin.ColdStart, Epoch: 6})
}

// TestOlderCopyCountsAsBlank: a life that is to be healed by full copy in any
// case, and hears that its pool is an older copy, makes no cold start with it.
func TestOlderCopyCountsAsBlank(t *testing.T) {
	m, _ := down(rejoin.Config{Full: "asked for"})
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	expect(t, "before", m, rejoin.Action{Do: rejoin.ColdStart, Epoch: 6})
	m.Stale()
	if a := m.Next(); a.Do != rejoin.Wait || !strings.Contains(a.Why, "older copy") {
		t.Errorf("%+v", a)
	}
}

// TestStaleWithAFullCopyInAColdStart: the same life learns it when the others
// have counted on it already. It leaves for another life, which says so, and
// the others begin anew.
func TestStaleWithAFullCopyInAColdStart(t *testing.T) {
	m, _ := down(rejoin.Config{Full: "asked for"})
	m.Connected(proto.Member{Node: 1, Incarnation: 8})
	v := m.ColdView()
	m.SawView(&v)
	expect(t, "before", m, rejoin.Action{Do: rejoin.AwaitInstalled, Epoch: 7})
	m.Stale()
	expect(t, "stale", m, rejoin.Action{Do: rejoin.StartOver, Why: rejoin.OlderPool})

	other := rejoin.New(rejoin.Config{Self: proto.Member{Node: 1, Incarnation: 8}})
	other.SawView(&v)
	other.Connected(proto.Member{Node: 0, Incarnation: 5})
	other.Blank(0, true)
	if a := other.Next(); a.Do != rejoin.Again {
		t.Fatalf("the other member: %+v", a)
	}
	next := rejoin.New(rejoin.Config{Self: proto.Member{Node: 1, Incarnation: 9}})
	next.SawView(&v)
	next.Connected(proto.Member{Node: 0, Incarnation: 5})
	next.Blank(0, true)
	if a := next.Next(); a.Do != rejoin.Wait || !strings.Contains(a.Why, "older copies") {
		t.Errorf("its next life: %+v", a)
	}
}

// TestLoses: what is said follows the model's gates.
func TestLoses(t *testing.T) {
	_, v := lostOne(rejoin.Config{})
	for model, says := range map[proto.Model]string{proto.Synchronous: "even if the machines lost power", proto.Strict: "not yet answered",
		proto.ReadEnforced: "nobody had read", proto.Eventual: "not yet flushed", proto.Scope: "scopes"} {
		text := rejoin.Loses(model, &v, 0b0100)
		if !strings.Contains(text, says) || !strings.Contains(text, "nodes [2]") || !strings.Contains(text, "odes [0 1]") {
			t.Errorf("%v: %s", model, text)
		}
	}
	if text := rejoin.Loses(proto.Synchronous, &v, 0b0111); !strings.HasPrefix(text, "everything") {
		t.Error(text)
	}
}

// TestLostMembers runs clusters in which everybody dies again and again and one
// of the live members does not come back until the others have been ordered to
// start cold without it.
func TestLostMembers(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 4
	}
	var all counts
	for seed := uint64(1); seed <= seeds; seed++ {
		w, err := run(seed, func(o *options) {
			o.cold, o.losing, o.power, o.faults, o.steps = true, true, seed%3 != 0, 24, 3000
		})
		if err != nil {
			t.Fatalf("%v\nrepeat: seed %d of TestLostMembers", err, seed)
		}
		for i, name := range w.counts.names {
			all.add(name, w.counts.n[i])
		}
	}
	for i, name := range all.names {
		if strings.Contains(name, "order") || strings.Contains(name, "lost") || strings.Contains(name, "cold") {
			t.Logf("%6d %s", all.n[i], name)
		}
	}
	want := []string{"cold starts forced", "lost members that come back"}
	if !testing.Short() {
		want = append(want, "live members' pools lost", "transfers: full copy", "cold starts after power losses of all")
	}
	for _, name := range want {
		if all.of(name) == 0 {
			t.Errorf("never happened: %s", name)
		}
	}
}
