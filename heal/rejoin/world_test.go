package rejoin_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"

	"healkv/bench/check"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/rdma/sim"
)

// options of one run, drawn from its seed.
type options struct {
	nodes    int
	model    proto.Model
	power    bool // faults may be power losses
	bytes    int  // of a log
	segment  int
	ring     int
	keys     int
	valueMax int
	reads    int // percent
	lazy     int // a flush follows one of so many turns
	steps    int
	faults   int
	cold     bool // everybody may be down at once
	away     bool // nodes come back late, and space runs short
	valueMin int
	mix      [5]int // weights: turns, ticks, operations, views, ways back
	damage   bool   // stream deliveries may be damaged
	losing   bool   // live members are lost when everybody dies, which happens often

	// Planted bugs of what the simulation itself stands for.
	noReports bool // the buddy does not wait for the members' reports
	listGap   bool // the buddy's list is not completed in one step
}

func draw(seed uint64, rng *rand.Rand) options {
	o := options{nodes: []int{3, 3, 3, 4, 4, 5}[rng.IntN(6)], model: proto.Models()[seed%5], power: rng.IntN(2) == 0,
		segment: 8 << 10, ring: 4096 << rng.IntN(4), keys: 4 + rng.IntN(60), valueMax: []int{64, 300, 1500, 5000}[rng.IntN(4)],
		reads: 20 + rng.IntN(50), steps: 1500 + rng.IntN(5000), faults: rng.IntN(12) * []int{1, 3, 6}[rng.IntN(3)], lazy: []int{2, 2, 8}[rng.IntN(3)], cold: rng.IntN(3) == 0, damage: rng.IntN(4) == 0}
	if o.valueMax > 2000 {
		o.segment, o.ring = 16<<10, max(o.ring, 16<<10) // an entry and the skip before it must fit into the ring
	}
	o.mix = [5]int{400, 200, 150, 60, 120}
	for i := range o.mix {
		o.mix[i] = o.mix[i] * []int{1, 2, 3, 4, 6}[rng.IntN(5)] / 3
	}
	// The replica sets 64 KiB aside for every member twice, and a part of each
	// segment; the cleaner begins at one half. What is beyond is small.
	kept := 2 * o.nodes * (64 << 10) * o.segment / (o.segment - o.valueMax - 100)
	o.bytes = (2*kept + (128+64*rng.IntN(6))<<10) &^ (o.segment - 1)
	return o
}

// longAway makes the log so large that space counts as short, at a sixteenth of
// it, before the replica takes no writes any more, and fills it while a node
// is away: its missed range is given up.
func longAway(o *options) {
	o.away, o.nodes, o.ring, o.segment, o.bytes, o.valueMin, o.valueMax, o.reads = true, 3, 64<<10, 64<<10, 12<<20, 5000, 8000, 10
	o.steps, o.faults, o.cold, o.damage, o.mix = 40000, 12, false, false, [5]int{420, 200, 350, 50, 80}
}

// world is one run: everything happens in its goroutine, in an order that
// follows from the seed.
type world struct {
	o     options
	rng   *rand.Rand
	net   *sim.Net
	nodes []*node
	reg   proto.View
	views []proto.View
	cut   [proto.NodesMax][proto.NodesMax]bool
	told  proto.NodeSet // live nodes whose lease is gone: they may be removed
	drop  proto.NodeSet // shadows that may be removed
	lost  proto.NodeSet // live members of the view that do not come back before a cold start without them

	unproven bool // nobody says that the lost ones are dead

	step       int
	calm       bool
	damaged    int
	clock      int64
	values     uint64
	hist       []check.Op
	written    map[stamp]uint64
	acked      []uint64
	answeredTS []answered // by key
	scoped     [proto.NodesMax][3][]wrote
	persisted  []wrote
	// By key: the newest tombstone that was dropped anywhere. Who knows nothing of
	// the key has dropped that one too: when it went, every node had it.
	dropped map[int]uint64
	direct  []directRead
	lossyAt int64 // history before was cut by a cold start of those who lost power

	counts   counts
	counters counters
	hash     uint64
	trace    [traceLen]traced
	traceAt  int
}

const traceLen = 4096

type traced struct {
	step int
	ev   event
	node proto.NodeID
	a, b uint64
}

type event uint8

const (
	evBegin event = iota
	evCrash
	evPower
	evFenced
	evInstall
	evView
	evDrive
	evTransfer
	evTransferred
	evApply
	evFlush
	evStart
	evDone
	evRejected
	evUnknown
	evFault
)

var eventNames = [...]string{"life begins (incarnation, tail)", "process crash (stable)", "power loss (stable)", "fenced (view)",
	"installs (view, stable)", "VIEW decided (live|shadow, epoch)", "way back (do, epoch)", "transfer begins (buddy, from)", "transfer ends (buddy)",
	"applies (of, bytes)", "flushes (tail, stable)", "op starts (kind, no)", "op done (no, value)", "op rejected (no)", "op unknown (no)", "fault (kind, other)"}

func (w *world) event(e event, n proto.NodeID, a, b uint64) {
	for _, v := range [...]uint64{uint64(e)<<8 | uint64(n), a, b} {
		w.hash = (w.hash ^ v) * 0x9e3779b97f4a7c15
		w.hash ^= w.hash >> 29
	}
	w.trace[w.traceAt%traceLen] = traced{w.step, e, n, a, b}
	w.traceAt++
}

// last gives the last events but the ones that say little.
func (w *world) last(most int) string {
	var lines []string
	for i := w.traceAt - 1; i >= max(0, w.traceAt-traceLen) && len(lines) < most; i-- {
		x := &w.trace[i%traceLen]
		switch x.ev {
		case evApply, evFlush, evStart, evDone, evRejected, evUnknown:
			continue
		case evDrive:
			if x.a <= 1 || x.a == 3 || x.a == 5 {
				continue
			}
		}
		lines = append(lines, fmt.Sprintf("  %6d node %d %s %d %d", x.step, x.node, eventNames[x.ev], x.a, x.b))
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// counts are what happened, by name, in the order in which it happened first.
type counts struct {
	names []string
	n     []int
}

func (c *counts) add(name string, n int) {
	i := slices.Index(c.names, name)
	if i < 0 {
		i = len(c.names)
		c.names, c.n = append(c.names, name), append(c.n, 0)
	}
	c.n[i] += n
}

// of is how often something happened.
func (c *counts) of(name string) int {
	if i := slices.Index(c.names, name); i >= 0 {
		return c.n[i]
	}
	return 0
}

func (w *world) count(name string) { w.counts.add(name, 1) }
func (w *world) add(name string, n int) {
	if n > 0 {
		w.counts.add(name, n)
	}
}

// counters sums those of all lives.
type counters struct{ replica.Counters }

func (c *counters) add(o *replica.Counters) {
	c.Writes += o.Writes
	c.Superseded += o.Superseded
	c.Confirmed += o.Confirmed
	c.WaitedForView += o.WaitedForView
	c.LockedReads += o.LockedReads
	c.Adopted += o.Adopted
	c.AdoptedLocked += o.AdoptedLocked
	c.AdoptSkipped += o.AdoptSkipped
	c.RolledForward += o.RolledForward
	c.RingFull += o.RingFull
	c.NoRoom += o.NoRoom
	c.BadEntries += o.BadEntries
	c.StalledNoSpace += o.StalledNoSpace
}

// failure is what a check found wrong.
type failure struct{ text string }

func (w *world) fail(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// burst is a random one of some budgets.
func (w *world) burst(b ...int) int {
	if w.calm {
		return b[len(b)-1]
	}
	return b[w.rng.IntN(len(b))]
}

func fresh(seed uint64, change func(*options)) *world {
	rng := rand.New(rand.NewPCG(seed, 0x7768_6f6c_65))
	o := draw(seed, rng)
	if change != nil {
		change(&o)
	}
	return &world{o: o, rng: rng, written: map[stamp]uint64{}, dropped: map[int]uint64{}, answeredTS: make([]answered, o.keys)}
}

// run makes a world from a seed, lets it live, and checks what is left.
func run(seed uint64, change func(*options)) (w *world, err error) {
	w = fresh(seed, change)
	o := w.o
	defer func() {
		if r := recover(); r != nil {
			text := ""
			if f, ok := r.(failure); ok {
				text = f.text
			} else {
				text = fmt.Sprintf("panic: %v\n%s", r, debug.Stack())
			}
			state := fmt.Sprintf("view %d live %v shadow %v cold %v incarnations %v until %v", w.reg.Epoch, w.reg.Live.Nodes(nil),
				w.reg.Shadow.Nodes(nil), w.reg.Cold, w.reg.Incarnation[:o.nodes], w.reg.LiveUntil[:o.nodes])
			for _, n := range w.nodes {
				state += "\n" + n.String()
			}
			err = fmt.Errorf("seed %d, step %d (%+v): %s\n%s\n%s", seed, w.step, o, text, state, w.last(70))
		}
	}()
	w.bootstrap(seed)
	for w.step = 0; w.step < o.steps; w.step++ {
		w.act()
	}
	w.calmDown()
	w.judge()
	for _, n := range w.nodes {
		w.counters.add(&n.rep.Counters)
		w.add("pools refused after a power loss", n.d.refused)
	}
	st := w.net.Stats()
	w.event(evDone, 0, st.Deliveries, st.Bytes)
	return w, nil
}

func (w *world) bootstrap(seed uint64) {
	delay := []uint64{1, 4, 15}[w.rng.IntN(3)]
	w.net = sim.New(sim.Options{Seed: seed, DelayMin: 0, DelayMax: delay, TearMarks: true})
	for range w.rng.IntN(1 + w.o.nodes) { // some links are slow
		w.net.SetDelay(w.rng.IntN(w.o.nodes), w.rng.IntN(w.o.nodes), 20, 150)
	}
	w.reg = proto.View{Model: w.o.model, Shards: 1}
	for i := range w.o.nodes {
		d := newDisk(w.o.bytes, w.o.segment)
		d.format()
		w.nodes = append(w.nodes, &node{w: w, id: proto.NodeID(i), d: d})
		w.reg.Configured = w.reg.Configured.With(proto.NodeID(i))
	}
	for _, n := range w.nodes {
		n.begin()
	}
	v := w.reg.Next(w.reg.Configured, 0)
	for _, n := range w.nodes {
		v.Incarnation[n.id] = n.self.Incarnation
	}
	w.reg = v
	w.views = append(w.views, v)
}

// act does one random thing.
func (w *world) act() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	awake := n.up && !w.net.Paused(int(n.id))
	if w.step%32 == 0 {
		w.checkLive(n, w.rng.IntN(8) == 0)
	}
	m := &w.o.mix
	turns, ticks, ops, views := m[0], m[0]+m[1], m[0]+m[1]+m[2], m[0]+m[1]+m[2]+m[3]
	ways := views + m[4]
	switch r := w.rng.IntN(ways + 110); {
	case r < turns:
		if awake {
			n.turn()
		}
	case r < ticks:
		w.net.Tick()
	case r < ops:
		if awake && n.rep != nil {
			w.submit(n)
		}
	case r < views:
		if awake {
			n.look(false)
		}
	case r < ways:
		if awake && !n.served {
			n.drive()
		}
	case r < ways+30:
		w.readDirect(n)
	case r < ways+60:
		w.endDirect()
	case r < ways+63:
		w.expire(n)
	case r < ways+80:
		w.remove()
	case r < ways+95:
		if w.lost != 0 && w.rng.IntN(8) == 0 {
			w.order(n)
		}
		if !n.up && !w.lost.Has(n.id) && (w.o.cold || w.rng.IntN(2) == 0) && (!w.o.away || w.step > w.o.steps*4/5) {
			n.begin()
		}
	default:
		if w.rng.IntN(w.o.steps) < 40*w.o.faults { // about 2/3 of faults
			w.fault(n)
		} else {
			w.mend()
		}
	}
}
