package membership

import (
	"strings"
	"testing"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
)

// demotions waits for so many leases, at most, until somebody is removed.
func (w *world) demotions(leases int) (took float64, out proto.NodeSet) {
	begin := w.sim.Now()
	for w.gone = 0; w.sim.Now()-begin < int64(leases)*int64(w.lease) && w.gone == 0 && len(w.failures) == 0; {
		w.run(w.lease / 20)
	}
	return float64(w.sim.Now()-begin) / float64(w.lease), w.gone
}

// TestSlowMember: one whose disk is slow for everybody is demoted, stays a
// shadow while it is slow, and is live again, and stays it, once it keeps up.
func TestSlowMember(t *testing.T) {
	cases := 0
	for seed := range uint64(4) {
		if testing.Short() && seed > 0 {
			break
		}
		w := peaceful(t, 400+seed, 3+int(seed)%3)
		all := w.set()
		for _, m := range w.nodes {
			m.busy = m.id%2 == 0 // the others hear of it by probes
		}
		x := w.nodes[1]
		x.late = int64(w.lease) * 7 / 10
		w.touch(x)
		took, out := w.demotions(20)
		if out != proto.NodeSet(0).With(1) || len(w.failures) > 0 {
			t.Fatalf("seed %d: out after %.1f leases are %v: %v\n%s%s", seed, took, out.Nodes(nil), w.failures, w.status(), w.tail(30))
		}
		t.Logf("seed %d, %d nodes: demoted after %.1f leases", seed, len(w.nodes), took)
		w.run(12 * w.lease)
		if v := w.check.newest.View; v.Live.Has(1) || w.gone != proto.NodeSet(0).With(1) {
			t.Fatalf("seed %d: live %v, gone %v while it is slow\n%s", seed, v.Live.Nodes(nil), w.gone.Nodes(nil), w.status())
		}
		if w.marks["held back as slow"] == 0 || x.s.HeldBack() == "" {
			t.Errorf("seed %d: held back %d times, now %q", seed, w.marks["held back as slow"], x.s.HeldBack())
		}
		x.late = 0
		w.touch(x)
		w.run(8 * w.lease)
		if !w.settled() || w.check.newest.View.Live != all || len(w.failures) > 0 {
			t.Fatalf("seed %d: not back: %v\n%s%s", seed, w.failures, w.status(), w.tail(20))
		}
		epoch := w.check.newest.View.Epoch
		w.run(20 * w.lease)
		if v := w.check.newest.View; v.Epoch != epoch {
			t.Errorf("seed %d: epoch %d, was %d", seed, v.Epoch, epoch)
		}
		cases++
	}
	tally.Add("membership simulation", "slow members demoted", cases)
}

// TestNobodyIsDemoted where all are slow, where it is the one who looks, and
// where too few would be left; and one who went as slow is followed by another
// only after a rest.
func TestNobodyIsDemoted(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		do    func(w *world)
	}{
		{"all slow", 4, func(w *world) {
			for _, m := range w.nodes {
				m.late = int64(w.lease) * 7 / 10
			}
		}},
		{"half of four slow, and seen by those who are slow themselves", 4, func(w *world) {
			w.nodes[1].late, w.nodes[2].late = int64(w.lease)*7/10, int64(w.lease)*7/10
		}},
		{"one that is late, but not slow", 4, func(w *world) { w.nodes[1].late = int64(w.lease) * 3 / 10 }},
		{"one of three beside one that is down", 3, func(w *world) {
			w.nodes[2].end(false)
			w.nodes[2].asleep = true
			w.run(3 * w.lease)
			w.nodes[1].late = int64(w.lease) * 7 / 10
		}},
	} {
		w := peaceful(t, 600, c.nodes)
		for _, m := range w.nodes {
			m.busy = true
		}
		c.do(w)
		epoch := w.check.newest.View.Epoch
		if took, out := w.demotions(25); out != 0 || w.check.newest.View.Epoch != epoch || len(w.failures) > 0 {
			t.Errorf("%s: out after %.1f leases are %v, epoch %d, was %d: %v\n%s", c.name, took, out.Nodes(nil), w.check.newest.View.Epoch, epoch, w.failures, w.tail(20))
		}
	}
}

// TestRestAfterADemotion: two that are slow go one after the other, and the
// second only when the first is back for long.
func TestRestAfterADemotion(t *testing.T) {
	w := peaceful(t, 700, 5)
	for _, m := range w.nodes {
		m.busy = true
	}
	late := func(m *machine, yes bool) {
		m.late = 0
		if yes {
			m.late = int64(w.lease) * 7 / 10
		}
		w.touch(m)
	}
	late(w.nodes[1], true)
	if _, out := w.demotions(20); out != proto.NodeSet(0).With(1) {
		t.Fatalf("out are %v\n%s", out.Nodes(nil), w.tail(20))
	}
	at := w.sim.Now()
	late(w.nodes[1], false)
	w.run(5 * w.lease)
	late(w.nodes[3], true)
	if _, out := w.demotions(30); out != proto.NodeSet(0).With(3) {
		t.Fatalf("out are %v\n%s", out.Nodes(nil), w.tail(20))
	}
	if rest := float64(w.sim.Now()-at) / float64(w.lease); rest < restAfter {
		t.Errorf("the second went after %.1f leases, want %d", rest, restAfter)
	} else {
		t.Logf("the second went %.1f leases after the first", rest)
	}
}

// TestSuspicionIsShown: what is seen of a node that is slow, and then silent.
func TestSuspicionIsShown(t *testing.T) {
	w := peaceful(t, 800, 4)
	for _, m := range w.nodes {
		m.busy = true
	}
	w.run(restAfter * w.lease)
	of := func(n proto.NodeID) (class, why string) {
		for _, x := range w.nodes[0].s.Status().Suspects {
			if x.Member.Node == n {
				return x.Class, x.Why
			}
		}
		return "alive", ""
	}
	if class, why := of(2); class != "alive" {
		t.Errorf("at first: %s, %s", class, why)
	}
	w.nodes[2].late = int64(w.lease) * 7 / 10
	w.touch(w.nodes[2])
	w.run(2 * w.lease)
	if class, why := of(2); class != "slow" || !strings.Contains(why, "entries wait") {
		t.Errorf("slow: %s, %s", class, why)
	}
	w.nodes[2].late = 0
	w.nodes[3].still = 2
	w.touch(w.nodes[3])
	w.run(w.lease * 9 / 10)
	if class, why := of(3); class != "stalled" || !strings.Contains(why, "durable at") {
		t.Errorf("stalled: %s, %s", class, why)
	}
	w.nodes[3].still = 0
	w.run(6 * w.lease)
	w.nodes[1].p.Pause()
	w.touch(w.nodes[1])
	w.run(w.lease * 8 / 10)
	if class, why := of(1); class != "unreachable" || !strings.Contains(why, "nothing heard for") {
		t.Errorf("silent: %s, %s", class, why)
	}
	w.nodes[1].p.Resume()
	w.run(2 * w.lease)
	if class, why := of(1); class != "alive" {
		t.Errorf("in the end: %s, %s", class, why)
	}
}
