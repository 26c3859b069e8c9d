package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"healkv/bench/check"
	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/rdma/sim"
)

// world is one run. Everything happens in the goroutine of Run.
type world struct {
	o     Options
	s     *Script
	next  int // entry of the script
	sim   *flowsim.Sim
	rng   *rand.Rand
	net   *sim.Net
	netAt uint64 // tick of the network's next event
	nodes []*machine
	plane planes

	views    []proto.View // by epoch
	newest   proto.View   // anybody knows
	lives    map[proto.Member]*lifeState
	armed    []Entry // at-step faults that wait for their step
	guarded  proto.NodeSet
	apart    proto.NodeSet         // two nodes whose data path stays cut
	touched  [proto.NodesMax]int64 // until when something was done to a node
	guardOld int                   // node whose older pool came back, -1: none
	lost     proto.NodeSet         // live members that do not come back before the others have gone on without them
	away     proto.NodeSet         // machines that do not start now
	nested   int                   // client reads that stand still between value and lease check
	inClient bool
	kicking  bool
	rounding *driver // whose turn it is
	landing  bool    // a flush ends that ran beside its worker
	stood    int     // times that happened
	calm     bool
	damages  bool // the script damages pools: scrubbers run
	ended    bool
	givenUp  bool // a cold start is refused for good
	heldUp   bool // nobody comes back for records that no live member has (0026, Cost): node accept-loss is what is left
	slowed   [proto.NodesMax][proto.NodesMax]int
	cutData  [proto.NodesMax][proto.NodesMax]bool // planes has the other cuts

	clock    int64 // of histories: one per event
	ids      uint64
	hist     []check.Op
	seen     []seen           // by history: what reads saw
	stamps   map[stamp]uint64 // writes by their timestamp
	answered []answered       // by key
	dropped  []uint64         // by key: newest timestamp of a tombstone that was dropped
	scopes   map[scopeOf][]wrote
	persists []wrote
	kept     []check.Persisted // persists, for the judge of durability
	losses   []check.PowerLoss // lossy cold starts
	lossyAt  int64             // the last of them

	Result   Result
	counters replica.Counters
	hash     uint64
	trace    [traceLen]traced
	traceAt  int
	logger   *slog.Logger
	tracer   *tracer // nil: no trace is written
	stalls   stalls
}

// Result is what a run has done.
type Result struct {
	Ops, Compared, Faults int // operations submitted; those whose answers were compared; faults that took effect
	Hash                  uint64
	Events                int
	Virtual               time.Duration
	Millis, Serving       int           // looks, one a millisecond of the script; those that found a node serving
	Small                 [][]check.Op  // histories of some keys, small enough for an exhaustive search
	Stall, StallAt        time.Duration // the longest of writes while the script lasts, and when it ended
	StallNode             int           // where it was; -1: everywhere
	Waiting               bool          // in the end everybody waited for people: a cold start was refused for good
	Down                  time.Duration // when a node was last seen not to be live, or not to serve
	Marks                 Marks
}

// Marks counts what happened, by name, in the order in which it happened first.
type Marks struct {
	Names []string
	N     []int
}

// Add counts n of name.
func (c *Marks) Add(name string, n int) {
	if n <= 0 {
		return
	}
	i := slices.Index(c.Names, name)
	if i < 0 {
		i = len(c.Names)
		c.Names, c.N = append(c.Names, name), append(c.N, 0)
	}
	c.N[i] += n
}

// Count of a name.
func (c *Marks) Count(name string) int {
	if i := slices.Index(c.Names, name); i >= 0 {
		return c.N[i]
	}
	return 0
}

func (w *world) count(name string) { w.Result.Marks.Add(name, 1) }

const traceLen = 8192

type traced struct {
	at   int64
	what string
	node int
	a, b uint64
}

// note adds an event to the trace.
func (w *world) note(what string, node int, a, b uint64) {
	h := uint64(14695981039346656037)
	for i := range len(what) {
		h = (h ^ uint64(what[i])) * 1099511628211
	}
	for _, v := range [...]uint64{h, uint64(w.sim.Now()), uint64(node), a, b} {
		w.hash = (w.hash ^ v) * 0x9e3779b97f4a7c15
		w.hash ^= w.hash >> 29
	}
	w.trace[w.traceAt%traceLen] = traced{w.sim.Now(), what, node, a, b}
	w.traceAt++
}

// last gives the last events but the ones that say little.
func (w *world) last(most int) string {
	var lines []string
	for i := w.traceAt - 1; i >= max(0, w.traceAt-traceLen) && len(lines) < most; i-- {
		x := &w.trace[i%traceLen]
		if strings.HasPrefix(x.what, "op ") {
			continue
		}
		lines = append(lines, fmt.Sprintf("  %10.3f ms node %d %s %d %d", float64(x.at)/1e6, x.node, x.what, x.a, x.b))
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// failure is what a check found wrong. Kind stays the same while a script
// shrinks.
type failure struct{ kind, text string }

func (w *world) fail(kind, format string, args ...any) {
	panic(failure{kind, fmt.Sprintf(format, args...)})
}

// Failure is what was wrong with a run.
type Failure struct {
	Kind  string // names the check
	Text  string
	State string // nodes, and the last events

	entries int // of the script that had been carried out
}

func (f *Failure) Error() string { return f.Kind + ": " + f.Text + "\n" + f.State }

// Run carries a script out. Equal arguments give equal results. log, if not
// nil, is given everything the nodes log.
func Run(o Options, s *Script, log slog.Handler) (Result, *Failure) { return run(o, s, log, nil) }

// RunTraced is Run, and writes down what shard 0 did. What the run does is the
// same.
func RunTraced(name string, o Options, s *Script, log slog.Handler) (Result, *Failure, *Trace) {
	t := &tracer{t: &Trace{Name: name}}
	r, f := run(o, s, log, t)
	return r, f, t.t
}

func run(o Options, s *Script, log slog.Handler, t *tracer) (Result, *Failure) {
	w := &world{tracer: t, o: o, s: s, sim: flowsim.New(o.Seed), rng: rand.New(rand.NewPCG(o.Seed, 0x776f726c64)),
		lives: map[proto.Member]*lifeState{}, stamps: map[stamp]uint64{}, scopes: map[scopeOf][]wrote{},
		answered: make([]answered, o.Keys), dropped: make([]uint64, o.Keys), guardOld: -1, netAt: math.MaxUint64, logger: slog.New(slog.DiscardHandler)}
	w.damages = slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.Do == doDamage })
	if log != nil {
		w.logger = slog.New(&clocked{log, w})
	}
	if t != nil {
		t.w = w
	}
	f := w.run()
	w.Result.Hash, w.Result.Events, w.Result.Virtual = w.hash, w.traceAt, time.Duration(w.sim.Now())
	w.Result.Down = time.Duration(w.stalls.down)
	return w.Result, f
}

func (w *world) run() (f *Failure) {
	defer func() {
		r := recover()
		if r != nil {
			f = &Failure{Kind: "panic", entries: w.next}
			if x, ok := r.(failure); ok {
				f.Kind, f.Text = x.kind, x.text
			} else {
				f.Text = fmt.Sprintf("%v\n%s", r, debug.Stack())
				f.Kind = "panic: " + firstLine(fmt.Sprint(r))
			}
			f.State = w.state() + "\n" + w.last(80)
		}
		w.ended = true
		for _, m := range w.nodes { // gives the coroutines back
			if m.p != nil {
				func() {
					defer func() { recover() }()
					m.p.Kill()
				}()
			}
		}
		w.sim.Close()
	}()
	w.begin()
	end := int64(w.o.Millis)*1_000_000 + 4*int64(w.o.Lease)
	for w.sim.Now() < end {
		w.advance(time.Millisecond)
	}
	w.calmDown()
	w.judge()
	return nil
}

func firstLine(s string) string { a, _, _ := strings.Cut(s, "\n"); return a }

func (w *world) begin() {
	w.net = sim.New(sim.Options{Seed: w.o.Seed, DelayMax: uint64(w.o.DelayMax), TearMarks: true})
	w.net.Damaged = func(from, to int) { w.touch(0, from, to) }
	for i := range w.o.Nodes {
		w.nodes = append(w.nodes, newMachine(w, i))
	}
	for _, m := range w.nodes {
		w.sim.At(time.Duration(w.rng.Int64N(int64(w.o.Lease))), m.start)
	}
	w.lookStalls()
	w.nextEntry()
}

// nextEntry waits for the time of the script's next entry.
func (w *world) nextEntry() {
	if w.next < len(w.s.Entries) {
		at := w.s.Entries[w.next].At * 1000
		w.sim.At(time.Duration(at-w.sim.Now()), w.entry)
	}
}

func (w *world) entry() {
	if w.next == 0 {
		w.tracer.start()
	}
	e := w.s.Entries[w.next]
	w.next++
	w.nextEntry()
	if e.op() {
		w.asked()
		w.submit(&w.s.Entries[w.next-1])
		return
	}
	w.fault(e)
}

// advance lets time pass and looks at what must always hold.
func (w *world) advance(d time.Duration) {
	w.sim.Run(d)
	m := w.nodes[w.rng.IntN(len(w.nodes))]
	w.checkNode(m)
	if !w.calm {
		w.Result.Millis++
		if slices.ContainsFunc(w.nodes, w.serves) {
			w.Result.Serving++
		}
	}
}

// netSoon makes sure that the network gets its next tick.
func (w *world) netSoon() {
	if next := w.net.Next(); next < w.netAt {
		w.netAt = next
		w.sim.At(time.Duration(int64(next)*1000-w.sim.Now()), w.netTick)
	}
}

func (w *world) netTick() {
	w.netAt = math.MaxUint64
	w.tick()
}

// tick brings the network up to the present.
func (w *world) tick() {
	w.net.AdvanceTo(uint64(w.sim.Now()) / 1000)
	for _, m := range w.nodes {
		if m.up && m.p.last != nil {
			for _, d := range m.p.last.drivers {
				if !d.halted && !d.ep.Asleep() {
					d.schedule(time.Duration(500 + w.rng.Int64N(4000)))
				}
			}
		}
	}
	w.netSoon()
}

// clocked puts the virtual time before every line.
type clocked struct {
	slog.Handler
	w *world
}

func (c *clocked) WithAttrs(a []slog.Attr) slog.Handler { return &clocked{c.Handler.WithAttrs(a), c.w} }

func (w *world) state() string {
	v := &w.newest
	s := fmt.Sprintf("at %.3f ms, calm %v, newest view %d: live %v shadow %v cold %v incarnations %v until %v; guarded %v old %d lost %v away %v", float64(w.sim.Now())/1e6, w.calm, v.Epoch, v.Live, v.Shadow,
		v.Cold, v.Incarnation[:w.o.Nodes], v.LiveUntil[:w.o.Nodes], w.guarded, w.guardOld, w.lost, w.away)
	for _, m := range w.nodes {
		s += "\n" + m.String()
	}
	return s
}

func (c *clocked) Handle(ctx context.Context, r slog.Record) error {
	r.Time = time.Time{}
	r.AddAttrs(slog.Float64("ms", float64(c.w.sim.Now())/1e6))
	return c.Handler.Handle(ctx, r)
}

// Add sums results up.
func (r *Result) Add(o *Result) {
	r.Ops += o.Ops
	r.Compared += o.Compared
	r.Faults += o.Faults
	r.Hash += o.Hash // whatever the order of the seeds
	r.Events += o.Events
	r.Virtual += o.Virtual
	r.Millis += o.Millis
	r.Serving += o.Serving
	if o.Stall > r.Stall {
		r.Stall, r.StallAt, r.StallNode = o.Stall, o.StallAt, o.StallNode
	}
	for i, name := range o.Marks.Names {
		r.Marks.Add(name, o.Marks.N[i])
	}
}
