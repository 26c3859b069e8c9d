package rejoin_test

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal/rejoin"
	"healkv/pmem/record"
	"healkv/pmem/store"
	"healkv/rdma"
	"healkv/rdma/sim"
)

const handlesMax = 64

// node is one node with one shard: what its worker, its life and its pool are
// in the real program, driven by the world's steps.
type node struct {
	w  *world
	id proto.NodeID
	d  *disk
	up bool

	// Of the present life.
	self      proto.Member
	prev      proto.Incarnation
	full      string // the next or present life heals by full copy
	blank     bool
	tail      uint64 // of the recovered log
	left      []leftover
	ep        *sim.Endpoint
	rep       *replica.Shard // nil before the life has entered
	reader    *store.Reader
	m         *rejoin.Machine
	facts     []func(*rejoin.Machine)
	served    bool // the machine is finished
	newest    proto.View
	installed proto.View
	links     [proto.NodesMax]rdma.Link
	leased    bool
	serving   bool
	leaseGen  int
	lossy     bool // died by power loss as a live member, not live since
	gone      bool // the pool was lost since the last life

	// As in dataplane.Worker.
	ops         [handlesMax]*op
	queue       []*op // submitted, not started
	held        int
	adopting    []offered
	marks       rdma.Marks
	sent        [proto.NodesMax]rdma.Marks
	polled      [proto.NodesMax]rdma.Marks
	published   uint64
	ranges      []*served
	lostThrough proto.Epoch
	faultUntil  [proto.NodesMax]int
	faulty      proto.NodeSet // whose stream was refused in this life
	turns       int
	noRoom      int          // turns a write has waited for room
	asked       proto.Member // the buddy asked for its list, which it makes at its turn askedAt
	askedAt     int
	tr          *transfer

	lastStable uint64
}

// offered is a verified record of the buddy on its way to the worker.
type offered struct {
	img    []byte
	locked bool
}

// begin starts a life: recovered log, new incarnation, nothing entered yet.
func (n *node) begin() {
	w := n.w
	tail, left, err := n.d.open()
	if err != nil {
		w.fail("node %d: open after a crash: %v", n.id, err)
	}
	w.reg.Issued[n.id]++
	*n = node{w: w, id: n.id, d: n.d, up: true, lossy: n.lossy, full: n.full, gone: n.gone, tail: tail, left: left,
		self: proto.Member{Node: n.id, Incarnation: w.reg.Issued[n.id]}, prev: proto.Incarnation(n.d.super.inc),
		lostThrough: n.d.super.lostThrough, newest: w.reg, leased: true}
	// Promoted, and ended before the pool could say so, is whole too.
	whole := n.d.super.complete || w.reg.Live.Has(n.id) && w.reg.Incarnation[n.id] == n.prev
	if n.full == "" && !whole {
		n.full = "incomplete"
		w.count("incomplete pools")
	}
	// A live member of the view that discards its records before it is admitted
	// keeps a cold start waiting for them, should the others die.
	if n.full == "" && w.rng.IntN(12) == 0 && w.reg.Epoch != 0 && !w.reg.Live.Has(n.id) {
		n.full = "selected"
	}
	n.ep, err = w.net.Endpoint(sim.Config{Node: int(n.id), Nodes: len(w.nodes), Incarnation: uint32(n.self.Incarnation), RingBytes: w.o.ring})
	if err != nil {
		panic(err)
	}
	n.blank, n.gone = !whole || n.gone, false
	n.m = rejoin.New(rejoin.Config{Self: n.self, Full: n.full, Blank: n.blank, Leftovers: len(n.left) > 0})
	n.full = ""
	n.reader = n.d.st.NewReader()
	w.scoped[n.id] = [3][]wrote{} // a scope belongs to one life of its coordinator
	w.event(evBegin, n.id, uint64(n.self.Incarnation), tail)
}

// enter opens the shard for this life, once.
func (n *node) enter(full bool) {
	if n.rep != nil {
		return
	}
	if full {
		n.d.discard(uint32(n.self.Incarnation))
		n.lostThrough = 0
		n.left = nil
		n.w.count("pools discarded")
	} else {
		n.d.begin(uint32(n.self.Incarnation))
	}
	var markers []byte
	if pos := n.d.st.LastMarker(); pos != 0 {
		markers = append(markers, record.Value(n.d.st.Record(pos))...)
	}
	n.rep = replica.New(n.w.o.model.Gates(), n.d.st, handlesMax)
	if err := n.rep.Begin(n.self, n.ep.Out(), n.d.stable, markers); err != nil {
		n.w.fail("node %d: begin: %v", n.id, err)
	}
	n.lastStable = n.rep.StablePos()
}

// over ends the life. Nobody may use its endpoint afterwards.
func (n *node) over() {
	w := n.w
	for i, o := range n.ops {
		if o != nil {
			n.ops[i] = nil
			w.unanswered(o)
		}
	}
	for _, o := range n.queue {
		w.rejected(o)
	}
	n.queue = nil
	if n.rep != nil {
		w.counters.add(&n.rep.Counters)
	}
	n.up, n.leased, n.serving, n.tr = false, false, false, nil
}

// crash ends process or machine.
func (n *node) crash(power bool) {
	w := n.w
	wasLive := n.rep != nil && n.rep.Live() || w.reg.Has(n.self) && w.reg.Live.Has(n.id)
	if n.tr != nil {
		w.count("shadow crashed in its transfer")
	}
	for _, x := range w.nodes {
		if x.tr != nil && x.tr.buddy == n.self {
			w.count("buddy crashed in a transfer")
		}
	}
	n.over()
	w.net.Kill(int(n.id), uint32(n.self.Incarnation))
	if power {
		how := n.d.powerLoss(w.rng)
		n.lossy = n.lossy || wasLive
		w.count("power losses: " + how)
		w.event(evPower, n.id, n.d.stable, 0)
		return
	}
	n.d.processCrash(w.rng)
	w.count("process crashes")
	w.event(evCrash, n.id, n.d.stable, 0)
}

// fenced ends the life in order: a view came without it.
func (n *node) fenced() {
	n.w.event(evFenced, n.id, uint64(n.newest.Epoch), 0)
	n.w.count("lives fenced")
	n.over()
	if err := n.ep.Close(); err != nil {
		panic(err)
	}
	if n.rep != nil {
		n.d.flush(true)
		n.d.writeSuper(func(*super) {})
	}
}

// turn is dataplane.Worker.turn, step by step.
func (n *node) turn() {
	w := n.w
	if n.rep == nil {
		return
	}
	n.turns++
	leased := n.leased
	n.ep.Poll()
	members := n.rep.View().Members().Without(n.id)
	for m := range proto.NodeID(len(w.nodes)) {
		if members.Has(m) {
			n.listen(m)
		}
	}
	if n.rep.ForwardPending() > 0 {
		n.rep.RollForward(w.burst(1, 3, 256))
	}
	n.adopt(w.burst(1, 4, 256))
	if n.rep.ForwardPending() == 0 {
		n.clients(leased)
	}
	n.clean()
	n.flush()
	n.rep.Advance()
	n.publish(members)
	n.answer()
	n.checkPositions()
}

func (n *node) listen(m proto.NodeID) {
	w := n.w
	n.ep.Marks(int(m), &n.marks)
	n.polled[m] = n.marks
	if err := n.rep.OnMarks(m, &n.marks); err != nil {
		w.fail("node %d: marks of %d: %v", n.id, m, err)
	}
	mir := n.ep.Mirror(int(m))
	if mir == nil || n.faultUntil[m] > n.turns {
		return
	}
	if !n.rep.Following(m) && !n.rep.Fed(m, mir.Cursor()) {
		return
	}
	got, err := n.rep.OnStream(m, mir, w.burst(1, 600, 256<<10))
	if err != nil {
		if w.damaged == 0 {
			w.fail("node %d: stream of %d refused without damage: %v", n.id, m, err)
		}
		n.faultUntil[m] = n.turns + 20
		n.faulty = n.faulty.With(m)
		w.count("streams refused")
	}
	if got > 0 {
		w.event(evApply, n.id, uint64(m), uint64(got))
	}
}

func (n *node) adopt(budget int) {
	for ; budget > 0 && len(n.adopting) > 0; budget-- {
		x := n.adopting[0]
		if n.rep.Adopt(x.img, x.locked) == replica.AdoptFull {
			n.w.count("adoptions that found no space")
			return
		}
		n.adopting = n.adopting[1:]
	}
}

func (n *node) flush() {
	w := n.w
	flushed, tail := n.d.st.Flushed(), n.d.st.Tail()
	if flushed == tail {
		return
	}
	g := w.o.model.Gates()
	// The flush may be late, never absent; in the background it comes less often.
	skip := w.o.lazy
	if g.Flush == proto.FlushBackground && !n.rep.WantFlush() {
		skip *= 6
	}
	if !w.calm && w.rng.IntN(skip) != 0 || w.calm && skip > 8 && w.rng.IntN(4) != 0 {
		return
	}
	n.d.stable = n.rep.StablePos()
	n.d.flush(w.rng.IntN(8) == 0)
	w.event(evFlush, n.id, tail, n.d.stable)
}

// clean is Worker.clean.
func (n *node) clean() {
	w := n.w
	if !n.d.st.WantsCleaning() {
		return
	}
	pin := ^uint64(0)
	for _, s := range n.ranges {
		if !plant.Is(plant.BuddyPin) { // this driver stands in for the buddy of heal
			pin = min(pin, s.pin)
		}
	}
	if n.d.st.Tombstones() > 0 {
		n.rep.Barrier()
	}
	n.d.st.OnDrop(func(hash, ts uint64) {
		for k := range w.o.keys {
			if n.d.st.Hash(keyName(k)) == hash {
				w.dropped[k] = max(w.dropped[k], ts)
			}
		}
	})
	b := n.rep.CleanBounds(n.lostThrough)
	b.Below = min(b.Below, pin)
	r := n.d.st.Clean(w.burst(300, 4<<10, 64<<10), b, n.d.st.Flushed())
	if r.Err != nil {
		w.fail("node %d: cleaner: %v", n.id, r.Err)
	}
	w.add("segments cleaned", r.FreedSegments)
	w.add("tombstones dropped", r.Dropped)
	w.add("records relocated", r.MovedRecords)
	if r.MovedRecords > 0 && b.Missed < b.Below {
		w.add("records relocated beside a missed range", r.MovedRecords)
	}
}

func (n *node) publish(members proto.NodeSet) {
	if t := n.ep.Out().Tail(); t != n.published {
		n.ep.Publish()
		n.published = t
	}
	for m := range proto.NodeID(len(n.w.nodes)) {
		if !members.Has(m) {
			continue
		}
		n.rep.OutMarks(m, &n.marks)
		if n.marks != n.sent[m] {
			n.checkMarks(m, &n.sent[m], &n.marks)
			n.sent[m] = n.marks
			n.ep.PublishMarks(int(m), &n.marks)
		}
	}
	n.ep.WakePeers()
}

// checkMarks: no watermark of one pair of lives steps back (I8).
func (n *node) checkMarks(m proto.NodeID, a, b *rdma.Marks) {
	if b.Epoch < a.Epoch || b.Visible < a.Visible || b.Stable < a.Stable || b.Applied < a.Applied || b.Durable < a.Durable ||
		b.Room < a.Room || b.Settled < a.Settled || b.Flushed < a.Flushed {
		n.w.fail("node %d: a watermark for %d stepped back: %+v after %+v", n.id, m, *b, *a)
	}
	if b.Durable > b.Applied || b.Visible > n.ep.Out().Tail() || b.Stable > b.Visible {
		n.w.fail("node %d: impossible watermarks for %d: %+v", n.id, m, *b)
	}
}

func (n *node) checkPositions() {
	s := n.rep.StablePos()
	if s < n.lastStable || s > max(n.d.st.Flushed(), n.lastStable) || s > n.d.st.Flushed() {
		n.w.fail("node %d: stable position %d after %d, flushed %d", n.id, s, n.lastStable, n.d.st.Flushed())
	}
	n.lastStable = s
}

// install is Life.install and Worker.InstallView. False: a connection is
// missing, it is tried again.
func (n *node) install(v *proto.View) bool {
	w := n.w
	if n.installed.Epoch != 0 && v.Epoch > n.installed.Epoch+1 {
		w.count("views skipped")
	}
	var fresh []proto.NodeID
	for _, x := range v.Members().Without(n.id).Nodes(nil) {
		m := v.Member(x)
		if n.installed.Epoch == 0 || !n.installed.Has(m) {
			if !n.prepare(m) {
				return false
			}
			fresh = append(fresh, x)
		}
	}
	n.enter(false)
	old := *n.rep.View()
	for _, x := range old.Members().Without(n.id).Nodes(nil) {
		if !v.Has(old.Member(x)) {
			if l := n.ep.Detach(int(x)); l != nil {
				l.Close()
			}
		}
	}
	for _, x := range fresh {
		n.ep.Attach(n.links[x])
		n.links[x] = nil
		n.sent[x], n.polled[x], n.faultUntil[x] = rdma.Marks{}, rdma.Marks{}, 0
		n.faulty = n.faulty.Without(x)
	}
	n.rep.Install(v)
	for _, x := range fresh {
		n.ep.Feed(int(x), n.rep.FeedFrom(x))
	}
	n.serving = v.Live.Has(n.id)
	n.installed = *v
	kept := n.ranges[:0]
	for _, s := range n.ranges {
		if v.Shadow.Has(s.to.Node) && v.Has(s.to) {
			kept = append(kept, s)
		}
	}
	n.ranges = kept
	if n.serving {
		n.lossy = false
	}
	w.checkLive(n, false)
	w.event(evInstall, n.id, uint64(v.Epoch), n.rep.StablePos())
	return true
}

// prepare makes the connection to a life, unless it is there.
func (n *node) prepare(m proto.Member) bool {
	if l := n.links[m.Node]; l != nil {
		if l.Incarnation() == uint32(m.Incarnation) {
			return true
		}
		if l.Incarnation() > uint32(m.Incarnation) {
			return false
		}
		l.Close()
		n.links[m.Node] = nil
	}
	if n.installed.Epoch != 0 && n.installed.Has(m) {
		return true
	}
	l, err := n.ep.Prepare(int(m.Node), uint32(m.Incarnation))
	if err != nil {
		return false
	}
	n.links[m.Node] = l
	return true
}

func (n *node) String() string {
	s := fmt.Sprintf("node %d: up %v", n.id, n.up)
	if !n.up {
		return s
	}
	s += fmt.Sprintf(", life %v, knows %d, installed %d, leased %v, serving %v, served %v, next %+v", n.self, n.newest.Epoch,
		n.installed.Epoch, n.leased, n.serving, n.served, n.m.Next())
	if n.rep == nil {
		return s + ", not entered"
	}
	locked, first := n.d.lockedCount()
	return s + fmt.Sprintf(", outstanding %d, forward %d, held ops %d, queued %d, locked %d (%s), stable %d, flushed %d, tail %d, free %d, adopting %d, faulty %v",
		n.rep.Outstanding(), n.rep.ForwardPending(), n.held, len(n.queue), locked, first, n.rep.StablePos(), n.d.st.Flushed(), n.d.st.Tail(),
		n.d.st.FreeBytes(), len(n.adopting), n.faulty.Nodes(nil))
}
