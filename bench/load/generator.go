package load

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"healkv/bench/record"
	"healkv/bench/workload"
	"healkv/dataplane"
)

const (
	// WindowMax is what a wide session takes at most, WindowOrdinary any other.
	WindowMax      = 4096
	WindowOrdinary = 1024

	windowDefault = 256
	tickDefault   = 500 * time.Microsecond

	// closedRetryPause is how long a closed loop leaves a rejected access alone.
	closedRetryPause = int64(2 * time.Millisecond)
	// opPatience is the deadline of an operation where the generator sets it: the
	// session's default.
	opPatience = int64(5 * time.Second)
	// drainDefault is longer than the default deadline of an operation.
	drainDefault = 8 * time.Second
	// checkEvery: of so many reads one has its value compared with what a write of
	// the stamp in it would have written.
	checkEvery = 16

	pollBurst = 128
)

// Config of a Generator.
type Config struct {
	Spec        *workload.Spec
	Seed        uint64
	Node, Nodes int // this generator's number and how many there are; inserts do not collide
	// Rate in accesses a second, for this generator; 0 is a closed loop.
	Rate float64
	// Window is how many are in flight at most; 0 takes 256; up to WindowOrdinary, or WindowMax
	// with a wide session.
	Window int
	// Tick of an open loop: accesses fall due in groups this far apart, which lets a
	// generator sleep in between where cores are few. 0 takes 500 µs.
	Tick time.Duration
	// Drain bounds the wait for answers at the end; 0 takes 8 s. It must exceed the
	// session's deadline.
	Drain time.Duration

	// Fine: latencies in Records are nanoseconds, not microseconds, and in a closed
	// loop count from right before the submission.
	Fine bool

	Records *record.WindowWriter // what completed in every window; may be nil
	Acks    *record.Acks         // acknowledged writes by key id; may be nil

	clock clock
}

func (c *Config) fill() error {
	if c.clock == nil {
		c.clock = hostClock{}
	}
	if c.Window == 0 {
		c.Window = windowDefault
	}
	if c.Tick == 0 {
		c.Tick = tickDefault
	}
	if c.Drain == 0 {
		c.Drain = drainDefault
	}
	switch {
	case c.Spec == nil:
		return fmt.Errorf("%w: no workload", ErrConfig)
	case c.Nodes < 1 || c.Node < 0 || c.Node >= c.Nodes:
		return fmt.Errorf("%w: node %d of %d", ErrConfig, c.Node, c.Nodes)
	case c.Window < 1 || c.Window > WindowMax:
		return fmt.Errorf("%w: window %d, from 1 to %d", ErrConfig, c.Window, WindowMax)
	case !(c.Rate >= 0) || c.Rate > 1e9:
		return fmt.Errorf("%w: rate %v a second, from 0 to 1e9", ErrConfig, c.Rate)
	case c.Tick < 10*time.Microsecond || c.Tick > time.Second:
		return fmt.Errorf("%w: tick %v, from 10µs to 1s", ErrConfig, c.Tick)
	case c.Acks != nil && c.Acks.Keys() < c.Spec.Capacity():
		return fmt.Errorf("%w: table of %d acknowledged keys, the workload has up to %d", ErrConfig, c.Acks.Keys(), c.Spec.Capacity())
	}
	return nil
}

// Totals of a run so far.
type Totals struct {
	Reads, Writes, Requests, NotFound uint64
	Errors                            [record.ErrorKinds]uint64
	Checked                           uint64 // reads whose value was compared
	Backlog                           uint64 // due and not completed
}

// Ops is the completed operations.
func (t Totals) Ops() uint64 { return t.Reads + t.Writes }

// slot is one access from its due time to its end.
type slot struct {
	op     dataplane.Op
	access workload.Access
	due    int64
	value  []byte // cap for the largest value; op.Value is a part of it
	key    [workload.KeyBytesMax]byte
}

// queue is a ring of slot numbers with a moment each.
type queue struct {
	slot    [WindowMax]uint16
	at      [WindowMax]int64
	head, n int
}

func (q *queue) push(slot uint16, at int64) {
	i := (q.head + q.n) % WindowMax
	q.slot[i], q.at[i] = slot, at
	q.n++
}

func (q *queue) pop() uint16 {
	s := q.slot[q.head]
	q.head = (q.head + 1) % WindowMax
	q.n--
	return s
}

// Generator is one stream of accesses. Run and Load belong to one goroutine;
// Totals may be asked by any.
type Generator struct {
	cfg   Config
	clock clock
	gen   *workload.Generator
	s     Session

	slots   []slot
	free    []uint16
	retries queue
	done    [pollBurst]*dataplane.Op

	// Open loop: access n of this run is due at start + floor(n/perTick)*tick.
	start int64
	n     uint64
	// toDeadline leads from a moment to the deadline of what is submitted then, on
	// the clock of deadlines.
	toDeadline int64
	perTick    float64
	tick       int64
	retryGap   int64 // between two retries
	lastRetry  int64
	// credit is how many rejected accesses may be submitted again at once, since as
	// many were completed: the node serves, so there is no reason to hold back.
	credit int

	// Load phase: ids from loadNext on, every Nodes-th.
	loading  bool
	loadNext uint64

	win        record.Window
	reads      record.Hist
	writes     record.Hist
	lastWrite  int64 // when the last write was acknowledged; 0 for none
	sinceCheck int
	expect     []byte
	err        error
	ending     bool  // nothing is begun any more
	drainUntil int64 // when what is in flight is given up
	stopping   atomic.Bool
	totals     Totals
	published  atomic.Pointer[Totals]
}

// New makes a Generator. Errors: ErrConfig.
func New(c Config) (*Generator, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	g := &Generator{
		cfg: c, clock: c.clock,
		gen:    c.Spec.NewGenerator(c.Seed, c.Node, c.Nodes),
		slots:  make([]slot, c.Window),
		free:   make([]uint16, 0, c.Window),
		tick:   int64(c.Tick),
		expect: make([]byte, 0, c.Spec.ValueBytes()),
	}
	for i := range g.slots {
		g.slots[i].value = make([]byte, 0, c.Spec.ValueBytes())
		g.slots[i].op.Tag = uint64(i)
		g.free = append(g.free, uint16(i))
	}
	g.perTick, g.retryGap = c.Rate*c.Tick.Seconds(), closedRetryPause/int64(c.Window)
	if c.Rate > 0 {
		g.retryGap = max(int64(1e9/c.Rate), 1)
	}
	return g, nil
}

// Totals since New, up to date within a window; any goroutine may ask.
func (g *Generator) Totals() Totals {
	if t := g.published.Load(); t != nil {
		return *t
	}
	return Totals{}
}

// Run submits accesses until ctx is done, waits for what is in flight, and
// returns. Errors: ErrWrongValue, ErrStuck, what a record file returned, and what
// ended the session, all wrapped.
func (g *Generator) Run(ctx context.Context, s Session) error {
	g.loading = false
	return g.run(ctx, s)
}

// Load inserts this generator's share of the keys, every Nodes-th from Node on, in
// a closed loop, and returns when all are acknowledged or ctx is done.
func (g *Generator) Load(ctx context.Context, s Session) error {
	g.loading, g.loadNext = true, uint64(g.cfg.Node)
	if err := g.run(ctx, s); err != nil {
		return err
	}
	if g.loadNext < g.cfg.Spec.Keys() {
		return fmt.Errorf("load: stopped before all keys were inserted: %w", context.Cause(ctx))
	}
	return nil
}

func (g *Generator) run(ctx context.Context, s Session) error {
	g.begin(s)
	defer context.AfterFunc(ctx, g.Stop)()
	return g.drive()
}

func (g *Generator) begin(s Session) {
	g.s, g.err, g.n = s, nil, 0
	g.stopping.Store(false)
	g.ending, g.drainUntil = false, math.MaxInt64
	g.start = g.clock.now()
	g.lastRetry = g.start
	g.toDeadline = dataplane.Now() - g.start + opPatience
	g.openWindow(g.start / record.WindowNanos)
}

// drive goes on with a run to its end.
func (g *Generator) drive() error {
	for {
		moved := g.poll()
		if g.step() {
			return g.end()
		}
		if !moved {
			g.rest(g.ending)
		}
	}
}

// step follows a poll and submits what is due.
func (g *Generator) step() (over bool) {
	now := g.clock.now()
	g.turn(now)
	stopping := g.stopping.Load()
	if !stopping {
		g.submitDue(now)
	}
	if g.ending = stopping || g.finished(); g.ending {
		// What was rejected is certainly not applied, so it may be dropped; what is in
		// flight has to be waited for, since it may still be acknowledged.
		if !g.loading || stopping {
			g.dropRetries()
		}
		if g.inFlight() == 0 && g.retries.n == 0 {
			return true
		}
		if g.drainUntil == math.MaxInt64 && stopping {
			g.drainUntil = now + int64(g.cfg.Drain)
		}
		if now > g.drainUntil {
			g.err = fmt.Errorf("%w: %d in flight after %v", ErrStuck, g.inFlight(), g.cfg.Drain)
		}
	}
	return g.err != nil
}

func (g *Generator) end() error {
	if err := g.closeWindow(); g.err == nil {
		g.err = err
	}
	return g.err
}

// Begin, Step, Stop and Finish are Run for whoever calls the generator by
// himself, as an attendant of a shard's worker does. Begin comes first.
func (g *Generator) Begin(s Session) {
	g.loading = false
	g.begin(s)
}

// Step takes what is finished and submits what is due; it never waits. awake: it
// is to be called again although nothing comes. over: the run is, but for Finish.
func (g *Generator) Step() (awake, over bool) {
	moved := g.poll()
	if !moved && len(g.free) == 0 && g.retries.n == 0 && !g.stopping.Load() {
		return false, false // all are in flight
	}
	over = g.step()
	return moved || g.inFlight() == 0 || g.perTick != 0, over
}

// Stop ends a run: nothing is submitted any more. Any goroutine.
func (g *Generator) Stop() { g.stopping.Store(true) }

// Finish waits for what is in flight. Errors: as Run.
func (g *Generator) Finish() error { return g.drive() }

// inFlight is how many accesses the session holds.
func (g *Generator) inFlight() int { return len(g.slots) - len(g.free) - g.retries.n }

// finished: a load phase has nothing left to begin.
func (g *Generator) finished() bool { return g.loading && g.loadNext >= g.cfg.Spec.Keys() }

// dueAt is when access n falls due. A closed loop's are always due.
func (g *Generator) dueAt(n uint64) int64 {
	if g.perTick == 0 || g.loading {
		return math.MinInt64
	}
	return g.start + int64(float64(n)/g.perTick)*g.tick
}

// submitDue submits again what was rejected and may be tried again, then what has
// fallen due, as far as the window allows.
func (g *Generator) submitDue(now int64) {
	some, taken := false, true
	for taken && g.retries.n > 0 && (g.credit > 0 || g.retries.at[g.retries.head] <= now) {
		g.credit = max(g.credit-1, 0)
		taken = g.submit(g.retries.pop(), now)
		some = true
	}
	g.credit = 0
	for taken && len(g.free) > 0 && !g.finished() {
		due := g.dueAt(g.n)
		if due > now {
			break
		}
		if due == math.MinInt64 {
			due = now
		}
		i := g.free[len(g.free)-1]
		g.free = g.free[:len(g.free)-1]
		g.next(&g.slots[i], due)
		if g.cfg.Fine && g.perTick == 0 { // making the access is no part of it
			g.slots[i].due = g.clock.now()
		}
		taken = g.submit(i, now)
		some = true
	}
	if some {
		g.s.Kick()
	}
}

// next makes the next access.
func (g *Generator) next(sl *slot, due int64) {
	if g.loading {
		sl.access = workload.Access{Key: g.loadNext, Kind: workload.Insert, First: true}
		g.loadNext += uint64(g.cfg.Nodes)
	} else {
		sl.access = g.gen.Next()
	}
	g.n++
	sl.due = due
	sl.op.Key = g.cfg.Spec.AppendKey(sl.key[:0], sl.access.Key)
	if sl.access.Kind == workload.Read {
		sl.op.Kind = dataplane.OpGet
	} else {
		sl.op.Kind = dataplane.OpPut
		sl.value = g.cfg.Spec.AppendValue(sl.value[:0], sl.access.Key, uint64(due))
	}
	sl.op.Value = sl.value
}

// submit hands one access over; false if the session takes no more at present.
func (g *Generator) submit(i uint16, now int64) bool {
	sl := &g.slots[i]
	sl.op.Err, sl.op.Deadline = nil, 0
	if g.cfg.Fine { // or the session would look at the clock
		sl.op.Deadline = now + g.toDeadline
	}
	if sl.op.Kind == dataplane.OpGet {
		sl.op.Value = sl.value[:0]
	}
	if err := g.s.Submit(&sl.op); err != nil {
		g.failed(i, err, now)
		return false
	}
	return true
}

// poll takes completed operations; false if there were none.
func (g *Generator) poll() bool {
	n := g.s.Poll(g.done[:])
	if n == 0 {
		return false
	}
	now := g.clock.now()
	g.turn(now)
	for _, op := range g.done[:n] {
		i := uint16(op.Tag)
		if op.Err != nil && op.Err != dataplane.ErrNotFound {
			g.failed(i, op.Err, now)
			continue
		}
		g.completed(&g.slots[i], now)
		g.free = append(g.free, i)
	}
	return true
}

func (g *Generator) completed(sl *slot, now int64) {
	if g.credit < g.retries.n {
		g.credit++
	}
	if sl.access.First {
		g.win.Requests++
		g.totals.Requests++
	}
	if sl.op.Kind == dataplane.OpGet {
		g.win.Reads++
		g.totals.Reads++
		g.record(&g.reads, now-sl.due)
		if sl.op.Err != nil {
			g.win.NotFound++
			g.totals.NotFound++
			return
		}
		if cap(sl.op.Value) > cap(sl.value) {
			sl.value = sl.op.Value
		}
		if g.sinceCheck++; g.sinceCheck >= checkEvery {
			g.checkValue(sl)
		}
		return
	}
	// The acknowledgement was seen: only now may the write be expected to stay.
	if g.cfg.Acks != nil {
		g.cfg.Acks.Raise(sl.access.Key, uint64(sl.op.TS))
	}
	g.win.Writes++
	g.totals.Writes++
	g.record(&g.writes, now-sl.due)
	if g.lastWrite != 0 {
		g.win.WriteGap = max(g.win.WriteGap, now-g.lastWrite)
	}
	g.lastWrite = now
	at := int32(now - g.win.Start())
	if g.win.FirstWrite < 0 {
		g.win.FirstWrite = at
	}
	g.win.LastWrite = at
}

func (g *Generator) record(h *record.Hist, ns int64) {
	if g.cfg.Fine {
		ns *= 1000 // a histogram's microsecond is a nanosecond then
	}
	h.Record(ns)
}

func (g *Generator) checkValue(sl *slot) {
	g.sinceCheck = 0
	g.totals.Checked++
	stamp, ok := workload.Stamp(sl.op.Value)
	if ok {
		g.expect = g.cfg.Spec.AppendValue(g.expect[:0], sl.access.Key, stamp)
		ok = string(g.expect) == string(sl.op.Value)
	}
	if !ok && g.err == nil {
		g.err = fmt.Errorf("%w: key %q, TS %v, %d bytes", ErrWrongValue, sl.op.Key, sl.op.TS, len(sl.op.Value))
	}
}

// failed counts an error and decides what becomes of the access.
func (g *Generator) failed(i uint16, err error, now int64) {
	kind, v := classify(err)
	g.win.Errors[kind]++
	g.totals.Errors[kind]++
	if g.loading && v == giveUp && kind == record.ErrUnknown {
		v = again // inserting twice does no harm, and the key must be there
	}
	switch v {
	case again:
		// At most as many a second as fall due anyway, so that a node that rejects
		// everything is not busy rejecting.
		if g.retries.n == 0 {
			g.lastRetry = now
		}
		g.lastRetry = max(g.lastRetry, now) + g.retryGap
		at := g.lastRetry
		if g.perTick == 0 || g.loading {
			at = max(at, now+closedRetryPause)
		} else { // with the accesses of the next tick, so as not to wake up in between
			at = g.start + (at-g.start+g.tick-1)/g.tick*g.tick
		}
		g.retries.push(i, at)
	case giveUp:
		g.free = append(g.free, i)
		if g.loading && g.err == nil {
			g.err = fmt.Errorf("load: inserting key %q: %w", g.slots[i].op.Key, err)
		}
	case stop:
		g.free = append(g.free, i)
		if g.err == nil {
			g.err = fmt.Errorf("load: key %q: %w", g.slots[i].op.Key, err)
		}
	}
}

func (g *Generator) dropRetries() {
	for g.retries.n > 0 {
		g.free = append(g.free, g.retries.pop())
	}
}

// rest waits until there is something to do: an answer, an access falling due, a
// retry, or the end of the window.
func (g *Generator) rest(ending bool) {
	now := g.clock.now()
	until := (g.win.Index + 1) * record.WindowNanos
	if g.retries.n > 0 {
		until = min(until, g.retries.at[g.retries.head])
	}
	if !ending && len(g.free) > 0 {
		until = min(until, g.dueAt(g.n))
	}
	switch {
	case until <= now:
	case g.inFlight() > 0:
		g.s.Wait(time.Duration(until - now))
	default:
		g.clock.sleep(until - now)
	}
}
