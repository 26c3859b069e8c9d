package membership

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/bench/tally"
	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership/grant"
	"healkv/heal/membership/register"
)

var (
	simSeed  = flag.Int64("membership.seed", -1, "simulate this seed only, and print its trace")
	simSeeds = flag.Int("membership.seeds", 0, "simulate so many seeds; 0: 4 with -short, else 120")
	simFrom  = flag.Uint64("membership.from", 1, "first seed")
	parallel = flag.Int("membership.parallel", 1, "seeds at a time")
)

// fault does something to the world and returns how it ends, or nil.
type fault struct {
	name string
	do   func(w *world) func()
}

func (w *world) some() *machine { return w.nodes[w.rnd(len(w.nodes))] }

func (m *machine) up() bool { return m.p != nil && !m.p.Dead() }

var faults = []fault{
	{"process killed", func(w *world) func() {
		m := w.some()
		m.end(true)
		return m.start
	}},
	{"power of a node lost", func(w *world) func() {
		m := w.some()
		m.end(false)
		return m.start
	}},
	{"restarted at once", func(w *world) func() {
		m := w.some()
		m.end(w.rnd(2) == 0)
		m.start()
		return nil
	}},
	{"power of all lost", func(w *world) func() {
		if w.rnd(3) != 0 {
			return nil
		}
		w.mark("power of all lost")
		for _, m := range w.nodes {
			m.end(false)
		}
		return func() {
			for _, m := range w.nodes {
				w.sim.At(w.upTo(w.lease), m.start)
			}
		}
	}},
	{"paused", func(w *world) func() {
		m := w.some()
		if !m.up() {
			return nil
		}
		m.p.Pause()
		w.touch(m)
		p := m.p
		return func() { p.Resume(); w.touch(m) }
	}},
	{"cut", func(w *world) func() {
		a, b := w.some(), w.some()
		w.cut[a.id][b.id] = true // one way
		if w.rnd(2) == 0 {
			w.cut[b.id][a.id] = true
		}
		return func() { w.cut[a.id][b.id], w.cut[b.id][a.id] = false, false }
	}},
	{"isolated", func(w *world) func() {
		a := w.some()
		from, to := w.rnd(3) != 0, w.rnd(3) != 0
		set := func(on bool) {
			for _, b := range w.nodes {
				w.cut[a.id][b.id], w.cut[b.id][a.id] = from && on, to && on
			}
		}
		set(true)
		return func() { set(false) }
	}},
	// A node has its lease from a bare majority, and of that some restart: what
	// they granted, they alone know.
	{"bare majority restarts", func(w *world) func() {
		h := w.some()
		granters := proto.NodeSet(0)
		for granters.Count() < register.Majority(w.set())-1 {
			if x := w.some(); x != h {
				granters = granters.With(x.id)
			}
		}
		set := func(on bool) {
			for _, b := range w.nodes {
				if b != h && !granters.Has(b.id) {
					w.cut[h.id][b.id], w.cut[b.id][h.id] = on, on
				}
			}
		}
		set(true)
		w.sim.At(2*w.lease+w.upTo(w.lease), func() {
			for _, n := range granters.Nodes(nil) {
				if x := w.nodes[n]; !w.calm && w.rnd(4) != 0 {
					x.end(w.rnd(2) == 0)
					x.start()
				}
			}
		})
		w.sim.At(4*w.lease, func() {
			if !w.calm {
				set(false)
			}
		})
		return nil
	}},
	{"lossy", func(w *world) func() {
		w.loss = 0.3 * w.sim.Rand.Float64()
		return func() { w.loss = 0 }
	}},
	{"late", func(w *world) func() {
		w.slowest = w.upTo(w.lease / 2)
		return func() { w.slowest = time.Millisecond }
	}},
	{"answers late", func(w *world) func() {
		m := w.some()
		m.w.late[m.id] = w.upTo(2 * w.lease)
		return func() { w.late[m.id] = 0 }
	}},
	{"slow disk", func(w *world) func() {
		m := w.some()
		m.disk.slow = w.upTo(2 * w.lease)
		return func() { m.disk.slow = 0 }
	}},
	{"failing disk", func(w *world) func() {
		m := w.some()
		m.disk.fails = 1 + w.rnd(5)
		return func() {
			m.disk.fails = 0
			if w.rnd(3) == 0 { // else it mends its file by itself
				m.end(w.rnd(2) == 0)
				m.start()
			}
		}
	}},
	{"stuck shards", func(w *world) func() {
		m := w.some()
		m.stuck = true
		return func() { m.stuck = false; w.touch(m) }
	}},
	{"asked to leave", func(w *world) func() {
		m := w.some()
		if m.up() {
			m.leave = true
			flow.Signal(m.told)
			w.sim.At(0, m.p.Run)
		}
		return nil
	}},
	{"clock", func(w *world) func() {
		m := w.some()
		if !m.up() {
			return nil
		}
		jump := time.Duration(0)
		// Within the bound: one jump while a lease and its guard may run.
		if w.wild || m.jumped == 0 || w.sim.Now()-m.jumped > int64(2*(w.lease+w.drift)) {
			jump = w.upTo(w.jump)
		}
		if jump > 0 {
			w.mark("clock jumped")
			m.jumped = w.sim.Now()
		}
		m.p.SetClock(jump, w.rate())
		return nil
	}},
}

// every is all faults.
var every = slices.Concat(faults, dataFaults)

// controlFaults keep views from members, whose streams then stand still.
var controlFaults = []string{"cut", "isolated", "bare majority restarts", "lossy", "late", "answers late"}

// run lets the world go on for d of true time.
func (w *world) run(d time.Duration) {
	for end := w.sim.Now() + int64(d); w.sim.Now() < end && len(w.failures) == 0; {
		if !w.sim.Step() {
			panic("nothing happens any more")
		}
		w.events++
		w.observe()
	}
}

// simulate is one seed: a start, faults that overlap, calm.
func simulate(seed uint64) *world {
	w := newWorld(seed)
	w.sim.At(0, func() { w.tick() })
	for _, m := range w.nodes {
		d := w.upTo(w.lease / 4)
		if m == w.begins {
			d += 6 * w.lease
		}
		w.sim.At(d, m.start)
	}
	w.olderFiles()
	if w.rnd(4) != 0 { // else the faults come while the cluster begins
		w.run(4 * w.lease)
	}
	w.run(w.storm())
	if len(w.failures) == 0 {
		w.calmDown()
	}
	for _, m := range w.nodes {
		if m.up() {
			m.kill() // its tasks are coroutines
		}
	}
	return w
}

// tick keeps the true time going.
func (w *world) tick() { w.sim.At(w.lease/8, w.tick) }

// storm asks for the faults and says how long they take.
func (w *world) storm() time.Duration {
	d := w.lease * time.Duration(8+w.rnd(10))
	for range 8 + w.rnd(16) {
		w.sim.At(w.upTo(d), func() {
			if w.calm {
				return
			}
			f := every[w.rnd(len(every))]
			undo := f.do(w)
			control := slices.Contains(controlFaults, f.name)
			if control {
				w.control++
			}
			w.mark("fault: " + f.name)
			w.say("fault: %s", f.name)
			if undo != nil {
				long := w.lease / 2
				if w.rnd(2) == 0 {
					long = 4 * w.lease
				}
				w.sim.At(w.upTo(long), func() {
					if control {
						w.control--
						w.touch(w.nodes...)
					}
					if !w.calm { // else it is over already
						w.say("over: %s", f.name)
						undo()
					}
				})
			}
		})
	}
	return d
}

// calmDown ends all faults; then everybody must come back, hold a lease, and
// keep it.
func (w *world) calmDown() {
	w.say("calm")
	w.calm, w.loss, w.slowest = true, 0, time.Millisecond
	w.cut = [proto.NodesMax][proto.NodesMax]bool{}
	w.late = [proto.NodesMax]time.Duration{}
	w.data = [proto.NodesMax][proto.NodesMax]bool{}
	w.control = 0
	w.touch(w.nodes...)
	if w.rnd(4) == 0 {
		w.keepCuts()
	}
	if w.wild {
		w.ppm = 28_000
	}
	for _, m := range w.nodes {
		m.disk.slow, m.disk.fails, m.stuck, m.leave = 0, 0, false, false
		m.still, m.lies = 0, false
		switch {
		case m.up() && m.s != nil:
			m.p.SetClock(0, w.rate())
			m.p.Resume()
		default:
			m.end(true)
			m.start()
		}
	}
	// The longest wait of all is for the leases of a life nothing proves dead,
	// some times over.
	patience := 20*w.lease + 10*time.Second
	begin := w.sim.Now()
	w.run(4*w.lease + w.wait) // what is under way comes to its end, which may be a removal: see machine.do
	for w.sim.Now()-begin < int64(patience) && !w.settled() && len(w.failures) == 0 {
		w.run(w.lease / 4)
	}
	if len(w.failures) != 0 {
		return
	}
	if !w.settled() {
		w.fail("after %v of calm not everybody is back who can: %s", patience, w.status())
		return
	}
	w.say("settled after %v", time.Duration(w.sim.Now()-begin))
	w.wild = false
	epoch, lost := w.check.newest.View.Epoch, w.lost()
	done := 0
	for _, m := range w.nodes {
		m.p.Go(func() {
			ctx, cancel := m.p.Timeout(context.Background(), 4*w.lease)
			defer cancel()
			if _, err := m.s.Update(ctx, func(v *proto.View) error { v.Issued[m.id]++; return nil }); err != nil {
				w.fail("in calm: update by node %d: %v", m.id, err)
			}
			done++
		})
	}
	w.run(5 * w.lease)
	w.decided = done
	if len(w.failures) != 0 {
		return
	}
	if e := w.check.newest.View.Epoch; done != len(w.nodes) || !w.settled() || e != epoch || w.lost() != lost {
		w.fail("in calm: %d of %d updates done, epoch %d before and %d now, %d leases lost: %s", done, len(w.nodes), epoch, e, w.lost()-lost, w.status())
	}
	if out := w.set() &^ w.check.newest.View.Live; out != 0 && len(w.failures) == 0 {
		w.say("data links are repaired")
		w.data = [proto.NodesMax][proto.NodesMax]bool{}
		for begin := w.sim.Now(); w.sim.Now()-begin < int64(patience) && !w.settled() && len(w.failures) == 0; {
			w.run(w.lease / 4)
		}
		if !w.settled() {
			w.fail("after the repair of all links not everybody is back: %s", w.status())
		}
		w.marks["came back after the repair"] += out.Count()
	}
}

func (w *world) lost() (n uint64) {
	for _, m := range w.nodes {
		n += m.s.counts.LeasesLost
	}
	return n
}

// settled: all who can be are live in one view that everybody knows, with
// leases. Only who has a cut link to a member cannot.
func (w *world) settled() bool {
	v := &w.check.newest.View
	for _, m := range w.nodes {
		s := m.s
		if s == nil || s.known.View != *v || !s.voting || s.stopped != nil {
			return false
		}
		if v.Live.Has(m.id) && (!s.liveLocked() || !s.holder.ValidAt(m.p.Now())) {
			return false
		}
	}
	together, missing := w.parting(v)
	return together|missing == 0 && v.Shadow == 0
}

func (w *world) status() string {
	out := fmt.Sprintf("chosen %d, %+v\n", w.check.newest.Seq, w.check.newest.View)
	for _, m := range w.nodes {
		if m.s == nil {
			out += fmt.Sprintf("node %d: no service, %v\n", m.id, m.p)
			continue
		}
		st := m.s.Status()
		out += fmt.Sprintf("node %d: %v value %d, lease %v, voting %v %s, promised %s accepted %s, guards %v quiet %v, suspects %v, peers %v\n",
			m.id, st.Member, st.Seq, st.LeaseLeft, st.Voting, st.Stopped, st.Promised, st.Accepted, st.Guards, st.Quiet, st.Suspects, st.Peers)
	}
	return out
}

// rare are the branches that must have been taken: the first ones by any run,
// all of them by one of fullRun seeds.
var rare = []string{
	"competing proposal lost", "connection ended", "death proven", "lease ran out", "members removed", "message lost",
	"proposal held by leases", "a running member dropped after its lease ran out", "vote refused: held by a lease",
	"vote refused: may not vote yet", "vote refused: outbid", "vote refused: silent after a restart (H22)",
	fewSeeds: "a running member dropped", "chosen in one trip", "clock jumped", "cold start", "failed sync", "first view without a node", "joined what began without it", "older acceptor file", "older acceptor file caught up", "half-way value settled",
	"admission waited for a link", "came back after the repair", "data link cut through calm", "idle stream probed", "member removed over complaints",
	"lease won again", "left", "no progress, no lease", "power of all lost", "slow sync", "start failed", "write torn or lost",
}

const (
	fewSeeds = 12 // of rare
	fullRun  = 100
)

// TestSimulation runs the shipped service through faults that overlap, by
// seed: go test ./heal/membership -run TestSimulation -membership.seed=N
func TestSimulation(t *testing.T) {
	if *simSeed >= 0 {
		w := simulate(uint64(*simSeed))
		t.Logf("%s", w.trace)
		for _, f := range w.failures {
			t.Errorf("seed %d: %s", w.seed, f)
		}
		return
	}
	seeds := 120
	if testing.Short() {
		seeds = 4 // one task at a time: the race detector has nothing to find
	}
	if *simSeeds > 0 {
		seeds = *simSeeds
	}
	var (
		mu    sync.Mutex
		sum   = total{marks: map[string]int{}}
		next  atomic.Uint64
		group sync.WaitGroup
	)
	// Nothing lives long here: to collect less often takes a fifth of the time away.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for range max(1, *parallel) {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				mu.Lock()
				over := i >= uint64(seeds) || sum.failed >= 3 || sum.failed > 0 && plant.On
				mu.Unlock()
				if over {
					return
				}
				w := simulate(*simFrom + i)
				mu.Lock()
				if sum.add(w); len(w.failures) > 0 {
					t.Errorf("seed %d, repeat with: go test ./heal/membership -run 'TestSimulation$' -membership.seed=%d\n%s\nlast events:\n%s",
						w.seed, w.seed, w.failures[0], w.tail(15))
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	marks, overlaps := sum.marks, sum.check.overlaps
	faulted := 0
	for name, n := range marks {
		if strings.HasPrefix(name, "fault: ") {
			faulted += n
		}
	}
	t.Logf("%d seeds, %v simulated, %d events, %d faults, %d views chosen, %d values learned; %d seeds with wild clocks, in which leases overlapped %d times",
		sum.seeds, sum.took.Round(time.Second), sum.events, faulted, sum.views, sum.check.learned, sum.wild, overlaps)
	t.Logf("%d times somebody's lease was looked at, %d proposals ended, %d in calm", sum.check.looked, sum.proposals, sum.calm)
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		t.Logf("%8d %s", marks[name], name)
	}
	if sum.failed > 0 || t.Failed() {
		return
	}
	must := rare
	if seeds < fullRun {
		must = rare[:fewSeeds]
	}
	for _, name := range must {
		if marks[name] == 0 {
			t.Errorf("never happened in %d seeds: %s", seeds, name)
		}
		tally.Mark("membership simulation", name, marks[name])
	}
	for _, f := range every {
		if seeds >= fullRun && marks["fault: "+f.name] == 0 {
			t.Errorf("no fault %q in %d seeds", f.name, seeds)
		}
	}
	if overlaps == 0 && seeds >= fullRun {
		t.Errorf("clocks beyond the bound never made leases overlap in %d seeds: the check sees nothing", sum.wild)
	}
	for _, c := range []struct {
		name string
		n    int
	}{
		{"seeds", sum.seeds - sum.failed}, {"events", sum.events}, {"faults", faulted}, {"views", sum.views},
		{"proposals", sum.proposals}, {"proposals in calm, all decided", sum.calm}, {"competing proposals", marks["competing proposal lost"]},
		{"leases looked at", sum.check.looked}, {"processes with a drifting clock", sum.drifts}, {"pauses", marks["fault: paused"]},
	} {
		tally.Add("membership simulation", c.name, c.n)
	}
}

// total is what several seeds have counted.
type total struct {
	seeds, failed, events, views, wild, proposals, calm, drifts int

	took  time.Duration
	marks map[string]int
	check struct{ learned, overlaps, looked int }
}

func (s *total) add(w *world) {
	s.seeds++
	if len(w.failures) > 0 {
		s.failed++
	}
	if w.check.wildRun {
		s.wild++
	}
	for name, n := range w.marks {
		s.marks[name] += n
	}
	s.events += w.events
	s.views += len(w.check.byEpoch)
	s.proposals += w.proposals
	s.calm += w.decided
	s.drifts += w.drifts
	s.took += time.Duration(w.sim.Now())
	s.check.learned += w.check.learned
	s.check.overlaps += w.check.overlaps
	s.check.looked += w.check.looked
}

func TestSimulationRepeats(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		a, b := simulate(seed), simulate(seed)
		if string(a.trace) != string(b.trace) || a.events != b.events {
			t.Fatalf("seed %d: two runs differ, %d events and %d\n%s\n%s", seed, a.events, b.events, a.tail(10), b.tail(10))
		}
		if len(a.trace) < 500 {
			t.Fatalf("seed %d: nothing happened:\n%s", seed, a.trace)
		}
	}
}

// TestHalfWayRemovalIsSettled: a proposer had half of the acceptors take a
// view without node 1, and went away. Those grant node 1 nothing any more, and
// the others would not miss anything: somebody has to carry it through, or
// node 1 stands there live and without a lease for ever.
func TestHalfWayRemovalIsSettled(t *testing.T) {
	seeds := uint64(5)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		w := newWorld(seed)
		for len(w.nodes) != 4 || w.wild {
			seed += 100
			w = newWorld(seed)
		}
		w.calm = true
		w.tick()
		for _, m := range w.nodes {
			m.start()
		}
		w.run(8 * w.lease)
		if !w.settled() || len(w.failures) > 0 {
			t.Fatalf("seed %d: %v\n%s", seed, w.failures, w.status())
		}
		epoch := w.check.newest.View.Epoch
		for _, m := range w.nodes[2:] {
			m.p.Go(func() {
				v := m.s.known
				v.Seq++
				v.View = v.View.Next(v.View.Live.Without(1), 0)
				b := register.Ballot{Round: 1000, Node: 0, Life: 1}
				// The lease in the way is not granted here, so that it passes.
				m.s.granter = grant.NewGranter(0, 0)
				a := m.s.vote(context.Background(), &register.Message{Kind: register.Accept, From: 0, To: m.id, Ballot: b, Value: v})
				m.s.granter = grant.NewGranter(int64(w.lease), m.p.Now())
				if a.Kind != register.Accepted {
					w.fail("%+v", a)
				}
			})
		}
		w.run(12 * w.lease)
		if !w.settled() || w.check.newest.View.Epoch <= epoch || len(w.failures) > 0 {
			t.Errorf("seed %d: %v\n%s", seed, w.failures, w.status())
		}
		for _, m := range w.nodes {
			m.kill()
		}
		if w.marks["half-way value settled"] == 0 {
			t.Errorf("seed %d: nobody settled anything\n%s", seed, w.tail(10))
		}
	}
}
