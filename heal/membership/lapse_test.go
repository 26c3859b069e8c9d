package membership

import (
	"slices"
	"testing"
	"time"

	"healkv/dataplane/flow"
	"healkv/heal/membership/register"
)

// after is how long a decision may take once nothing stands in its way, in the
// simulation: some messages of at most a millisecond each way, the least slack,
// and the head start of the first.
const after = 15 * time.Millisecond

// calmWorld is a group without faults whose clocks go alike; nothing proves a
// death.
func calmWorld(t *testing.T, seed uint64, least int) *world {
	t.Helper()
	w := newWorld(seed)
	for ; len(w.nodes) < least || w.wild; w = newWorld(seed) {
		seed += 1000
	}
	w.oneHost, w.ppm, w.jump, w.calm = false, 0, 0, true
	w.tick()
	for _, m := range w.nodes {
		m.start()
	}
	w.run(12 * w.lease)
	if !w.settled() || len(w.failures) > 0 {
		t.Fatalf("seed %d: %v\n%s", w.seed, w.failures, w.status())
	}
	return w
}

func (w *world) killAll() {
	for _, m := range w.nodes {
		if m.up() {
			m.kill()
		}
	}
}

// runUntil is the true time until something is so.
func (w *world) runUntil(t *testing.T, what string, so func() bool) time.Duration {
	t.Helper()
	begin := w.sim.Now()
	for !so() {
		w.run(100 * time.Microsecond)
		if w.sim.Now()-begin > int64(10*w.lease) || len(w.failures) > 0 {
			t.Fatalf("seed %d: not %s: %v\n%s\n%s", w.seed, what, w.failures, w.status(), w.tail(15))
		}
	}
	return time.Duration(w.sim.Now() - begin)
}

// TestSilentMemberIsOutWithItsLease: a member that falls silent is out when a
// majority of acceptors guards its lease no longer, not earlier, and not later
// than the proposal takes.
func TestSilentMemberIsOutWithItsLease(t *testing.T) {
	runs := uint64(12)
	if testing.Short() {
		runs = 3
	}
	most := time.Duration(0)
	for seed := range runs {
		w := calmWorld(t, seed, 3)
		w.run(w.upTo(w.lease))
		x := w.some()
		x.p.Pause()
		w.run(2 * time.Millisecond) // what it had sent arrives
		var ends []int64
		for _, m := range w.nodes {
			ends = append(ends, w.sim.Now()+m.s.granter.Until(x.life)-m.p.Now())
		}
		slices.Sort(ends)
		w.runUntil(t, "out", func() bool { return !w.check.newest.View.Live.Has(x.id) })
		late := time.Duration(w.sim.Now() - ends[register.Majority(w.set())-1])
		if late < 0 || late > after {
			t.Errorf("seed %d: node %d of %d was out %v after its lease of %v, want 0 to %v\n%s", w.seed, x.id, len(w.nodes), late, w.lease, after, w.tail(15))
		}
		most = max(most, late)
		w.killAll()
	}
	t.Logf("%d silent members, out at most %v after their lease", runs, most)
}

// TestSilentShadowIsDroppedAtOnce: a shadow has no lease to wait for; three
// missed beats are enough.
func TestSilentShadowIsDroppedAtOnce(t *testing.T) {
	dropped := 0
	for seed := uint64(1); dropped < 3; seed++ {
		if seed == 400 {
			t.Fatal("no shadow stays one for long enough")
		}
		w := calmWorld(t, seed, 3)
		x := w.nodes[2]
		x.end(false)
		w.runUntil(t, "out", func() bool { return !w.check.newest.View.Live.Has(2) })
		x.start()
		w.runUntil(t, "a shadow that all know", func() bool {
			return !slices.ContainsFunc(w.nodes, func(m *machine) bool { return m.s == nil || !m.s.known.View.Members().Has(2) })
		})
		x.p.Pause()
		w.run(2 * time.Millisecond) // what it had sent arrives
		begin := w.sim.Now()
		w.runUntil(t, "dropped", func() bool { return !w.check.newest.View.Shadow.Has(2) })
		if !w.check.newest.View.Live.Has(2) { // else its promotion was under way
			took := time.Duration(w.sim.Now() - begin)
			if most := w.lease*missedBeats/renewalsALease + after; took > most || took < w.lease/2 {
				t.Errorf("seed %d: a silent shadow was dropped after %v, lease %v, want at most %v\n%s", w.seed, took, w.lease, most, w.tail(15))
			}
			dropped++
		}
		w.killAll()
	}
}

// TestLeaveBesideASilentNode: who leaves does not wait for the answer of a node
// that says nothing.
func TestLeaveBesideASilentNode(t *testing.T) {
	for seed := range uint64(3) {
		w := calmWorld(t, seed, 4)
		x, silent := w.nodes[1], w.nodes[2]
		silent.p.Pause()
		x.leave = true
		flow.Signal(x.told)
		w.sim.At(0, x.p.Run)
		took := w.runUntil(t, "out", func() bool { return !w.check.newest.View.Live.Has(1) })
		if took > after {
			t.Errorf("seed %d: left after %v beside a silent node, lease %v\n%s", w.seed, took, w.lease, w.tail(15))
		}
		w.killAll()
	}
}

// TestPollWaitsForALeaseThatEnds: an acceptor whose guard has almost ended
// answers when it has, so that who asks loses no time; one that guards for long
// says so at once.
func TestPollWaitsForALeaseThatEnds(t *testing.T) {
	w := calmWorld(t, 3, 3)
	a, x := w.nodes[0], w.nodes[2]
	m := x.life
	x.p.Pause()
	w.run(2 * time.Millisecond)
	for _, left := range []time.Duration{w.lease / 2, w.lease / 8} {
		w.run(time.Duration(a.s.granter.Until(m)-a.p.Now()) - left)
		var yes, done bool
		a.p.Go(func() {
			v := a.s.Current()
			yes, done = a.s.releases(a.s.ctx, &v, m), true
		})
		w.run(time.Microsecond)
		if left == w.lease/2 {
			if !done || yes {
				t.Fatalf("%v before the end: done %v, yes %v", left, done, yes)
			}
			continue
		}
		if done {
			t.Fatalf("answered %v before the end: %v", left, yes)
		}
		w.runUntil(t, "answered", func() bool { return done })
		if late := a.p.Now() - a.s.granter.Until(m); !yes || late < 0 || time.Duration(late) > after {
			t.Errorf("yes %v, %v after the end", yes, time.Duration(late))
		}
	}
	w.killAll()
}

// TestLeaseCountsFromTheRequest: answers that come late make a lease shorter
// and never longer. Whatever a holder counts on, every majority has an acceptor
// that guards it for at least as long (L1).
func TestLeaseCountsFromTheRequest(t *testing.T) {
	held := 0
	for seed := range uint64(3) {
		w := calmWorld(t, seed, 3)
		x := w.nodes[1]
		w.late[x.id] = w.lease / 2
		for range 400 {
			w.run(w.lease / 40)
			left := x.s.Status().LeaseLeft
			if left == 0 {
				continue
			}
			held++
			guards := 0
			for _, a := range w.nodes {
				if time.Duration(a.s.granter.Until(x.life)-a.p.Now()) >= left {
					guards++
				}
			}
			if need := len(w.nodes) - len(w.nodes)/2; guards < need {
				t.Fatalf("seed %d: %v of a lease left, and %d of %d acceptors guard it for so long, want %d", w.seed, left, guards, len(w.nodes), need)
			}
		}
		w.killAll()
	}
	if held == 0 {
		t.Fatal("nobody ever had a lease")
	}
	t.Logf("%d looks at a lease", held)
}
