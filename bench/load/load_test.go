package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"healkv/bench/check"
	"healkv/bench/record"
	"healkv/bench/workload"
	"healkv/dataplane"
)

// The real session is what the generators are for.
var _ Session = (*dataplane.Session)(nil)

const second = int64(time.Second)

func spec(t testing.TB, name string) *workload.Spec {
	t.Helper()
	s, err := workload.New(name, workload.Options{Keys: 2_000})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// endAt cancels a run when simulated time gets there.
type endAt struct {
	*simClock
	end    int64
	cancel context.CancelFunc
	g      *Generator
}

func (c *endAt) now() int64 {
	n := c.simClock.now()
	if n >= c.end && c.g != nil {
		c.cancel()
		c.g.stopping.Store(true) // the cancellation reaches it on another goroutine otherwise
	}
	return n
}

// simulate runs a generator against the fake for a time and returns its windows.
func simulate(t *testing.T, c Config, s *fakeSession, nanos int64) (*Generator, []record.Window, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.c = &simClock{t: 1_000 * second}
	end := &endAt{simClock: s.c, end: s.c.t + nanos, cancel: cancel}
	c.clock = end
	path := filepath.Join(t.TempDir(), "windows")
	var err error
	if c.Records, err = record.CreateWindows(path, record.WindowHeader{Node: c.Node}); err != nil {
		t.Fatal(err)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	end.g = g
	runErr := g.Run(ctx, s)
	if err := c.Records.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := record.ReadWindows(path)
	if err != nil {
		t.Fatal(err)
	}
	return g, f.Windows, runErr
}

func sum(ws []record.Window) (t Totals) {
	for _, w := range ws {
		t.Reads += w.Reads
		t.Writes += w.Writes
		t.Requests += w.Requests
		t.NotFound += w.NotFound
		for i, n := range w.Errors {
			t.Errors[i] += uint64(n)
		}
	}
	return t
}

// TestOpenLoopKeepsTheRate: what was offered was done, the windows add up to the
// totals, and the generator slept: a handful of turns a tick, not a busy loop.
func TestOpenLoopKeepsTheRate(t *testing.T) {
	for _, rate := range []float64{100, 1_234, 50_000} {
		s := &fakeSession{store: newStore(), delay: 30_000}
		acks := record.NewAcks(0, spec(t, "taobench-a").Capacity())
		g, ws, err := simulate(t, Config{Spec: spec(t, "taobench-a"), Nodes: 1, Rate: rate, Acks: acks}, s, 2*second)
		if err != nil {
			t.Fatal(err)
		}
		got, want := sum(ws), 2*rate
		if math.Abs(float64(got.Ops())-want) > rate/500+2 {
			t.Errorf("rate %v: %d done in 2 s", rate, got.Ops())
		}
		total := g.Totals()
		if total.Ops() != got.Ops() || total.Requests != got.Requests || acks.Count() != got.Writes || total.Backlog != 0 {
			t.Errorf("totals %+v, windows %+v, %d acknowledged", total, got, acks.Count())
		}
		ticks := int(2 * second / int64(tickDefault))
		if s.polls > 12*ticks || s.waits > 6*ticks {
			t.Errorf("rate %v: %d polls and %d waits in %d ticks", rate, s.polls, s.waits, ticks)
		}
		t.Logf("rate %v: %d reads, %d writes, %d requests; %d polls, %d waits, %d ticks", rate, got.Reads, got.Writes, got.Requests, s.polls, s.waits, ticks)
	}
}

// TestStallShowsInEveryOperationDueDuringIt is why the loop is open: a stall of
// half a second at 10 000 a second is in the latency of thousands of operations,
// not of one window's worth.
func TestStallShowsInEveryOperationDueDuringIt(t *testing.T) {
	begin, end := 1_001*second, 1_001*second+second/2
	s := &fakeSession{store: newStore(), delay: 20_000}
	s.hold = func(now int64) int64 {
		if now >= begin && now < end {
			return end
		}
		return 0
	}
	_, ws, err := simulate(t, Config{Spec: spec(t, "write-only"), Nodes: 1, Rate: 10_000, Window: 64}, s, 2*second)
	if err != nil {
		t.Fatal(err)
	}
	var m record.Merged
	var backlog uint32
	var gap int64
	for _, w := range ws {
		if err := m.Add(w.WriteHist, w.Write.Max); err != nil {
			t.Fatal(err)
		}
		backlog, gap = max(backlog, w.Backlog), max(gap, w.WriteGap)
	}
	// 20 000 writes, 5 000 of them due during the stall, evenly.
	if n := m.Total(); n < 19_900 || n > 20_100 {
		t.Errorf("%d writes", n)
	}
	if q := m.Quantile(0.90); q < 150_000 || q > 350_000 {
		t.Errorf("p90 is %d µs; a tenth of the writes waited longer than 300 ms", q)
	}
	if m.Max() < 495_000 || m.Max() > 510_000 || gap < second/2-second/100 || backlog < 4_800 {
		t.Errorf("max %d µs, gap %d ns, backlog %d", m.Max(), gap, backlog)
	}
	last := ws[len(ws)-2]
	if last.Backlog > 64 || last.Write.P99 > 1_000 {
		t.Errorf("at the end: backlog %d, p99 %d µs", last.Backlog, last.Write.P99)
	}
	t.Logf("p50 %d, p90 %d, max %d µs; longest gap %v; largest backlog %d", m.Quantile(0.5), m.Quantile(0.9), m.Max(), time.Duration(gap), backlog)
}

// TestRejectedOperationsAreTriedAgain: nothing is lost over an outage, the
// attempts are bounded by the rate, and latency counts from the first due time.
func TestRejectedOperationsAreTriedAgain(t *testing.T) {
	begin, end := 1_000*second+second/2, 1_001*second
	s := &fakeSession{store: newStore(), delay: 20_000}
	s.reject = func(_ *dataplane.Op, now int64) error {
		if now >= begin && now < end {
			return fmt.Errorf("%w: fenced", dataplane.ErrTryAgain)
		}
		return nil
	}
	_, ws, err := simulate(t, Config{Spec: spec(t, "taobench-a"), Nodes: 1, Rate: 4_000, Window: 100}, s, 2*second)
	if err != nil {
		t.Fatal(err)
	}
	got := sum(ws)
	if n := got.Ops(); n < 7_950 || n > 8_050 {
		t.Errorf("%d done of 8 000 offered", n)
	}
	rejections := got.Errors[record.ErrTryAgain]
	if rejections < 1_000 || rejections > 2_300 { // half a second of 4 000 a second
		t.Errorf("%d rejections", rejections)
	}
	var m record.Merged
	for _, w := range ws {
		if err := m.Add(w.ReadHist, w.Read.Max); err != nil {
			t.Fatal(err)
		}
	}
	if m.Max() < 490_000 || m.Max() > 505_000 {
		t.Errorf("longest read %d µs; one was due half a second before the end of the outage, and nothing holds it back after", m.Max())
	}
	t.Logf("%d done, %d rejections, longest %d µs", got.Ops(), rejections, m.Max())
}

func TestClosedLoopFillsTheWindow(t *testing.T) {
	s := &fakeSession{store: newStore(), delay: 100_000}
	_, ws, err := simulate(t, Config{Spec: spec(t, "write-only"), Nodes: 1, Window: 32}, s, second)
	if err != nil {
		t.Fatal(err)
	}
	// 32 at once, 100 µs each: 320 000 a second.
	if n := sum(ws).Writes; n < 300_000 || n > 325_000 {
		t.Errorf("%d writes in a second", n)
	}
	// A session that takes fewer is no reason to spin.
	s = &fakeSession{store: newStore(), delay: 100_000, window: 8}
	_, ws, err = simulate(t, Config{Spec: spec(t, "write-only"), Nodes: 1, Window: 32}, s, second/10)
	if err != nil {
		t.Fatal(err)
	}
	if got := sum(ws); got.Writes < 1_000 || got.Errors[record.ErrOverload] == 0 || s.polls > 40_000 {
		t.Errorf("%+v, %d polls", got, s.polls)
	}
}

// TestAcksNeverRunAhead: an acknowledgement table has exactly what was
// acknowledged, and nothing of writes whose outcome is unknown.
func TestAcksNeverRunAhead(t *testing.T) {
	st := newStore()
	s := &fakeSession{store: st, delay: 5_000}
	n := 0
	unknown := map[uint64]bool{}
	s.after = func(op *dataplane.Op) error {
		if n++; n%7 == 0 {
			unknown[uint64(op.TS)] = true
			return dataplane.ErrUnknown
		}
		return nil
	}
	sp := spec(t, "write-only")
	acks := record.NewAcks(0, sp.Capacity())
	_, ws, err := simulate(t, Config{Spec: sp, Nodes: 1, Rate: 20_000, Acks: acks}, s, second)
	if err != nil {
		t.Fatal(err)
	}
	got := sum(ws)
	if got.Errors[record.ErrUnknown] != uint64(len(unknown)) || got.Writes != acks.Count() {
		t.Errorf("%+v, %d unknown, %d acknowledged", got, len(unknown), acks.Count())
	}
	table := make([]uint64, sp.Keys())
	for id := range table {
		table[id] = acks.TS(uint64(id))
		if unknown[table[id]] {
			t.Fatalf("key %d: TS %#x was never acknowledged", id, table[id])
		}
	}
	var key []byte
	at := func(id uint64) uint64 { key = sp.AppendKey(key[:0], id); return uint64(st.ts[string(key)]) }
	if r := check.Acks(table, at); !r.OK() || r.Compared < 1_000 {
		t.Errorf("%+v", r)
	} else {
		t.Logf("%d keys compared, %d newer than acknowledged, %d writes unknown", r.Compared, r.Newer, len(unknown))
	}
	key = sp.AppendKey(key[:0], 10) // one write goes missing
	if acks.TS(10) == 0 {
		t.Fatal("key 10 was never written")
	}
	delete(st.ts, string(key))
	if r := check.Acks(table, at); r.OK() || r.Missing != 1 {
		t.Errorf("planted loss: %+v", r)
	}
}

func TestLoadInsertsEveryKeyOnce(t *testing.T) {
	sp := spec(t, "ycsb-a")
	st := newStore()
	rng := rand.New(rand.NewPCG(1, 1))
	for node := range 3 {
		s := &fakeSession{c: &simClock{t: second}, store: st, delay: 10_000}
		s.reject = func(*dataplane.Op, int64) error {
			return []error{nil, nil, nil, nil, dataplane.ErrTryAgain, dataplane.ErrUnknown, dataplane.ErrOverload}[rng.IntN(7)]
		}
		acks := record.NewAcks(node, sp.Capacity())
		g, err := New(Config{Spec: sp, Node: node, Nodes: 3, Acks: acks, clock: s.c})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Load(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if n := g.Totals().Writes; n != acks.Count() || n < sp.Keys()/3 {
			t.Errorf("node %d: %d writes, %d acknowledged", node, n, acks.Count())
		}
	}
	if uint64(len(st.values)) != sp.Keys() {
		t.Errorf("%d keys, want %d", len(st.values), sp.Keys())
	}
	for id := range sp.Keys() {
		if _, ok := st.values[string(sp.AppendKey(nil, id))]; !ok {
			t.Fatalf("key %d is not there", id)
		}
	}
	s := &fakeSession{c: &simClock{t: second}, store: st, reject: func(*dataplane.Op, int64) error { return dataplane.ErrNoRoom }}
	g, err := New(Config{Spec: sp, Nodes: 1, clock: s.c})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Load(t.Context(), s); !errors.Is(err, dataplane.ErrNoRoom) {
		t.Errorf("a full pool: %v", err)
	}
}

func TestWrongValueStopsTheRun(t *testing.T) {
	sp := spec(t, "ycsb-c")
	st := newStore()
	s := &fakeSession{c: &simClock{t: second}, store: st}
	g, err := New(Config{Spec: sp, Nodes: 1, clock: s.c})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, v := range st.values {
		v[len(v)/2] ^= 1 // a torn value
	}
	if _, _, err := simulate(t, Config{Spec: sp, Nodes: 1, Rate: 1_000}, s, second); !errors.Is(err, ErrWrongValue) {
		t.Errorf("%v", err)
	}
}

func TestClosedNodeEndsTheRun(t *testing.T) {
	s := &fakeSession{store: newStore()}
	s.reject = func(_ *dataplane.Op, now int64) error {
		if now > 1_000*second+second/2 {
			return dataplane.ErrClosed
		}
		return nil
	}
	_, ws, err := simulate(t, Config{Spec: spec(t, "taobench-o"), Nodes: 1, Rate: 1_000}, s, 10*second)
	if !errors.Is(err, dataplane.ErrClosed) || len(ws) > 60 {
		t.Errorf("%v after %d windows", err, len(ws))
	}
}

func TestUnansweredOperationsAreReported(t *testing.T) {
	s := &fakeSession{store: newStore(), delay: 1_000_000 * second}
	if _, _, err := simulate(t, Config{Spec: spec(t, "write-only"), Nodes: 1, Rate: 1_000, Window: 10}, s, second/10); !errors.Is(err, ErrStuck) {
		t.Errorf("%v", err)
	}
}

func TestBadConfig(t *testing.T) {
	sp := spec(t, "ycsb-d")
	for name, c := range map[string]Config{
		"no workload":     {Nodes: 1},
		"no nodes":        {Spec: sp},
		"node too large":  {Spec: sp, Node: 3, Nodes: 3},
		"window":          {Spec: sp, Nodes: 1, Window: WindowMax + 1},
		"rate":            {Spec: sp, Nodes: 1, Rate: -1},
		"rate is nothing": {Spec: sp, Nodes: 1, Rate: math.NaN()},
		"tick":            {Spec: sp, Nodes: 1, Tick: 1},
		"small table":     {Spec: sp, Nodes: 1, Acks: record.NewAcks(0, sp.Keys())},
	} {
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewWatcher(WatchConfig{}); !errors.Is(err, ErrConfig) {
		t.Errorf("no history: %v", err)
	}
}

// TestNoAllocationPerOperation counts allocations of a run of many operations,
// with the fake's own left out: it only reads, into buffers that are there.
func TestNoAllocationPerOperation(t *testing.T) {
	sp := spec(t, "taobench-a")
	s := &nullSession{}
	g, err := New(Config{Spec: sp, Nodes: 1, Acks: record.NewAcks(0, sp.Capacity())})
	if err != nil {
		t.Fatal(err)
	}
	g.s = s
	now := record.Now()
	g.start = now
	g.openWindow(now / record.WindowNanos)
	if n := testing.AllocsPerRun(2_000, func() {
		g.submitDue(now)
		g.poll()
	}); n > 0.2 { // the totals published once a window
		t.Errorf("%v allocations a turn of %d operations", n, windowDefault)
	}
	if g.err != nil || s.ops < 100_000 {
		t.Errorf("%v after %d operations", g.err, s.ops)
	}
}

// nullSession completes everything at once and keeps nothing.
type nullSession struct {
	queue [WindowMax]*dataplane.Op
	n     int
	ops   int
}

func (s *nullSession) Submit(op *dataplane.Op) error {
	op.Err = nil
	if op.Kind == dataplane.OpGet {
		op.Err = dataplane.ErrNotFound
	}
	s.queue[s.n] = op
	s.n++
	s.ops++
	return nil
}
func (s *nullSession) Kick() {}
func (s *nullSession) Poll(done []*dataplane.Op) int {
	n := copy(done, s.queue[:s.n])
	copy(s.queue[:], s.queue[n:s.n])
	s.n -= n
	return n
}
func (s *nullSession) Wait(time.Duration) bool { return true }

// BenchmarkGenerator is what the generator itself costs an operation.
func BenchmarkGenerator(b *testing.B) {
	sp := spec(b, "taobench-a")
	g, err := New(Config{Spec: sp, Nodes: 1, Window: 64, Acks: record.NewAcks(0, sp.Capacity())})
	if err != nil {
		b.Fatal(err)
	}
	s := &nullSession{}
	g.s = s
	b.ReportAllocs()
	for b.Loop() {
		g.submitDue(record.Now())
		g.poll()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(s.ops), "ns/access")
}

// TestStep: whoever calls Step himself gets what Run gives, in nanoseconds if he
// wants, and what is in flight at the end is waited for.
func TestStep(t *testing.T) {
	s := &fakeSession{store: newStore(), delay: 2_000, c: &simClock{t: 1_000 * second}}
	c := Config{Spec: spec(t, "write-only"), Nodes: 1, Window: 1, Fine: true, clock: s.c}
	path := filepath.Join(t.TempDir(), "windows")
	var err error
	if c.Records, err = record.CreateWindows(path, record.WindowHeader{Fine: true}); err != nil {
		t.Fatal(err)
	}
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	g.Begin(s)
	slept := 0
	for begun := s.c.t; s.c.t < begun+second/100; {
		awake, over := g.Step()
		if over {
			t.Fatal("over although nobody stopped it")
		}
		if !awake { // then there is an answer to come
			if s.c.t += 500; g.inFlight() == 0 {
				t.Fatal("nothing in flight and not awake")
			}
			slept++
		}
	}
	g.Stop()
	for {
		if _, over := g.Step(); over {
			break
		}
		s.c.t += 500
	}
	if err := g.Finish(); err != nil || g.inFlight() != 0 {
		t.Fatal(err, g.inFlight())
	}
	if err := c.Records.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := record.ReadWindows(path)
	if err != nil || !f.Header.Fine {
		t.Fatal(err, f.Header)
	}
	var all record.Merged
	for _, w := range f.Windows {
		if err := all.Add(w.WriteHist, w.Write.Max); err != nil {
			t.Fatal(err)
		}
	}
	// 2 µs, and what the clock moves while it is looked at.
	if n, m := sum(f.Windows).Writes, all.Quantile(0.5); n < 1000 || slept == 0 || m < 2_000 || m > 3_000 {
		t.Errorf("%d writes, slept %d times, median %d ns", n, slept, m)
	}
}
