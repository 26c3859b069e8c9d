package simulation

import (
	"encoding/binary"
	"fmt"
	"sort"

	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// Trace is what one run showed of shard 0, in the words of docs/spec/Heal.tla:
// nodes from 1, log and stream positions as counts of entries. It begins when
// all nodes are live and nothing is written. docs/spec/Trace.tla says what each
// line must match.
type Trace struct {
	Name  string
	Views []traceView // by epoch, from 1: those before the first line
	Start []traceObs  // by node
	Lines []traceLine
	// Unusable says why the run cannot be followed: what it did has no place in
	// the specification, or nobody saw it.
	Unusable string
}

// What a line tells.
const (
	lineTurn     = "turn"     // a part of a worker's turn, and what the node shows then
	lineView     = "view"     // a view was decided
	lineCrash    = "crash"    // the process ended, with or without the power
	lineRestart  = "restart"  // a new life opened the pool
	lineDiscard  = "discard"  // it discarded the records, for a full copy
	lineBegun    = "begun"    // a transfer begins at the recovering node
	lineFetched  = "fetched"  // the buddy has confirmed the end of it
	lineAnswered = "answered" // a client got the answer to its write
	lineRead     = "read"     // a client was given a value
)

type traceLine struct {
	kind string
	node int // from 1
	full bool
	view traceView
	obs  traceObs
	key  int
	ts   proto.TS
}

type traceView struct {
	live, shadow proto.NodeSet
	inc          []int
	until        []proto.Epoch
	cold         bool
	unknown      bool // nobody saw it: only that there was one
}

// traceRec is one entry of the log.
type traceRec struct {
	marker       proto.Epoch // 0: a record
	list         [][2]int
	key          int
	ts           proto.TS
	owner, inc   int
	seq          int
	adopted      bool
	bytePos, end uint64
}

const (
	unlocked = iota
	locked
	eitherWay // the owner's stream is not taken yet: see Shard.Fed
)

type traceKey struct{ pos, lock int }

type traceStream struct {
	in                       bool
	applied, visible, stable int
}

// traceObs is what a node shows.
type traceObs struct {
	epoch            proto.Epoch
	sent             int // entries in the own stream
	visible, stable  int
	length           int        // of the log
	add              []traceRec // its end, since the line before
	flushed, stabled int
	pinned           int // 1 more than the position at which a range is pinned; 0: none
	keys             []traceKey
	forward          [][2]int
	streams          []traceStream
}

// same says whether two observations show the same but for what was appended.
func (o *traceObs) same(p *traceObs) bool {
	a, b := *o, *p
	a.add, b.add = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// traceLife is one life of a node in the specification's count.
type traceLife struct {
	inc  int
	ends []uint64 // of its stream's entries
}

type traceNode struct {
	up   bool // as the trace has told
	life proto.Member
	incs int
	log  []traceRec
	last traceObs
}

// tracer writes a Trace down. It is asked by the simulator between the parts of
// a worker's turn, changes nothing, and takes no random numbers.
type tracer struct {
	w      *world
	t      *Trace
	nodes  []traceNode
	lives  map[proto.Member]*traceLife
	epochs proto.Epoch // told
	seen   replica.Observation
	keys   map[uint64]int
	begun  bool
}

// unusable unwinds to the tracer's caller.
type unusable struct{ why string }

func (t *tracer) give(format string, args ...any) { panic(unusable{fmt.Sprintf(format, args...)}) }

// on runs f if the trace goes on.
func (t *tracer) on(f func()) {
	if t == nil || !t.begun || t.t.Unusable != "" || t.w.ended {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			u, ok := r.(unusable)
			if !ok {
				panic(r)
			}
			t.t.Unusable = u.why
		}
	}()
	f()
}

// start begins the trace, just before the first operation.
func (t *tracer) start() {
	if t == nil || t.begun {
		return
	}
	t.begun = true
	t.on(func() {
		w := t.w
		if why := w.unquiet(); why != "" {
			t.give("not quiet at the first operation: %s", why)
		}
		t.keys, t.lives = map[uint64]int{}, map[proto.Member]*traceLife{}
		for k := range w.o.Keys {
			t.keys[keyHashes[k]] = k
		}
		t.nodes = make([]traceNode, w.o.Nodes)
		for i, m := range w.nodes {
			n := &t.nodes[i]
			self := m.p.life.self
			*n = traceNode{up: true, life: self, incs: 1}
			t.lives[self] = &traceLife{inc: 1}
		}
		for e := proto.Epoch(1); e <= w.newest.Epoch; e++ {
			t.t.Views = append(t.t.Views, t.view(e))
		}
		t.epochs = w.newest.Epoch
		for i, m := range w.nodes {
			d := m.p.life.drivers[0]
			n := &t.nodes[i]
			n.last = t.observe(d)
			t.t.Start = append(t.t.Start, n.last)
		}
	})
}

// view is the view of an epoch as the trace tells it.
func (t *tracer) view(e proto.Epoch) (x traceView) {
	if int(e) >= len(t.w.views) || t.w.views[e].Epoch == 0 {
		return traceView{unknown: true}
	}
	v := &t.w.views[e]
	x = traceView{live: v.Live, shadow: v.Shadow, cold: v.Cold}
	for n := range t.w.nodes {
		inc := 0
		if l := t.lives[v.Member(proto.NodeID(n))]; l != nil {
			inc = l.inc
		}
		x.inc, x.until = append(x.inc, inc), append(x.until, v.LiveUntil[n])
	}
	return x
}

func (t *tracer) line(l traceLine) { t.t.Lines = append(t.t.Lines, l) }

// sawView tells of the views up to the newest.
func (t *tracer) sawView() {
	t.on(func() {
		w := t.w
		for t.epochs < w.newest.Epoch {
			t.epochs++
			if int(t.epochs) < len(w.views) && w.views[t.epochs].Epoch != 0 {
				v := &w.views[t.epochs]
				for _, n := range v.Members().Nodes(nil) {
					t.restarted(v.Member(n), false)
				}
			}
			t.line(traceLine{kind: lineView, view: t.view(t.epochs)})
		}
	})
}

// restarted tells of a new life, when somebody else is about to: until then
// what its node sent before may still be on its way.
func (t *tracer) restarted(who proto.Member, full bool) {
	if t.lives[who] != nil {
		return
	}
	m := t.w.nodes[who.Node]
	if m.p == nil || m.p.life == nil || m.p.life.self != who {
		t.give("life %v was gone before its first view was known", who)
	}
	n := &t.nodes[who.Node]
	n.incs++
	n.up, n.life = true, who
	t.lives[who] = &traceLife{inc: n.incs}
	pool := m.p.life.pools[0]
	n.log = n.log[:0]
	t.read(n, pool, func(*record.Header) {})
	o := traceObs{keys: t.index(n, pool), length: len(n.log), add: append([]traceRec(nil), n.log...),
		flushed: t.rank(n, pool.Store().Flushed()), stabled: t.rank(n, pool.Stable()), streams: make([]traceStream, t.w.o.Nodes)}
	n.last = o
	t.line(traceLine{kind: lineRestart, node: int(who.Node) + 1, full: full, obs: o})
}

// enter tells of a life that is about to enter.
func (t *tracer) enter(l *life, full bool) {
	t.on(func() { t.restarted(l.self, full) })
}

// entered tells of a life that has.
func (t *tracer) entered(l *life, full bool) {
	t.on(func() {
		if full {
			n := &t.nodes[l.self.Node]
			n.log, n.last.length = n.log[:0], 0
			t.line(traceLine{kind: lineDiscard, node: int(l.self.Node) + 1})
		}
	})
}

// crashed tells of the end of a process.
func (t *tracer) crashed(m *machine) {
	t.on(func() {
		if n := &t.nodes[m.id]; n.up {
			n.up = false
			t.line(traceLine{kind: lineCrash, node: m.id + 1})
		}
	})
}

// event tells of a step of a recovery.
func (t *tracer) event(l *life, name string) {
	t.on(func() {
		switch name {
		case "transfer_begun":
			t.line(traceLine{kind: lineBegun, node: int(l.self.Node) + 1})
		case "transfer_done":
			t.line(traceLine{kind: lineFetched, node: int(l.self.Node) + 1})
		}
	})
}

func (t *tracer) answered(kind string, node, key int, ts proto.TS) {
	t.on(func() { t.line(traceLine{kind: kind, node: node + 1, key: key, ts: ts}) })
}

// turn tells what a worker shows, if that is something new.
func (t *tracer) turn(d *driver) {
	t.on(func() {
		n := &t.nodes[d.p.m.id]
		if d.shard != 0 || d.l.self != n.life || d.w.Replica() == nil {
			return
		}
		o := t.observe(d)
		if len(o.add) == 0 && o.same(&n.last) {
			return
		}
		n.last = o
		t.line(traceLine{kind: lineTurn, node: d.p.m.id + 1, obs: o})
	})
}

func (t *tracer) observe(d *driver) (o traceObs) {
	n := &t.nodes[d.p.m.id]
	s, pool := &t.seen, d.w.Pool()
	d.w.Replica().Observe(s)
	life := t.lives[n.life]
	was := len(n.log)
	t.stream(life, n, d, was)
	o = traceObs{epoch: s.View, sent: len(life.ends), visible: t.count(life, s.Visible), stable: t.count(life, s.Stable),
		length: len(n.log), add: append([]traceRec(nil), n.log[was:]...), flushed: t.rank(n, pool.Store().Flushed()), stabled: t.rank(n, s.StablePos)}
	if pin := d.w.Pinned(); pin != ^uint64(0) {
		o.pinned = 1 + t.rank(n, pin)
	}
	o.keys = t.index(n, pool)
	for _, p := range s.Lent {
		if k := &o.keys[t.keys[p.Hash]]; k.pos == t.number(n, p.Pos) {
			k.lock = eitherWay
		}
	}
	for _, p := range s.Forward {
		o.forward = append(o.forward, [2]int{t.keys[p.Hash], t.number(n, p.Pos)})
	}
	sort.Slice(o.forward, func(i, j int) bool { return o.forward[i][0] < o.forward[j][0] })
	for c := range t.w.o.Nodes {
		x := &s.Streams[c]
		if !x.In {
			o.streams = append(o.streams, traceStream{})
			continue
		}
		l := t.lives[x.Member]
		if l == nil {
			t.give("node %d takes the stream of %v, of which nothing is known", d.p.m.id, x.Member)
		}
		o.streams = append(o.streams, traceStream{true, t.count(l, x.Applied), t.count(l, x.Visible), t.count(l, x.Stable)})
	}
	return o
}

// stream brings the log and the list of the own stream's entries up to date.
// What lies between two records of the own stream are PERSISTs, which are in no
// log.
func (t *tracer) stream(l *traceLife, n *traceNode, d *driver, was int) {
	pool, self := d.w.Pool(), d.l.self
	at := func() uint64 {
		if len(l.ends) == 0 {
			return 0
		}
		return l.ends[len(l.ends)-1]
	}
	fill := func(to uint64) {
		for at() < to {
			if to-at() < record.HeaderBytes {
				t.give("the stream of %v has a gap", self)
			}
			l.ends = append(l.ends, at()+record.HeaderBytes)
		}
	}
	t.read(n, pool, func(h *record.Header) {
		if h.Kind != record.Marker && h.OwnerNode == uint8(self.Node) && h.OwnerIncarnation == uint32(self.Incarnation) && h.Seq > at() {
			fill(h.Seq - uint64(h.Bytes()))
			l.ends = append(l.ends, h.Seq)
		}
	})
	fill(d.ep.Out().Tail())
}

// read takes what was appended to a log since the last time.
func (t *tracer) read(n *traceNode, pool *pmem.Pool, each func(*record.Header)) {
	log := pool.Store().Log()
	from := log.Oldest()
	if len(n.log) > 0 {
		from = n.log[len(n.log)-1].end
	}
	err := log.Scan(from, log.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
		each(h)
		r := traceRec{bytePos: pos, end: pos + uint64(h.Bytes())}
		switch h.Kind {
		case record.Marker:
			r.marker = proto.Epoch(h.Epoch)
			for b := record.Value(img); len(b) > 0; b = b[12:] {
				r.list = append(r.list, [2]int{int(binary.LittleEndian.Uint32(b)), t.rank(n, binary.LittleEndian.Uint64(b[4:]))})
			}
		default:
			l := t.lives[proto.Member{Node: proto.NodeID(h.OwnerNode), Incarnation: proto.Incarnation(h.OwnerIncarnation)}]
			if l == nil {
				t.give("a record of life %d.%d, of which nothing is known", h.OwnerNode, h.OwnerIncarnation)
			}
			r.key, r.ts, r.owner, r.inc = t.keys[h.Hash], proto.TS(h.TS), int(h.OwnerNode)+1, l.inc
			r.seq, r.adopted = t.count(l, h.Seq), h.Flags&record.FlagAdopted != 0
		}
		n.log = append(n.log, r)
		return true
	})
	if err != nil {
		t.give("log: %v", err)
	}
}

// rank is how many entries of the log lie below a position.
func (t *tracer) rank(n *traceNode, pos uint64) int {
	return sort.Search(len(n.log), func(i int) bool { return n.log[i].bytePos >= pos })
}

// number is the entry at a position, from 1.
func (t *tracer) number(n *traceNode, pos uint64) int {
	i := t.rank(n, pos)
	if i == len(n.log) || n.log[i].bytePos != pos {
		t.give("nothing stands at log position %d", pos)
	}
	return i + 1
}

// count is how many entries of a stream end at or below a position.
func (t *tracer) count(l *traceLife, pos uint64) int {
	i := sort.Search(len(l.ends), func(i int) bool { return l.ends[i] > pos })
	if pos != 0 && (i == 0 || l.ends[i-1] != pos) {
		t.give("no entry ends at stream position %d", pos)
	}
	return i
}

// index is what each key's word says. The log must have been read.
func (t *tracer) index(n *traceNode, pool *pmem.Pool) []traceKey {
	keys := make([]traceKey, t.w.o.Keys)
	if len(n.log) == 0 {
		return keys
	}
	var e store.Entry
	for k := range keys {
		pool.Store().Find(&e, keyHashes[k], keyNames[k])
		if e.OK {
			keys[k].pos = t.number(n, e.Pos)
			if e.Locked {
				keys[k].lock = locked
			}
		}
	}
	return keys
}
