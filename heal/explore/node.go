package explore

import (
	"encoding/binary"
	"fmt"

	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal/rejoin"
	"healkv/pmem/record"
	"healkv/rdma"
	"healkv/rdma/ring"
)

const (
	ringBytes  = 4096
	handlesMax = 8
)

// life is what a node knows outside of its replica, log and machine, in plain
// numbers. What is not up has only the second half.
type life struct {
	up, entered   bool
	served        bool // live: the machine is finished
	leased        bool
	serving       bool
	blank         bool
	newest        viewID // known to the life
	installed     viewID
	machine       uint32
	attached      [nodesMax]proto.Incarnation
	fed           [nodesMax]uint64 // from where the peer reads this stream, +1
	links         [nodesMax]proto.Incarnation
	kept          [nodesMax]rangeFor
	sent          [nodesMax]rdma.Marks
	phase         phase // of the transfer
	buddy         proto.Member
	full          bool // transfer
	puts          uint8
	ops           [opsMax]op
	answeredScope [keysMax]proto.TS // newest answered write of the scope, by key

	self     proto.Member // the last life, if not up
	super    super
	stable   uint64 // last SetStable: survives the process, not the power
	lossy    bool   // lost power as a live member, not live since
	nextFull bool   // the next life heals by full copy
	ghost    [nodesMax]uint32
}

// rangeFor is a missed range that is kept readable for a member; at is how far
// it is listed.
type rangeFor struct {
	inc proto.Incarnation
	at  uint64
}

type phase uint8

const (
	idle   phase = iota
	asked        // the buddy keeps the range
	part         // listed as the log stood at one moment
	listed       // and what came until then, in one step with the buddy's worker
	failed       // what is on its way is still adopted
)

type opKind uint8

const (
	noOp opKind = iota
	opPut
	opDelete
	opPersist
	opGet
)

// op is a client's operation under way.
type op struct {
	kind opKind
	key  uint8
	bar  [keysMax]proto.TS // of a get: nothing older may come; of a PERSIST: what is to be durable
	at   uint64            // of a get that waits: the record it found
}

// offered is a verified record of the buddy on its way to the worker.
type offered struct {
	img    []byte
	locked bool
}

// node is one live object: real replica, store and machine in the state of one
// local state at a time.
type node struct {
	e     *Explorer
	id    proto.NodeID
	holds uint32 // local state
	life
	disk
	rep   *replica.Shard
	mem   []byte
	out   *ring.Out
	wire  []byte // a peer's published bytes, where its ring has them
	m     rejoin.Machine
	left  []leftover
	offer []offered
	eff   effects
}

// violation is what a check found wrong.
type violation struct{ text string }

func fail(format string, args ...any) { panic(violation{fmt.Sprintf(format, args...)}) }

func newNode(e *Explorer, id proto.NodeID) *node {
	n := &node{e: e, id: id, disk: *newDisk(), mem: make([]byte, ringBytes), wire: make([]byte, ringBytes)}
	n.out = ring.NewOut(n.mem)
	n.rep = replica.New(e.c.Model.Gates(), n.st, handlesMax)
	n.super.complete = true
	return n
}

func (n *node) view(id viewID) *proto.View { return &n.e.views[id] }

// begin starts a life: recovered log, new incarnation, nothing entered yet.
func (n *node) begin(inc proto.Incarnation, newest viewID) {
	full := n.nextFull
	s := n.super
	stable := n.stable
	left, err := n.open(&s, &stable)
	if err != nil {
		fail("node %d: open after a crash: %v", n.id, err)
	}
	v := n.view(newest)
	// Promoted, and ended before the pool could say so, is whole too.
	whole := s.complete || v.Live.Has(n.id) && v.Incarnation[n.id] == s.inc
	why := ""
	switch {
	case full:
		why = "started over"
	case !whole:
		why = "incomplete"
	case n.e.c.FullCopy && v.Epoch != 0:
		why = "selected"
	}
	n.life = life{up: true, leased: true, blank: !whole, newest: newest, self: proto.Member{Node: n.id, Incarnation: inc},
		super: s, stable: stable, lossy: n.lossy, ghost: n.ghost}
	n.left, n.offer = left, nil
	n.m = *rejoin.New(rejoin.Config{Self: n.self, Full: why, Blank: n.blank, Leftovers: len(n.left) > 0})
	if v.Epoch != 0 {
		n.m.SawView(v)
	}
}

// enter opens the shard for this life, once.
func (n *node) enter(full bool) {
	if n.entered {
		return
	}
	n.entered = true
	inc := n.self.Incarnation
	if full {
		n.stable = 0
		n.discard(&n.super, inc)
		n.left = nil
	} else {
		n.super.inc = inc
		n.super.write(&n.disk, n.stable)
		n.log.SetIncarnation(uint32(inc))
	}
	var markers []byte
	if pos := n.st.LastMarker(); pos != 0 {
		markers = append(markers, record.Value(n.st.Record(pos))...)
	}
	n.rep = replica.New(n.e.c.Model.Gates(), n.st, handlesMax)
	*n.out = *ring.NewOut(n.mem)
	if err := n.rep.Begin(n.self, n.out, n.stable, markers); err != nil {
		fail("node %d: begin: %v", n.id, err)
	}
}

// over ends the life; what it published stays readable for those attached.
func (n *node) over() {
	ghost := n.ghost
	for c := range n.ghost {
		if id := n.publication(proto.NodeID(c)); id != 0 {
			ghost[c] = id
		}
	}
	n.life = life{self: n.self, super: n.super, stable: n.stable, lossy: n.lossy, nextFull: n.nextFull, ghost: ghost}
	n.left, n.offer, n.m = nil, nil, rejoin.Machine{}
}

// How a process ends.
const (
	crashKept  = iota // the memory stays, and the index with its stable position
	crashSuper        // the index is not used again
	crashPower        // and more: so many records above the flushed ones survive
)

func (n *node) crash(how int, live bool) {
	if how >= crashPower {
		n.cut(how - crashPower)
		n.lossy = n.lossy || live
	}
	n.over()
	if how != crashKept {
		n.stable = n.super.stable
	}
}

// fenced ends the life in order, as pmem.Pool.Close.
func (n *node) fenced(full bool) {
	if n.entered {
		n.persist(false)
		n.super.write(&n.disk, n.stable)
	}
	n.nextFull = full
	n.over()
}

// persist is Pool.Flush; the superblock that goes along claims what was
// flushed before it.
func (n *node) persist(withSuper bool) {
	if withSuper {
		n.super.write(&n.disk, n.stable)
	}
	n.log.SetFlushed(n.log.Tail())
}

func (n *node) flush() {
	n.stable = n.rep.StablePos()
	n.persist(!n.e.c.LazySuper)
}

// install is Life.install and Worker.InstallView.
func (n *node) install(id viewID) {
	v := n.view(id)
	n.enter(false)
	n.learn(id)
	old := *n.rep.View()
	for _, x := range old.Members().Without(n.id).Nodes(nil) {
		if !v.Has(old.Member(x)) {
			n.attached[x], n.fed[x], n.sent[x] = 0, 0, rdma.Marks{}
		}
	}
	var fresh []proto.NodeID
	for _, x := range v.Members().Without(n.id).Nodes(nil) {
		if m := v.Member(x); !old.Has(m) {
			n.attached[x], n.fed[x], n.sent[x], n.links[x] = m.Incarnation, 0, rdma.Marks{}, 0
			fresh = append(fresh, x)
		}
	}
	n.rep.Install(v)
	for _, x := range fresh {
		from := n.rep.FeedFrom(x)
		if from < n.out.Reclaimed() || from > n.out.Tail() {
			fail("node %d: feeds node %d from %d, its ring holds %d to %d (H18)", n.id, x, from, n.out.Reclaimed(), n.out.Tail())
		}
		n.fed[x] = from + 1
	}
	n.serving = v.Live.Has(n.id)
	n.installed = id
	for x := range n.kept {
		if m := (proto.Member{Node: proto.NodeID(x), Incarnation: n.kept[x].inc}); !v.Shadow.Has(m.Node) || !v.Has(m) {
			n.kept[x] = rangeFor{}
		}
	}
	if n.serving {
		n.lossy = false
	}
}

// learn tells life and machine of a decided view.
func (n *node) learn(id viewID) {
	if n.view(id).Epoch > n.view(n.newest).Epoch {
		n.newest = id
	}
	if !n.served {
		n.m.SawView(n.view(id))
	}
}

// marks takes in a member's line, as the first half of Worker.listen.
func (n *node) marks(c proto.NodeID, p *publication) {
	m := p.marks
	if err := n.rep.OnMarks(c, &m); err != nil {
		fail("node %d: marks of node %d: %v", n.id, c, err)
	}
}

// stream is the other half.
func (n *node) stream(c proto.NodeID, p *publication) {
	if p.fed == 0 {
		return
	}
	from := p.fed - 1
	if !n.rep.Following(c) && !n.rep.Fed(c, from) {
		return
	}
	if at := n.rep.Applied(c); at < p.kept {
		fail("node %d: has taken node %d's stream through %d, and the ring is given up through %d (H18)", n.id, c, at, p.kept)
	}
	for i := range p.bytes {
		n.wire[(from+uint64(i))%ringBytes] = p.bytes[i]
	}
	m := ring.NewMirror(n.wire, n.rep.Applied(c))
	if !m.SetLimit(from + uint64(len(p.bytes))) {
		fail("node %d: stream of node %d ends at %d, applied through %d", n.id, c, from+uint64(len(p.bytes)), m.Cursor())
	}
	if _, err := n.rep.OnStream(c, m, 1<<30); err != nil {
		fail("node %d: stream of node %d refused: %v", n.id, c, err)
	}
}

// publish is the end of a turn: Advance, the lines of watermarks, the answers.
func (n *node) publish() {
	stable := n.rep.StablePos()
	n.rep.Advance()
	if s := n.rep.StablePos(); s < stable || s > n.log.Flushed() && s != stable {
		fail("node %d: stable position %d after %d, flushed %d (I8, H20)", n.id, s, stable, n.log.Flushed())
	}
	for _, c := range n.rep.View().Members().Without(n.id).Nodes(nil) {
		if n.attached[c] == 0 {
			continue
		}
		var m rdma.Marks
		n.rep.OutMarks(c, &m)
		m.Flushed = 0 // see Shard.Visit
		a, b := &n.sent[c], &m
		if b.Epoch < a.Epoch || b.Visible < a.Visible || b.Stable < a.Stable || b.Applied < a.Applied || b.Durable < a.Durable ||
			b.Room < a.Room || b.Settled < a.Settled {
			fail("node %d: a watermark for node %d stepped back: %+v after %+v (I8)", n.id, c, *b, *a)
		}
		if b.Durable > b.Applied || b.Visible > n.out.Tail() || b.Stable > b.Visible {
			fail("node %d: impossible watermarks for node %d: %+v", n.id, c, *b)
		}
		n.sent[c] = m
	}
}

// answer takes the completions.
func (n *node) answer() {
	for _, c := range n.rep.Done() {
		if int(c.Handle) >= opsMax || n.ops[c.Handle].kind == noOp {
			fail("node %d: completion of handle %d, which nobody holds", n.id, c.Handle)
		}
		o := n.ops[c.Handle]
		n.ops[c.Handle] = op{}
		switch o.kind {
		case opGet:
			n.gave(o.key, c.TS, c.Pos, &o)
		case opPersist:
			for k := range n.e.c.Keys {
				if o.bar[k] != 0 {
					n.eff.add(effect{persisted, uint8(k), o.bar[k], 0})
				}
			}
		default:
			n.eff.add(effect{wrote, o.key, c.TS, 0})
			n.answeredScope[o.key] = max(n.answeredScope[o.key], c.TS)
		}
	}
}

// gave is the end of a read through the worker; the lease is looked at last.
func (n *node) gave(key uint8, ts proto.TS, pos uint64, o *op) {
	if !n.leased {
		return
	}
	if pos != 0 {
		img := n.st.Record(pos)
		if string(record.Key(img)) != string(keyNames[key]) || proto.TS(record.TS(img)) != ts {
			fail("node %d: the record at %d is of key %q, TS %v; read: %q, %v", n.id, pos, record.Key(img), proto.TS(record.TS(img)), keyNames[key], ts)
		}
	}
	if ts < o.bar[key] {
		fail("node %d: a read of key %d gave TS %v; %v had been answered before it began (I3)", n.id, key, ts, o.bar[key])
	}
	n.eff.add(effect{read, key, ts, 0})
}

// handle is a free place in ops.
func (n *node) handle() (int, bool) {
	for i := range n.ops {
		if n.ops[i].kind == noOp {
			return i, true
		}
	}
	return 0, false
}

// write offers a put or a delete, as Worker.startWrite. False: it waits.
func (n *node) write(kind opKind, key uint8) bool {
	h, ok := n.handle()
	if !ok || n.rep.ForwardPending() > 0 {
		return false
	}
	k, rk, val := keyNames[key], record.Put, value(n.self, n.puts)
	if kind == opDelete {
		rk, val = record.Delete, nil
	}
	scope := uint32(0)
	if n.e.c.Model == proto.Scope {
		scope = 1
	}
	a, ts, _ := n.rep.Write(rk, n.st.Hash(k), k, val, scope, n.leased, replica.Handle(h))
	if a != replica.Taken {
		return false
	}
	n.puts++
	n.ops[h] = op{kind: kind, key: key}
	id := uint64(tombstone)
	if kind == opPut {
		id = binary.LittleEndian.Uint64(val)
	}
	n.eff.add(effect{minted, key, ts, id})
	return true
}

// persistScope offers a PERSIST of all the life has written.
func (n *node) persistScope() bool {
	h, ok := n.handle()
	if !ok || n.rep.ForwardPending() > 0 || n.rep.Persist(1, n.leased, replica.Handle(h)) != replica.Taken {
		return false
	}
	n.ops[h] = op{kind: opPersist, bar: n.answeredScope}
	return true
}

// get offers a read; bar is what clients have seen of the key.
func (n *node) get(key uint8, bar proto.TS) bool {
	h, ok := n.handle()
	if !ok || n.rep.ForwardPending() > 0 {
		return false
	}
	o := op{kind: opGet, key: key}
	o.bar[key] = bar
	pos, ts, state := n.rep.Read(n.st.Hash(keyNames[key]), keyNames[key], n.leased, replica.Handle(h))
	switch state {
	case replica.ReadNow, replica.ReadMissing:
		n.gave(key, ts, pos, &o)
	case replica.ReadWaits:
		o.at = n.word(n.e.hashes[key]).Pos()
		n.ops[h] = o
	default:
		return false
	}
	return true
}

// adopt takes the next of the buddy's records.
func (n *node) adopt() bool {
	if len(n.offer) == 0 || n.rep.Adopt(n.offer[0].img, n.offer[0].locked) == replica.AdoptFull {
		return false
	}
	n.offer = n.offer[1:]
	return true
}

// pin begins a range for a member, as Life.onRange; false: there is none.
func (n *node) pin(to proto.Member, full bool) bool {
	at := uint64(0)
	if !full {
		pos, ok := n.rep.MissedFrom(n.view(n.installed).LiveUntil[to.Node])
		if !ok {
			return false
		}
		at = pos
	}
	n.kept[to.Node] = rangeFor{to.Incarnation, at}
	return true
}

// list is what of the range nothing has superseded now, from where the list
// ended before. A record that the worker has locked is listed as locked.
func (n *node) list(to proto.NodeID, full bool) (list []offered) {
	r := &n.kept[to]
	err := n.st.Manifest(r.at, n.log.Tail(), full, func(pos uint64, off int64, size int, inc uint32, locked bool) bool {
		for size > 0 {
			var h record.Header
			img := n.arena[off : off+int64(size)]
			if err := record.VerifyHeader(img, record.Seed(pos, inc), &h); err != nil {
				fail("node %d: record at %d in the range of node %d: %v", n.id, pos, to, err)
			}
			b := h.Bytes()
			list = append(list, offered{append([]byte(nil), img[:b]...), locked})
			pos, off, size = pos+uint64(b), off+int64(b), size-b
		}
		return true
	})
	if err != nil {
		fail("node %d: list for node %d: %v", n.id, to, err)
	}
	r.at = n.log.Tail()
	return list
}

// rollLeftovers is Life.rollLeftovers: offers, then waits until what was
// appended is visible everywhere.
func (n *node) rollLeftovers() bool {
	if len(n.left) > 0 {
		for _, l := range n.left {
			n.rep.Leftover(l.hash, l.pos)
		}
		n.left = nil
		return true
	}
	if n.rep.ForwardPending()+n.rep.Outstanding() > 0 {
		return false
	}
	n.m.Rolled()
	return true
}

var keyNames = [keysMax][]byte{[]byte("a"), []byte("b")}

const tombstone = 1 << 56

// value is unique to a life's nth write, so who wrote first does not show in it.
func value(m proto.Member, nth uint8) []byte {
	b := make([]byte, 8)
	b[0], b[1], b[2] = byte(m.Node), byte(m.Incarnation), nth+1
	return b
}
