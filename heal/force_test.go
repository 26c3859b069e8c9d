package heal

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// order gives a node an order and waits for its answer.
func (r *rig) order(n *rigNode, f rejoin.Forced) (err error) {
	r.t.Helper()
	answered := false
	n.p.Go(func() {
		err = n.life.Force(f)
		answered = true
	})
	n.p.Run()
	r.until("an answer to the order", func() bool { return answered })
	return err
}

// Everybody dies and one does not come back, of which nobody can tell that it
// is dead: the others wait until they are told to go on without it. When it
// comes back after all it gets a full copy.
func TestForcedColdStart(t *testing.T) {
	seeds(t, 2, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 4, seed)
		r.model = proto.Models()[seed%5]
		r.boot()
		r.write(r.nodes[0], 60, 30, 100)
		lost := r.nodes[seed%4]
		for _, n := range r.nodes {
			n.kill()
		}
		r.alive = r.alive.With(lost.id)
		var there []*rigNode
		for _, n := range r.nodes {
			if n != lost {
				n.start()
				there = append(there, n)
			}
		}
		r.sim.Run(300 * time.Millisecond)
		if r.view.Epoch != 1 || r.serving() != 0 {
			t.Fatalf("view %d, %d serve, and nobody was told to", r.view.Epoch, r.serving())
		}
		x := there[r.rng.IntN(3)]
		order := rejoin.Forced{Epoch: 1, Without: proto.NodeSet(0).With(lost.id)}
		wrong := order
		wrong.Epoch = 7
		if err := r.order(x, wrong); !errors.Is(err, rejoin.ErrForced) || !strings.Contains(err.Error(), "view 7") {
			t.Errorf("about another view: %v", err)
		}
		x.life.cfg.Running = func() proto.NodeSet { return proto.NodeSet(0).With(there[0].id) }
		if err := r.order(x, order); !errors.Is(err, rejoin.ErrForced) || !strings.Contains(err.Error(), "not down") {
			t.Errorf("somebody is heard: %v", err)
		}
		x.life.cfg.Running = func() proto.NodeSet { return 0 }
		dry := order
		dry.Dry = true
		if err := r.order(x, dry); err != nil {
			t.Errorf("dry: %v", err)
		}
		r.sim.Run(300 * time.Millisecond)
		if r.view.Epoch != 1 {
			t.Fatalf("view %d, and nothing was ordered", r.view.Epoch)
		}
		if err := r.order(x, order); err != nil {
			t.Fatal(err)
		}
		r.until("three serve", func() bool { return r.serving() == 3 })
		if r.view.LiveUntil[lost.id] != 0 || r.view.Live.Has(lost.id) {
			t.Errorf("%+v", r.view)
		}
		if err := r.order(x, order); !errors.Is(err, rejoin.ErrForced) {
			t.Errorf("ordered again: %v", err)
		}
		r.write(x, 20, 30, 100)
		r.alive = 0
		lost.start()
		r.back()
		if n := r.same(30); n < 20 {
			t.Errorf("%d keys", n)
		}
		r.has("cold_start_forced 1", "cold_start 1", "enters, full true", "promoted 5 full")
	})
}

// nobody is a control plane that reaches nobody.
type nobody struct{ Control }

func (nobody) Call(context.Context, proto.NodeID, string, any, any) error { return errRigCall }

// The lowest of those who are back dies before it proposes: the others know it
// and wait for its proposal, and say no hello. An order goes by who answers
// when it is given, not by who did.
func TestForcedByWhoIsThereNow(t *testing.T) {
	seeds(t, 3, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		r.write(r.nodes[0], 40, 20, 100)
		r.same(20)
		for _, n := range r.nodes {
			n.kill()
		}
		lowest, x, y := r.nodes[0], r.nodes[1], r.nodes[2]
		r.alive = 0b111
		r.on = func(n *rigNode, event string) {
			if n == lowest && event == "cold_start" {
				n.kill()
			}
		}
		for _, n := range r.nodes {
			n.start()
		}
		r.until("the lowest is gone", func() bool { return lowest.p == nil })
		r.on = nil
		r.sim.Run(200 * time.Millisecond)
		y.kill()
		r.sim.Run(200 * time.Millisecond)
		if r.view.Epoch != 1 {
			t.Fatalf("view %d: the lowest came to propose", r.view.Epoch)
		}
		order := rejoin.Forced{Epoch: 1, Without: 1 << 0}
		if err := r.order(x, order); !errors.Is(err, rejoin.ErrForced) || !strings.Contains(err.Error(), "node 2 does not answer") {
			t.Fatalf("node 2 has gone: %v", err)
		}
		y.start()
		r.sim.Run(200 * time.Millisecond)
		if err := r.order(x, order); err != nil {
			t.Fatalf("node 0 has gone: %v", err)
		}
		r.until("two serve", func() bool { return r.serving() == 2 })
		r.alive = 0
		lowest.start()
		r.back()
		r.same(20)
		r.has("cold_start_forced", "node 0 enters, full true")
	})
}

// TestOrderNobodyLookedAt: an order that was answered with "give it again" is
// not carried out later.
func TestOrderNobodyLookedAt(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	l := &Life{env: r.nodes[0].p, told: make(chan struct{}, 1), self: proto.Member{Node: 0, Incarnation: 9}}
	l.cfg.Event = func(name string, e proto.Epoch, detail string) { t.Errorf("%s %d %s", name, e, detail) }
	l.cfg.Control = nobody{}
	v := r.view
	for _, n := range []proto.NodeID{0, 1, 2} {
		v.Incarnation[n] = 1
	}
	l.newest = v
	m := rejoin.New(rejoin.Config{Self: l.self})
	m.SawView(&v)
	m.Connected(proto.Member{Node: 1, Incarnation: 2})
	order := rejoin.Forced{Epoch: v.Epoch, Without: 0b100}
	var err error
	r.nodes[0].p.Go(func() { err = l.Force(order) })
	r.nodes[0].p.Run()
	r.until("an answer", func() bool { return err != nil })
	if !errors.Is(err, errBusy) || len(l.facts) != 1 {
		t.Fatalf("%v, %d facts", err, len(l.facts))
	}
	l.facts[0](m)
	if a := m.Next(); a.Do != rejoin.Connect {
		t.Errorf("carried out all the same: %+v", a)
	}
	if err := m.Force(order); err != nil { // it would have been taken
		t.Error(err)
	}
}

// TestTimeoutsFollowALongLease: a lease says how fast the machines are.
func TestTimeoutsFollowALongLease(t *testing.T) {
	for _, c := range []struct{ lease, hello, await, update time.Duration }{
		{0, time.Second, 2 * time.Second, 3 * time.Second},
		{time.Second, time.Second, 2 * time.Second, 3 * time.Second},
		{3 * time.Second, 1500 * time.Millisecond, 3 * time.Second, 3 * time.Second},
		{20 * time.Second, 10 * time.Second, 20 * time.Second, 20 * time.Second},
	} {
		l := &Life{cfg: Config{Lease: c.lease}}
		if l.helloTimeout() != c.hello || l.awaitTimeout() != c.await || l.updateTimeout() != c.update {
			t.Errorf("lease %v: %v, %v, %v", c.lease, l.helloTimeout(), l.awaitTimeout(), l.updateTimeout())
		}
	}
}

// TestShadowThatKeepsDying: each life of a node dies when it has been admitted;
// the next ones wait longer and longer before they ask, and the first that does
// not die is live.
func TestShadowThatKeepsDying(t *testing.T) {
	r := newRig(t, 3, 1)
	r.lease = 200 * time.Millisecond
	r.boot()
	r.write(r.nodes[0], 20, 20, 100)
	x, deaths, admitted := r.nodes[2], 0, 0
	x.kill()
	r.remove(x)
	var waited []time.Duration
	var begun int64
	r.on = func(n *rigNode, event string) {
		if n == x && event == "admitted" && n.p != nil && deaths < 6 {
			admitted++
			waited = append(waited, time.Duration(r.sim.Now()-begun))
			deaths++
			x.kill()
			r.remove(x)
			x.start()
			begun = r.sim.Now()
		}
	}
	x.start()
	begun = r.sim.Now()
	r.back()
	if deaths != 6 || r.view.Failed[2] != 0 {
		t.Fatalf("%d deaths, %d in the view", deaths, r.view.Failed[2])
	}
	t.Logf("from begin to admission: %v", waited)
	// 10, 20, 40 ms after the second, a quarter more or less.
	for i, least := range []time.Duration{0, 0, 7500 * time.Microsecond, 15 * time.Millisecond, 30 * time.Millisecond, 60 * time.Millisecond} {
		if waited[i] < least {
			t.Errorf("life %d asked after %v, want at least %v", i, waited[i], least)
		}
	}
	r.has("backs_off", "promoted")
	r.same(20)
}

// TestProgress: a recovery tells what it is at, how far it is and how long the
// rest takes.
func TestProgress(t *testing.T) {
	for _, full := range []bool{false, true} {
		r := newRig(t, 3, 3)
		r.budget = 64 // bytes a millisecond: slow enough to look at
		r.boot()
		x := r.nodes[2]
		r.write(r.nodes[0], 40, 40, 300)
		x.kill()
		r.remove(x)
		r.write(r.nodes[1], 100, 40, 300)
		if full {
			x.format()
			x.begun = true
		}
		x.start()
		var seen []string
		looks, exact := 0, 0
		var last Recovery
		for r.serving() < 3 {
			r.sim.Run(50 * time.Microsecond)
			if x.life == nil {
				continue
			}
			p := x.life.Recovery()
			if p.Phase != "" && (len(seen) == 0 || seen[len(seen)-1] != p.Phase) {
				seen = append(seen, p.Phase)
			}
			if p.Phase == PhaseTransfer && p.Done > 0 {
				looks++
				if p.Done < last.Done && last.Phase == PhaseTransfer {
					t.Fatalf("%d bytes moved, then %d", last.Done, p.Done)
				}
				if p.Rate <= 0 || p.Expected > p.Done && p.Left <= 0 {
					t.Fatalf("%d of %d at %.0f a second, %v left", p.Done, p.Expected, p.Rate, p.Left)
				}
				if p.Expected == p.Done {
					exact++
				}
			}
			last = p
		}
		end := x.life.Recovery()
		text := strings.Join(seen, " ")
		want := "hello admission installing transfer leftovers flush promotion done"
		for _, phase := range strings.Fields(want) {
			if !strings.Contains(text, phase) && phase != PhaseLeftovers && phase != PhaseFlush && phase != PhaseAdmission {
				t.Errorf("full %v: phases %s: no %s", full, text, phase)
			}
		}
		if looks < 20 || end.Phase != PhaseDone || end.Done == 0 || end.Done != end.Expected || end.Done != end.Missed || end.Left != 0 {
			t.Errorf("full %v: %d looks, at the end %+v", full, looks, end)
		}
		t.Logf("full %v: %s: %d looks, %d bytes at %.0f a second", full, text, looks, end.Done, end.Rate)
	}
}

// TestNoLinkIsTold: an install that gets no connection to a member says so, and
// says when it is over.
func TestNoLinkIsTold(t *testing.T) {
	r := newRig(t, 3, 5)
	r.boot()
	x, y := r.nodes[1], r.nodes[2]
	var told []int64
	x.life.cfg.NoLink = func(m proto.Member, since int64) {
		if m.Node != y.id {
			t.Errorf("no link to %v", m)
		}
		told = append(told, since)
	}
	// A view with a life that node 1 cannot reach: there is none.
	r.change(func(v *proto.View) error {
		*v = v.Admitted(proto.Member{Node: y.id, Incarnation: v.Incarnation[y.id] + 7}, false)
		return nil
	})
	r.until("told", func() bool { return len(told) > 0 })
	if told[0] == 0 {
		t.Fatalf("%v", told)
	}
	r.sim.Run(20 * time.Millisecond)
	if len(told) != 1 {
		t.Errorf("told %d times", len(told))
	}
	r.remove(y)
	r.until("over", func() bool { return len(told) > 1 })
	if told[1] != 0 {
		t.Errorf("%v", told)
	}
}

// Everybody is down, and one comes back with a copy of its pool from an earlier
// life: nothing begins until the others are told to go on without it. What it
// holds was overwritten long ago.
func TestOlderPoolInAColdStart(t *testing.T) {
	seeds(t, 2, 10, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[1]
		r.write(r.nodes[0], 40, 20, 100)
		x.snapshot()
		x.kill()
		r.remove(x)
		x.start()
		r.back()
		r.write(x, 40, 20, 100)
		r.same(20)
		e := r.view.Epoch
		for _, n := range r.nodes {
			n.kill()
		}
		x.restore()
		for _, n := range r.nodes {
			n.start()
		}
		r.sim.Run(300 * time.Millisecond)
		if r.view.Epoch != e || r.serving() != 0 {
			t.Fatalf("view %d after %d, %d serve", r.view.Epoch, e, r.serving())
		}
		if err := r.order(r.nodes[2], rejoin.Forced{Epoch: e, Without: 1 << 1}); err != nil {
			t.Fatal(err)
		}
		r.back()
		r.write(x, 10, 20, 100)
		r.same(20)
		r.has("older copies", "cold_start_forced", "node 1 enters, full true")
	})
}

// A member of a cold start hears in it that its pool is an older copy. It must
// not take itself out of that view: nobody could start cold from what is left.
// The others hear of its next life, wait, and are told to go on without it.
func TestStaleInAColdStart(t *testing.T) {
	seeds(t, 3, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		r.write(r.nodes[0], 40, 20, 100)
		r.same(20)
		for _, n := range r.nodes {
			n.kill()
		}
		x := r.nodes[r.rng.IntN(3)]
		for _, n := range r.nodes {
			n.start()
		}
		r.until("a cold start", func() bool { return r.view.Cold && x.life != nil && r.view.Has(x.life.Self()) })
		x.life.tell(func(m *rejoin.Machine) { m.Stale() })
		x.p.Run()
		r.sim.Run(500 * time.Millisecond)
		if r.view.ColdSet() != 0b111 {
			t.Fatalf("seed %d: view %d, live %v, shadow %v, cold %v: who is to start cold?", seed, r.view.Epoch, r.view.Live, r.view.Shadow, r.view.Cold)
		}
		y := r.nodes[(x.id+1)%3]
		if err := r.order(y, rejoin.Forced{Epoch: r.view.Epoch, Without: proto.NodeSet(0).With(x.id)}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		r.back()
		r.write(x, 10, 20, 100)
		r.same(20)
	})
}

// H19: a copy of the pool from earlier in the same life, and all who saw it
// flush more have been restarted: their pools remember. Nobody starts cold with
// it, whoever says hello to whom first.
func TestOlderPoolAfterAllRestarted(t *testing.T) {
	seeds(t, 3, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 3, seed)
		r.boot()
		x := r.nodes[1]
		r.write(r.nodes[0], 40, 20, 100)
		r.same(20)
		x.snapshot()
		r.write(r.nodes[0], 40, 20, 100)
		r.same(20)
		// Somebody leaves, so that the others note how far all are.
		r.nodes[0].kill()
		r.remove(r.nodes[0])
		r.write(r.nodes[2], 5, 20, 100)
		e := r.view.Epoch
		for _, n := range r.nodes[1:] {
			n.kill()
		}
		x.restore()
		for _, i := range r.rng.Perm(3) {
			r.nodes[i].start()
			r.sim.Run(time.Duration(r.rng.IntN(int(40 * time.Millisecond))))
		}
		r.sim.Run(400 * time.Millisecond)
		if r.view.Epoch != e || r.serving() != 0 {
			t.Fatalf("view %d after %d, %d serve", r.view.Epoch, e, r.serving())
		}
		if err := r.order(r.nodes[2], rejoin.Forced{Epoch: e, Without: 1 << 1}); err != nil {
			t.Fatal(err)
		}
		r.back()
		r.same(20)
		r.has("node 1 fenced: "+rejoin.OlderPool, "cold_start_forced", "node 1 enters, full true")
	})
}

// The same, and of those who come back only one remembers it, who is not the
// one that proposes, and speaks to the one with the older copy last of all:
// what it remembers is told to everybody.
func TestOlderPoolKnownToAThird(t *testing.T) {
	seeds(t, 3, 20, func(t *testing.T, seed uint64) {
		r := newRig(t, 4, seed)
		r.boot()
		proposes, x, knows, leaves := r.nodes[0], r.nodes[1], r.nodes[2], r.nodes[3]
		r.write(proposes, 40, 20, 100)
		r.same(20)
		x.snapshot()
		had := x.pool.Store().Tail()
		r.write(proposes, 40, 20, 100)
		r.same(20)
		leaves.kill() // so that the others note how far all are
		r.remove(leaves)
		r.write(knows, 5, 20, 100)
		r.until("it is on the third one's pool", func() bool {
			s := knows.pool.Super().Seen[x.id]
			return s.Incarnation == uint32(x.self.Incarnation) && s.Pos > had
		})
		e := r.view.Epoch
		for _, n := range r.nodes[:3] {
			n.kill()
		}
		x.restore()
		r.forget, r.deaf = r.forget.With(proposes.id), [2]proto.NodeID{x.id, knows.id}
		for _, i := range r.rng.Perm(3) {
			r.nodes[i].start()
			r.sim.Run(time.Duration(r.rng.IntN(int(40 * time.Millisecond))))
		}
		r.sim.Run(400 * time.Millisecond)
		if r.serving() != 0 || r.view.Epoch != e {
			t.Fatalf("view %d after %d, %d serve", r.view.Epoch, e, r.serving())
		}
		r.deaf = [2]proto.NodeID{}
		if err := r.order(proposes, rejoin.Forced{Epoch: e, Without: 1 << 1}); err != nil {
			t.Fatal(err)
		}
		leaves.start()
		r.back()
		r.same(20)
		r.has("older copies", "cold_start_forced", "node 1 enters, full true")
	})
}
