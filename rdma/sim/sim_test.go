package sim

import (
	"testing"
	"time"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// fabric runs the suite over a network; every Settle lets all arrive.
func fabric(o Options) func(t *testing.T) conformance.Fabric {
	return func(t *testing.T) conformance.Fabric {
		n := New(o)
		return conformance.Fabric{
			New: func(node int, incarnation uint32) rdma.Endpoint {
				e, err := n.Endpoint(Config{Node: node, Nodes: conformance.Nodes, Incarnation: incarnation, RingBytes: conformance.RingBytes})
				if err != nil {
					t.Fatal(err)
				}
				return e
			},
			Settle: n.Settle,
			Expose: func(e rdma.Endpoint, mem []byte) { e.(*Endpoint).Expose(mem) },
			Sleep: func(x rdma.Endpoint, before, during func()) {
				e := x.(*Endpoint)
				e.PrepareSleep()
				before()
				e.Sleep(-1)
				during()
				if e.Asleep() {
					t.Fatal("lost wake-up")
				}
			},
		}
	}
}

func TestConformance(t *testing.T) {
	for seed := range uint64(2) {
		conformance.Run(t, fabric(Options{Seed: seed}))
		conformance.Run(t, fabric(Options{Seed: seed, DelayMin: 1, DelayMax: 40, TearMarks: true}))
	}
}

func end(t *testing.T, n *Net, node int, inc uint32) *Endpoint {
	t.Helper()
	e, err := n.Endpoint(Config{Node: node, Nodes: 3, Incarnation: inc, RingBytes: 1 << 14})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func join(t *testing.T, a, b *Endpoint) {
	t.Helper()
	l, err := a.Prepare(b.cfg.Node, b.cfg.Incarnation)
	if err != nil {
		t.Fatal(err)
	}
	a.Attach(l)
}

// trio is node 0 feeding nodes 1 and 2.
func trio(t *testing.T, o Options) (*Net, *Endpoint, *Endpoint, *Endpoint) {
	n := New(o)
	a, b, c := end(t, n, 0, 1), end(t, n, 1, 1), end(t, n, 2, 1)
	for _, p := range []*Endpoint{b, c} {
		join(t, a, p)
		join(t, p, a)
		a.Feed(p.cfg.Node, 0)
	}
	n.Settle()
	b.Poll()
	c.Poll()
	return n, a, b, c
}

func put(t *testing.T, e *Endpoint, fill byte, n int) {
	t.Helper()
	dst, _, ok := e.Out().Next(n)
	if !ok {
		t.Fatal("ring full")
	}
	for i := range dst {
		dst[i] = fill
	}
	e.Publish()
}

func window(t *testing.T, e *Endpoint, peer int) []byte {
	t.Helper()
	e.Poll()
	w, err := e.Mirror(peer).Window()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDelayIsKept(t *testing.T) {
	n, a, b, c := trio(t, Options{Seed: 1})
	n.SetDelay(0, 1, 10, 10)
	n.SetDelay(0, 2, 3, 3)
	put(t, a, 1, 16)
	for tick := uint64(1); tick <= 12; tick++ {
		n.Tick()
		if got, want := window(t, b, 0) != nil, tick > 10; got != want {
			t.Fatalf("tick %d: at node 1 %v", tick, got)
		}
		if got, want := window(t, c, 0) != nil, tick > 3; got != want {
			t.Fatalf("tick %d: at node 2 %v", tick, got)
		}
	}
}

func TestCutHoldsBackAndMendDelivers(t *testing.T) {
	n, a, b, c := trio(t, Options{Seed: 2, DelayMax: 5})
	n.Cut(0, 1)
	m := rdma.Marks{Visible: 7}
	for i := range 20 {
		put(t, a, byte(i), 16)
		a.PublishMarks(1, &m)
		m.Visible++
		n.Advance(10)
	}
	if window(t, b, 0) != nil || len(window(t, c, 0)) != 20*16 {
		t.Fatal("cut: node 1 got something, or node 2 not all")
	}
	back := rdma.Marks{Applied: 9} // the other direction works
	b.PublishMarks(0, &back)
	n.Settle()
	var got rdma.Marks
	if a.Marks(1, &got); got != back {
		t.Fatalf("marks against the cut: %+v", got)
	}
	n.Mend(0, 1)
	n.Settle()
	b.Marks(0, &got)
	if len(window(t, b, 0)) != 20*16 || got.Visible != 26 {
		t.Fatalf("after Mend: %d bytes, %+v", len(window(t, b, 0)), got)
	}
}

func TestPause(t *testing.T) {
	n, a, b, c := trio(t, Options{Seed: 3})
	n.Pause(1)
	b.PrepareSleep()
	b.Sleep(2 * time.Microsecond)
	put(t, a, 1, 16)
	a.WakePeers()
	n.Advance(50)
	if !b.Asleep() || window(t, b, 0) != nil || window(t, c, 0) == nil {
		t.Fatal("a paused node got something, or another did not")
	}
	n.Resume(1)
	n.Advance(5)
	if b.Asleep() || window(t, b, 0) == nil {
		t.Fatal("a resumed node got nothing")
	}
}

func TestDamage(t *testing.T) {
	for seed := range uint64(200) {
		n, a, b, c := trio(t, Options{Seed: seed})
		n.Corrupt(0, 1)
		put(t, a, 0xAA, 64)
		n.Settle()
		flipped := 0
		for _, x := range window(t, b, 0) {
			for d := x ^ 0xAA; d != 0; d &= d - 1 {
				flipped++
			}
		}
		if flipped != 1 {
			t.Fatalf("seed %d: %d bits flipped, want 1", seed, flipped)
		}
		n.Truncate(0, 2)
		put(t, a, 0xBB, 64)
		n.Settle()
		w := window(t, c, 0)
		missing := 0
		for i, x := range w[64:] {
			if x != 0xBB {
				missing++
			} else if missing > 0 {
				t.Fatalf("seed %d: byte %d is there after a missing one", seed, i)
			}
		}
		if len(w) != 128 || missing == 0 {
			t.Fatalf("seed %d: %d bytes with %d missing", seed, len(w), missing)
		}
		if s := n.Stats(); s.Corrupted != 1 || s.Truncated != 1 {
			t.Fatalf("%+v", s)
		}
	}
}

// A torn line has the new Epoch, and becomes whole.
func TestTornMarks(t *testing.T) {
	torn := 0
	for seed := range uint64(50) {
		n, a, b, _ := trio(t, Options{Seed: seed, DelayMax: 3, TearMarks: true})
		for i := uint64(1); i < 20; i++ {
			m := rdma.Marks{Epoch: i, Visible: i, Stable: i, Applied: i, Durable: i, Room: i, Settled: i, Flushed: i}
			a.PublishMarks(1, &m)
			for !n.Quiet() {
				n.Tick()
				var got rdma.Marks
				b.Marks(0, &got)
				for _, x := range []uint64{got.Visible, got.Stable, got.Applied, got.Durable, got.Room, got.Settled, got.Flushed} {
					if x > got.Epoch {
						t.Fatalf("seed %d: %+v: a number newer than its epoch", seed, got)
					}
					if x < got.Epoch {
						torn++
					}
				}
			}
			var got rdma.Marks
			if b.Marks(0, &got); got != m {
				t.Fatalf("seed %d: %+v, want %+v", seed, got, m)
			}
		}
	}
	if torn < 100 {
		t.Fatalf("only %d torn numbers seen", torn)
	}
	t.Logf("%d torn numbers seen", torn)
}

// What a killed node had published arrives up to some point, and the stream
// that does is whole.
// A line that arrives half written is whole before the wake-up that follows it
// rings: whoever looked in between went to sleep again.
func TestWakeUpFollowsATornLine(t *testing.T) {
	torn := uint64(0)
	for seed := range uint64(50) {
		n, a, b, _ := trio(t, Options{Seed: seed, DelayMax: 3, TearMarks: true})
		n.Settle()
		for i := uint64(1); i < 20; i++ {
			b.PrepareSleep()
			b.Sleep(-1)
			m := rdma.Marks{Epoch: 1, Visible: i, Stable: i, Applied: i, Durable: i, Room: i, Settled: i, Flushed: i}
			a.PublishMarks(1, &m)
			a.WakePeers()
			for b.Asleep() && !n.Quiet() {
				n.Tick()
			}
			var got rdma.Marks
			if b.Marks(0, &got); b.Asleep() || got != m {
				t.Fatalf("seed %d: asleep %v with %+v, want %+v", seed, b.Asleep(), got, m)
			}
			n.Settle()
		}
		torn += n.Stats().Torn
	}
	if torn == 0 {
		t.Error("no line was torn")
	}
}

func TestKill(t *testing.T) {
	all, none, some := 0, 0, 0
	for seed := range uint64(200) {
		n, a, b, _ := trio(t, Options{Seed: seed, DelayMin: 5, DelayMax: 20})
		for i := range 10 {
			put(t, a, byte(i), 16)
		}
		n.Kill(0, 1)
		n.Settle()
		w := window(t, b, 0)
		for i, x := range w {
			if x != byte(i/16) {
				t.Fatalf("seed %d: byte %d is %d", seed, i, x)
			}
		}
		switch len(w) {
		case 160:
			all++
		case 0:
			none++
		default:
			some++
		}
		if _, err := b.Prepare(0, 1); err == nil {
			t.Fatal("a killed life can be prepared")
		}
	}
	if all == 0 || none == 0 || some == 0 {
		t.Fatalf("all %d, some %d, none %d: not all of them seen", all, some, none)
	}
	t.Logf("all %d, some %d, none %d", all, some, none)
}

// A producer that reclaims too early is noticed, and one that does not is not.
func TestEarlyReclaimIsNoticed(t *testing.T) {
	n, a, b, c := trio(t, Options{Seed: 4})
	put(t, a, 1, 64)
	n.Settle()
	b.Poll()
	c.Poll()
	if s := n.Stats(); s.EarlyReclaims != 0 {
		t.Fatalf("%+v", s)
	}
	b.Mirror(0).Advance(64)
	a.Out().Reclaim(64)
	b.Poll()
	if s := n.Stats(); s.EarlyReclaims != 0 {
		t.Fatalf("%+v", s)
	}
	c.Poll()
	if s := n.Stats(); s.EarlyReclaims != 1 {
		t.Fatalf("%+v", s)
	}
}

// Equal seeds, equal runs; another seed, another run.
func TestDeterministic(t *testing.T) {
	run := func(seed uint64) (trace []uint64) {
		n, a, b, c := trio(t, Options{Seed: seed, DelayMax: 30, TearMarks: true})
		m := rdma.Marks{}
		for i := range 300 {
			if i%3 == 0 && a.Out().Room() > 1024 {
				put(t, a, byte(i), 16*(1+i%4))
				m.Visible, m.Epoch = a.Out().Tail(), uint64(i)
				a.PublishMarks(1+i%2, &m)
				a.WakePeers()
			}
			n.Tick()
			for _, e := range []*Endpoint{b, c} {
				e.Poll()
				var got rdma.Marks
				e.Marks(0, &got)
				trace = append(trace, e.Mirror(0).Limit(), got.Visible, got.Epoch)
			}
		}
		return trace
	}
	x, y, z := run(9), run(9), run(10)
	same := true
	for i := range x {
		if x[i] != y[i] {
			t.Fatalf("equal seeds differ at %d", i)
		}
		same = same && x[i] == z[i]
	}
	if same {
		t.Fatal("another seed made the same run")
	}
}

// A worker that does not look once more sleeps for ever: the simulation shows
// it.
func TestLostWakeUpShows(t *testing.T) {
	n, a, b, _ := trio(t, Options{Seed: 5})
	a.WakePeers()
	n.Settle()
	put(t, a, 1, 16) // published, nobody woken
	b.PrepareSleep()
	b.Sleep(-1)
	n.Settle()
	n.Advance(1000)
	if !b.Asleep() {
		t.Fatal("woken by nobody")
	}
	a.WakePeers()
	n.Settle()
	if b.Asleep() {
		t.Fatal("not woken")
	}
	b.PrepareSleep()
	b.Sleep(10 * time.Microsecond)
	n.Advance(9)
	if !b.Asleep() {
		t.Fatal("woken before its time")
	}
	n.Advance(1)
	if b.Asleep() {
		t.Fatal("timeout did not end the sleep")
	}
}

// AdvanceTo leaves ticks out and nothing else: the same arrives at the same
// time.
func TestAdvanceToIsManyTicks(t *testing.T) {
	run := func(seed uint64, skip bool) (trace []uint64) {
		n, a, b, c := trio(t, Options{Seed: seed, DelayMax: 300, TearMarks: true})
		for i := range 200 {
			if i%5 == 0 && a.Out().Room() > 1024 {
				put(t, a, byte(i), 16)
				a.PublishMarks(1+i%2, &rdma.Marks{Visible: a.Out().Tail(), Epoch: uint64(i)})
				a.WakePeers()
			}
			switch i % 40 {
			case 10:
				n.Cut(0, 1)
			case 20:
				n.Pause(2)
			case 30:
				n.Mend(0, 1)
				n.Resume(2)
			case 35:
				c.PrepareSleep()
				c.Sleep(77 * time.Microsecond)
			}
			if skip {
				n.AdvanceTo(n.Now() + 50)
			} else {
				n.Advance(50)
			}
			for _, e := range []*Endpoint{b, c} {
				e.Poll()
				var got rdma.Marks
				e.Marks(0, &got)
				trace = append(trace, e.Mirror(0).Limit(), got.Visible, got.Epoch, uint64(e.state), n.Stats().Deliveries)
			}
		}
		return trace
	}
	for seed := range uint64(20) {
		x, y := run(seed, false), run(seed, true)
		for i := range x {
			if x[i] != y[i] {
				t.Fatalf("seed %d: number %d is %d by ticks, %d by leaps", seed, i, x[i], y[i])
			}
		}
	}
}
