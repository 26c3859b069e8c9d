package membership

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/proto"
	"healkv/heal/membership/blame"
)

// peaceful is a group that has begun, without faults. Clocks differ within the
// bound.
func peaceful(t *testing.T, seed uint64, nodes int) *world {
	t.Helper()
	w := newWorld(seed)
	for len(w.nodes) != nodes || w.wild {
		seed += 1000
		w = newWorld(seed)
	}
	w.tick()
	for _, m := range w.nodes {
		m.start()
	}
	w.run(8 * w.lease)
	w.calm = true // what the nodes do by themselves is over
	w.run(2 * w.lease)
	if !w.settled() || len(w.failures) > 0 {
		t.Fatalf("seed %d: %v\n%s", seed, w.failures, w.status())
	}
	t.Cleanup(func() {
		for _, m := range w.nodes {
			if m.up() {
				m.kill()
			}
		}
	})
	return w
}

// TestBadDataPath: who leaves, how soon, and that it comes back after the
// repair, with a control plane that works all the time.
func TestBadDataPath(t *testing.T) {
	cut := func(w *world, a, b int, both bool) {
		w.data[a][b], w.data[b][a] = true, both
		w.touch(w.nodes[a], w.nodes[b])
	}
	cases := []struct {
		name  string
		nodes int
		do    func(w *world)
		out   proto.NodeSet
	}{
		{"two apart, the lower one writes", 5, func(w *world) { cut(w, 1, 3, true); w.nodes[1].busy = true }, 0b01000},
		{"two apart, the higher one writes", 5, func(w *world) { cut(w, 1, 3, true); w.nodes[3].busy = true }, 0b01000},
		{"one way between two", 5, func(w *world) { cut(w, 4, 0, false); w.nodes[4].busy = true }, 0b10000},
		{"the other way", 5, func(w *world) { cut(w, 0, 4, false); w.nodes[4].busy = true }, 0b10000},
		{"two apart of three", 3, func(w *world) { cut(w, 0, 2, true); w.nodes[0].busy = true }, 0b100},
		{"what node 1 sends is lost, and it writes", 5, func(w *world) {
			for n := range 5 {
				if n != 1 {
					cut(w, 1, n, false)
				}
			}
			w.nodes[1].busy = true
		}, 0b00010},
		{"what node 1 sends is lost, and others write", 5, func(w *world) {
			for n := range 5 {
				if n != 1 {
					cut(w, 1, n, false)
				}
			}
			w.nodes[2].busy = true
		}, 0b00010},
		{"node 2 applies nothing, though its shards turn", 4, func(w *world) { w.nodes[2].still = 1; w.nodes[0].busy = true }, 0b0100},
		{"node 2 flushes nothing", 4, func(w *world) { w.nodes[2].still = 2; w.nodes[3].busy = true }, 0b0100},
		{"node 0 accuses everybody", 4, func(w *world) { w.nodes[0].lies = true }, 0b0001},
	}
	for _, c := range cases {
		seeds, worst := uint64(2), time.Duration(0)
		if testing.Short() {
			seeds = 1
		}
		for seed := range seeds {
			w := peaceful(t, seed, c.nodes)
			for _, m := range w.nodes {
				m.busy = false
			}
			begin, all := w.sim.Now(), w.set()
			w.gone = 0
			c.do(w)
			for w.sim.Now()-begin < w.standMax() && w.gone == 0 && len(w.failures) == 0 {
				w.run(w.lease / 20)
			}
			took := time.Duration(w.sim.Now() - begin)
			worst = max(worst, took*100/w.lease)
			if out := w.gone; out != c.out || len(w.failures) > 0 {
				t.Fatalf("%s, seed %d: after %v out are %v, want %v: %v\n%s%s", c.name, seed, took, out.Nodes(nil), c.out.Nodes(nil), w.failures, w.status(), w.tail(20))
			}
			// Those who stay need nobody else to go. Who does not move or lies comes
			// back in vain; who has a bad link waits outside.
			w.run(w.lease)
			for _, m := range w.nodes {
				m.still, m.lies = 0, false
			}
			w.run(4 * w.lease)
			if out := w.gone; out != c.out {
				t.Fatalf("%s, seed %d: later out are %v, want %v\n%s", c.name, seed, out.Nodes(nil), c.out.Nodes(nil), w.tail(20))
			}
			w.data = [proto.NodesMax][proto.NodesMax]bool{}
			w.run(4 * w.lease)
			if !w.settled() || w.check.newest.View.Live != all || len(w.failures) > 0 {
				t.Fatalf("%s, seed %d: not back after the repair: %v\n%s", c.name, seed, w.failures, w.status())
			}
		}
		t.Logf("%s: out after %.1f leases at most", c.name, float64(worst)/100)
	}
	tally.Add("membership simulation", "bad data paths", len(cases))
}

// TestNobodyGoesWithoutAFault: streams that stand still for less than the
// patience, processes that stand still for a third of a lease, messages that are
// late and disks that are slow cost nobody its place (V7).
func TestNobodyGoesWithoutAFault(t *testing.T) {
	seeds := uint64(25)
	if testing.Short() {
		seeds = 3
	}
	stood, probes, removed := 0, uint64(0), 0
	for seed := range seeds {
		w := peaceful(t, 7000+seed, 3+int(seed)%3)
		epoch, begin := w.check.newest.View.Epoch, w.sim.Now()
		w.slowest = w.lease / 20
		for w.sim.Now()-begin < int64(60*w.lease) && len(w.failures) == 0 {
			m := w.some()
			switch w.rnd(4) {
			case 0:
				m.still = 1 + w.rnd(2)
				stood++
				w.run(w.upTo(w.lease * 8 / 10))
				m.still = 0
			case 1:
				m.p.Pause()
				stood++
				w.run(w.upTo(w.lease / 3))
				m.p.Resume()
			case 2:
				m.busy = !m.busy
			case 3:
				m.disk.slow = w.upTo(w.lease)
			}
			// It moves again before it stands still another time, and somebody looks:
			// two stalls that nobody sees a move between are one long one.
			w.run(w.lease/4 + w.upTo(w.lease/4))
		}
		for _, m := range w.nodes {
			probes += m.s.counts.Probes
			removed += int(m.s.counts.Blamed)
		}
		if v := w.check.newest.View; v.Epoch != epoch || len(w.failures) > 0 {
			t.Errorf("seed %d: epoch %d, was %d: %v\n%s", seed, v.Epoch, epoch, w.failures, w.tail(20))
		}
	}
	t.Logf("%d seeds: streams and processes stood still %d times, probed %d times, %d removed without a fault", seeds, stood, probes, removed)
	if stood == 0 || probes == 0 && !testing.Short() {
		t.Error("nothing stood still")
	}
	tally.Add("membership simulation", "stalls that cost nobody its place", stood)
}

// TestQuietGroupProbesNothing: where everything moves, nobody probes and nobody
// says anything of it.
func TestQuietGroupProbesNothing(t *testing.T) {
	w := peaceful(t, 9000, 4)
	w.quiet = true
	w.run(2 * w.lease)
	before := w.marks["idle stream probed"]
	w.run(50 * w.lease)
	if n := w.marks["idle stream probed"] - before; n != 0 {
		t.Errorf("%d probes", n)
	}
	for _, m := range w.nodes {
		if x := m.s.saysLocked(m.p.Now()); len(x.Edges) != 0 || x.Uneasy || x.Hears != w.set().Without(m.id) {
			t.Errorf("node %d says %+v", m.id, x)
		}
	}
}

// TestAcceptorJudgesForItself: it lets nobody go only because it was asked, and
// goes on extending (H35).
func TestAcceptorJudgesForItself(t *testing.T) {
	w := peaceful(t, 9100, 4)
	m := w.nodes[2]
	v, lost := m.s.Current(), w.lost() // in what the nodes did by themselves before
	innocent := v.Member(1)
	asked := 0
	ask := func(q blamed, from proto.NodeID) (yes bool) {
		m.p.Go(func() {
			body, err := json.Marshal(q)
			if err != nil {
				t.Error(err)
			}
			ctx, cancel := m.p.Timeout(context.Background(), w.lease/2)
			defer cancel()
			a, err := m.s.onBlamed(ctx, v.Member(from), body)
			if err != nil {
				t.Error(err)
			}
			yes = a.(mayDropAnswer).Yes
			asked++
		})
		w.run(w.lease)
		return yes
	}
	if ask(blamed{Member: innocent}, 3) {
		t.Error("node 1 is let go, and nobody complains about it")
	}
	// Node 3 names another one as the author, and another view.
	edge := blame.Edge{By: v.Member(0), Of: innocent, Kind: blame.Unapplied, For: int64(w.lease)}
	if ask(blamed{innocent, says{Epoch: v.Epoch, Edges: []blame.Edge{edge}}}, 3) {
		t.Error("node 1 is let go over a complaint that is not its author's")
	}
	edge.By = v.Member(3)
	if ask(blamed{innocent, says{Epoch: v.Epoch - 1, Edges: []blame.Edge{edge}}}, 3) {
		t.Error("node 1 is let go over a complaint in another view")
	}
	if asked != 3 {
		t.Fatalf("asked %d times", asked)
	}
	w.run(3 * w.lease)
	if !w.settled() || m.s.counts.Damaged != 1 || w.lost() != lost {
		t.Errorf("damaged %d, leases lost %d: %s", m.s.counts.Damaged, w.lost()-lost, w.status())
	}
}
