package simulation

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"healkv/dataplane/proto"
)

// traceKinds are the runs that DrawTrace makes, by seed.
const traceKinds = 6

// DrawTrace makes a run that is small enough for TLC: three nodes, a few
// writes, most of them about when a node fails or comes back.
func DrawTrace(seed uint64, model proto.Model) (Options, *Script) {
	r := rand.New(rand.NewPCG(seed, 0x7472_6163_6573))
	o := Options{Seed: seed, Nodes: 3, Shards: 1, Model: model, Power: true, OneHost: r.IntN(2) == 0, Lease: 20 * time.Millisecond, Drift: 2 * time.Millisecond,
		Segment: 8 << 10, Ring: 64 << 10, LogBytes: 2 << 20, Keys: 1 + r.IntN(2), ValueMax: 40, Clients: 1, Millis: 260, Spin: 1, TurnMax: 4, DelayMax: pick(r, 3, 10, 40),
		CallMax: pick(r, 30, 100), Small: r.IntN(3) == 0, NoProbes: true}
	s := &Script{}
	lease := o.Lease.Microseconds()
	begin := 7 * lease
	ops := func(at, within int64, n int) {
		for range n {
			e := Entry{At: at + r.Int64N(within), Do: doPut, Node: r.IntN(o.Nodes), A: int64(r.IntN(o.Keys)), B: 16, C: 4 * lease}
			switch x := r.IntN(10); {
			case x < 2:
				e.Do = doGet
			case x < 3:
				e.Do, e.B = doDelete, 0
			case model == proto.Scope && x < 5:
				e.B |= 1 << 32
			case model == proto.Scope && x < 6:
				e.Do, e.B = doPersist, 1<<32
			}
			s.Entries = append(s.Entries, e)
		}
	}
	fault := func(do string, at, away int64, node int) {
		s.Entries = append(s.Entries, Entry{At: at, Do: do, Node: node, Other: (node + 1) % o.Nodes, A: away, B: int64(r.IntN(tornKinds))})
		ops(at-60, 100, 3) // under way when it happens
		ops(at+away/2, 300, 2)
	}
	node := r.IntN(o.Nodes)
	away := pick(r, lease/2, 2*lease, 3*lease) + r.Int64N(lease/4)
	at := begin + 1000
	ops(begin, 800, 3)
	switch seed % traceKinds {
	case 0:
		fault(doCrash, at, away, node)
	case 1:
		fault(doPower, at, away, node)
	case 2: // dies again on its way back, or its buddy does
		fault(doPower, at, away, node)
		s.Entries = append(s.Entries, Entry{At: at + 10, Do: doAtStep, Node: node, A: 2 * lease, B: pick[int64](r, 1, 3, 4, 8), C: pick[int64](r, 0, 1), Other: 1})
	case 3:
		fault(pick(r, doPowerAll, doPowerAll, doCrashAll), at, 2*lease, node)
	case 4:
		o.FullCopy = true
		fault(doCrash, at, away, node)
	case 5: // one after the other
		fault(doCrash, at, away, node)
		fault(doPower, at+away+2*lease, away, (node+1)%o.Nodes)
	}
	for range 3 { // when it comes back
		ops(at+away+r.Int64N(2*lease), 200, 2)
	}
	ops(at+away+4*lease, 400, 2)
	s.sort()
	return o, s
}

// traceTS is a timestamp as docs/spec/Trace.tla composes it.
func traceTS(ts proto.TS) int {
	if ts == 0 {
		return 0
	}
	return int(ts.Epoch())*1000 + int(ts.Version())*10 + int(ts.Node()) + 1
}

// Write writes the trace as one element of TraceData's Traces, in the words of
// docs/spec/traces/TraceWords.tla.
func (t *Trace) Write(out io.Writer) error {
	b := bufio.NewWriter(out)
	lines := func(n int, each func(i int) string) {
		for i := range n {
			if i > 0 {
				fmt.Fprint(b, ",")
			}
			fmt.Fprintf(b, "\n  %s", each(i))
		}
	}
	fmt.Fprintf(b, "[name |-> %q, views |-> <<", t.Name)
	lines(len(t.Views), func(i int) string { return t.Views[i].tla() })
	fmt.Fprint(b, ">>,\nstart |-> <<")
	lines(len(t.Start), func(i int) string { return t.Start[i].tla() })
	fmt.Fprint(b, ">>,\nlines |-> <<")
	lines(len(t.Lines), func(i int) string { return t.Lines[i].tla() })
	fmt.Fprint(b, ">>]\n")
	return b.Flush()
}

func (l *traceLine) tla() string {
	switch l.kind {
	case lineTurn:
		return fmt.Sprintf("T(%d, %s)", l.node, l.obs.tla())
	case lineView:
		return fmt.Sprintf("W(%s, %s)", tlaBool(!l.view.unknown), l.view.tla())
	case lineRestart:
		return fmt.Sprintf("B(%d, %s, %s)", l.node, tlaBool(l.full), l.obs.tla())
	case lineAnswered, lineRead:
		return fmt.Sprintf("A(%q, %d, %d, %d)", l.kind, l.node, l.key+1, traceTS(l.ts))
	}
	return fmt.Sprintf("L(%q, %d)", l.kind, l.node)
}

func (v *traceView) tla() string {
	set := func(s proto.NodeSet) string {
		return tlaList("{", "}", s.Nodes(nil), func(n proto.NodeID) string { return fmt.Sprint(int(n) + 1) })
	}
	return fmt.Sprintf("V(%s, %s, %s, %s, %s)", set(v.live), set(v.shadow), tlaList("<<", ">>", v.inc, func(i int) string { return fmt.Sprint(i) }),
		tlaList("<<", ">>", v.until, func(e proto.Epoch) string { return fmt.Sprint(e) }), tlaBool(v.cold))
}

func (o *traceObs) tla() string {
	return fmt.Sprintf("O(%d, %d, %d, %d, %d, %s, %d, %d, %d, %s, %s, %s)", o.epoch, o.sent, o.visible, o.stable, o.length,
		tlaList("<<", ">>", o.add, func(r traceRec) string { return r.tla() }), o.flushed, o.stabled, o.pinned,
		tlaList("<<", ">>", o.keys, func(k traceKey) string { return fmt.Sprintf("<<%d,%d>>", k.pos, k.lock) }),
		tlaList("{", "}", o.forward, func(x [2]int) string { return fmt.Sprintf("<<KeyAt[%d],%d>>", x[0]+1, x[1]) }),
		tlaList("<<", ">>", o.streams, func(s traceStream) string {
			if !s.in {
				return "<<0,0,0,0>>"
			}
			return fmt.Sprintf("<<1,%d,%d,%d>>", s.applied, s.visible, s.stable)
		}))
}

func (r *traceRec) tla() string {
	if r.marker != 0 {
		return fmt.Sprintf("M(%d, %s)", r.marker, tlaList("<<", ">>", r.list, func(x [2]int) string { return fmt.Sprintf("<<%d,%d>>", x[0], x[1]) }))
	}
	return fmt.Sprintf("R(%d, %d, %d, %d, %d, %s)", r.key+1, traceTS(r.ts), r.owner, r.inc, r.seq, tlaBool(r.adopted))
}

func tlaBool(b bool) string {
	if b {
		return "TRUE"
	}
	return "FALSE"
}

func tlaList[T any](open, end string, list []T, each func(T) string) string {
	s := open
	for i, x := range list {
		if i > 0 {
			s += ", "
		}
		s += each(x)
	}
	return s + end
}
