//go:build verbs

package verbs

import (
	"math/bits"

	"healkv/cgo/ibverbs"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// Out is this node's outgoing stream; its memory is registered once, for all
// lanes.
func (e *Endpoint) Out() *ring.Out { return e.out }

// Publish lets WakePeers post the stream through Out().Tail().
func (e *Endpoint) Publish() {
	if tail := e.out.Tail(); tail != e.published {
		e.published = tail
		e.dirty |= e.attached
	}
}

// Feed tells the peer from which position it reads. Preconditions: attached,
// not fed yet, the position is in the ring and begins an entry.
func (e *Endpoint) Feed(peer int, from uint64) {
	l := e.peers[peer]
	switch {
	case l == nil:
		panic("verbs: Feed of a peer that is not attached")
	case l.fed:
		panic("verbs: Feed twice on one link")
	case from%ring.Align != 0 || from > e.out.Tail() || from < e.out.Reclaimed():
		panic("verbs: Feed from a position that is not in the ring")
	}
	l.fed, l.feed = true, from
	l.sent = e.resumeAt(l)
	e.dirty |= 1 << peer
}

// resumeAt is where sending begins on the present lane: where the reader
// stands. It has applied all that was reclaimed.
func (e *Endpoint) resumeAt(l *link) uint64 {
	at := max(l.feed, e.out.Reclaimed())
	if l.out != nil && l.out.known && l.out.pos <= e.published && l.out.pos%ring.Align == 0 {
		at = max(at, l.out.pos)
	}
	return at
}

// PublishMarks sets our watermarks for the peer; WakePeers posts them.
func (e *Endpoint) PublishMarks(peer int, m *rdma.Marks) {
	if l := e.peers[peer]; l != nil && *m != l.marks {
		l.marks = *m
		e.dirty |= 1 << peer
	}
}

// Mirror is the peer's stream; it looks at the line each time, as shm does.
func (e *Endpoint) Mirror(peer int) *ring.Mirror {
	l := e.peers[peer]
	if l == nil || l.mirror == nil {
		return nil
	}
	e.look(l)
	return l.mirror
}

// Marks reads the peer's line for us.
func (e *Endpoint) Marks(peer int, m *rdma.Marks) {
	l := e.peers[peer]
	if l == nil {
		*m = rdma.Marks{}
		return
	}
	if e.news.Load() {
		e.adopt()
	}
	e.look(l)
	*m = l.last
}

// Poll looks once at every attached peer. It reads memory, and does not cross
// into C.
func (e *Endpoint) Poll() {
	if len(e.fading) > 0 {
		e.letFade()
	}
	if e.news.Load() {
		e.adopt()
	}
	for set := e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		e.look(l)
		if l.in == nil {
			continue
		}
		l.polled = l.in.line.version
		if l.malformed || l.tag == 0 {
			continue
		}
		if l.mirror == nil && !e.pollFeed(l) {
			continue
		}
		if tail := l.in.line.tail; tail != l.seen {
			e.take(l, tail)
		}
		if l.mirror != nil {
			l.in.took.Store(l.mirror.Cursor())
		}
	}
}

// pollFeed makes the mirror when the peer has fed us.
func (e *Endpoint) pollFeed(l *link) bool {
	if l.in.line.feed == 0 {
		return false
	}
	from := l.in.line.feed - 1
	if l.resume.tag == l.tag {
		from = l.resume.cursor
	}
	if from%ring.Align != 0 {
		e.cut(l, "it is fed from a position that begins no entry")
		return false
	}
	l.mirror = ring.NewMirror(l.in.ring, from)
	return true
}

// take accepts a tail of the present pair. Bytes of a peer: a tail that steps
// back, or beyond the ring, cuts the link.
func (e *Endpoint) take(l *link, tail uint64) {
	ok := tail >= l.seen
	// Below the limit is only what was published before a feed from further on.
	if ok && tail > l.mirror.Limit() {
		ok = l.mirror.SetLimit(tail)
	}
	if !ok {
		e.cut(l, "its tail steps back or beyond the ring")
		return
	}
	l.seen = tail
}

// unpair: the peer has detached us, or attached us anew. The last watermarks
// stay known: they were true and cannot become false.
func (l *link) unpair() { l.tag, l.mirror, l.seen = 0, nil, 0 }

// cut stops reading a peer whose bytes make no sense, until it is attached
// anew. What follows is an operator's: the log says it once per attachment, the
// counter links_cut and Malformed tell it from outside.
func (e *Endpoint) cut(l *link, why string) {
	l.unpair()
	l.malformed = true
	e.counts.Malformed++
	e.log.Error("link cut: the peer's bytes make no sense, its writes stop here; restart that node, and this one if it comes back",
		"peer", l.peer, "incarnation", l.incarnation, "why", why)
}

// look takes in the peer's newest line, on whichever lane it is.
func (e *Endpoint) look(l *link) {
	if l.malformed {
		return
	}
	for n := l.better(); n != nil; n = l.better() {
		e.read(l, n)
	}
	if l.in == nil || !l.in.look() {
		return
	}
	e.heed(l)
}

// better is a lane that the peer has begun to write after the one in use, for
// a newer attachment or anew for the same; nil if there is none.
func (l *link) better() *inLane {
	for _, n := range l.candidates {
		if n.look(); n.newest != 0 && (l.in == nil || n.newest>>32 > l.in.newest>>32 || n.newest == l.in.newest && n.id>>4 > l.in.id>>4) {
			return n
		}
	}
	return nil
}

// read goes over to another lane of the peer. Cold.
func (e *Endpoint) read(l *link, n *inLane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n.fenced {
		e.choose(l)
		return
	}
	if old := l.in; old != nil {
		e.noted(old.fence())
		e.fading = append(e.fading, old)
		for i, x := range e.in[l.peer] {
			if x == old {
				e.in[l.peer] = append(e.in[l.peer][:i:i], e.in[l.peer][i+1:]...)
				break
			}
		}
		if l.mirror != nil { // the same attachment goes on where we stand
			l.resume = rewind{l.incarnation, l.tag, l.mirror.Cursor()}
		}
		l.unpair()
	}
	l.in, n.used = n, true
	e.choose(l)
	n.memory.version.Store(l.lined)
	e.heed(l)
}

// choose lists the lanes that may follow the one in use. The lock is held.
func (e *Endpoint) choose(l *link) {
	l.candidates = l.candidates[:0]
	for _, n := range e.in[l.peer] {
		if n != l.in && n.incarnation == l.incarnation && !n.fenced {
			l.candidates = append(l.candidates, n)
		}
	}
}

// heed takes in the words of the lane's newest line.
func (e *Endpoint) heed(l *link) {
	n := &l.in.line
	switch {
	case n.tag == 0:
		l.unpair()
		return
	case uint32(n.tag) != e.cfg.Incarnation:
		e.cut(l, "its line is for another life")
		return
	case n.tag != l.tag:
		l.unpair()
		l.tag = n.tag
	}
	l.last = n.marks
}

// letFade gives lanes up that nobody has read since the last Poll.
func (e *Endpoint) letFade() {
	old := e.fading
	e.fading = nil
	for _, n := range old {
		e.forget(n)
	}
	e.inBackground(func() {
		for _, n := range old {
			e.kept(n.peer, n.close())
		}
	})
}

// adopt looks at what others have left for the worker. Cold.
func (e *Endpoint) adopt() {
	e.news.Store(false) // before looking: news from now on are looked at again
	e.mu.Lock()
	var retired []*outLane
	for set := e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if l.next != nil {
			if l.out != nil {
				retired = append(retired, l.out)
			}
			l.out, l.next = l.next, nil
			l.armed, l.reading = false, false
			l.rungFor = 0 // the ring may have been lost with the old lane
			if l.fed {
				l.sent = e.resumeAt(l)
			}
			e.dirty |= 1 << l.peer
		}
		e.choose(l)
	}
	e.fading, e.evicted = append(e.fading, e.evicted...), nil
	e.mu.Unlock()
	if retired != nil {
		e.inBackground(func() {
			for _, o := range retired {
				e.kept(int(o.id&15), o.close())
			}
		})
	}
}

// WakePeers posts what was published since the last call, and rings for the
// peers that sleep: one list of work requests per peer, one crossing into C.
func (e *Endpoint) WakePeers() {
	if e.news.Load() {
		e.adopt()
	}
	if e.dirty != 0 {
		e.post()
	}
}

// post makes the requests of all dirty peers. A peer whose send queue has no
// room stays dirty; the crossing polls, and the next one finds room.
func (e *Endpoint) post() {
	for set := e.dirty; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if l.out == nil || l.out.broken {
			e.dirty &^= 1 << l.peer // the next lane begins with all there is to say
			continue
		}
		if l.out.room() < burstMax {
			e.counts.Full++
			continue
		}
		e.dirty &^= 1 << l.peer
		e.postBytes(l)
		e.postLine(l, l.ourTag)
	}
	e.cross()
}

// room is how many requests the lane's send queue takes (V4).
func (o *outLane) room() int { return sendDepth - int(o.posted-o.completed) }

// request gives the next request of a lane.
func (e *Endpoint) request(l *link, op, flags uint32, kind uint16) *ibverbs.Request {
	o := l.out
	o.posted++
	e.requests = append(e.requests, ibverbs.Request{QP: o.qp.Handle(), ID: requestID(o.id, kind, o.posted), Op: op, Flags: flags})
	e.owners = append(e.owners, l)
	e.counts.WorkRequests++
	return &e.requests[len(e.requests)-1]
}

// postBytes sends the stream's new bytes: one request, two where the ring
// wraps.
func (e *Endpoint) postBytes(l *link) {
	if !l.fed {
		return
	}
	size := e.out.Size()
	for l.sent < e.published {
		at := l.sent & (size - 1)
		n := min(e.published-l.sent, size-at)
		r := e.request(l, ibverbs.OpWrite, 0, kindWrite)
		r.Local, r.LocalKey = e.stagingAt+at, e.stagingMR.LKey
		r.Remote, r.RemoteKey = l.out.ringAt+at, l.out.ringKey
		r.Bytes = uint32(n)
		l.sent += n
		e.counts.Bytes += n
	}
}

// postLine sends the line behind the bytes, and rings if the peer sleeps.
func (e *Endpoint) postLine(l *link, tag uint64) {
	o := l.out
	e.version++
	l.lined = e.version
	op, imm := uint32(ibverbs.OpWrite), uint32(0)
	flags := uint32(0)
	if l.in != nil {
		l.in.memory.version.Store(e.version) // V3; pairs with the peer's read
		e.look(l)
		if s := l.in.line.sleep; s != 0 && s != l.rungFor {
			l.rungFor = s
			op, imm, flags = ibverbs.OpWriteImm, uint32(s), ibverbs.FlagSolicited
			e.counts.Wakes++
		}
	}
	if o.qp.Inline >= lineBytes {
		flags |= ibverbs.FlagInline
		e.counts.Inline++
	}
	r := e.request(l, op, flags, kindWrite)
	if o.posted-o.signalled >= signalEvery-burstMax || e.everySends {
		r.Flags |= ibverbs.FlagSignalled
		o.signalled = o.posted
		e.counts.Signalled++
	}
	x := line{tag: tag, tail: e.published, marks: l.marks, sleep: l.number, version: e.version}
	if l.fed {
		x.feed = l.feed + 1
		x.tail = min(l.sent, e.published) // fed from what is not published yet
	}
	i := int(o.posted % sendDepth)
	x.encode(slotOf(o.slots, i))
	r.Local, r.LocalKey = o.slotsAt+uint64(i)*slotBytes, o.slotsKey
	r.Remote, r.RemoteKey = o.lineAt, o.lineKey
	r.Bytes, r.Imm = lineBytes, imm
	e.counts.Lines++
}

// cross posts what was gathered and polls, in one crossing.
func (e *Endpoint) cross() {
	for {
		lists, n, err := ibverbs.Burst(e.dev.cq, e.requests, e.done)
		e.counts.Crossings++
		e.counts.Doorbells += uint64(lists)
		e.counts.Completions += uint64(n)
		if err != nil {
			e.queueFailed(err)
		}
		for i := range e.requests {
			if r := &e.requests[i]; r.Err != 0 {
				e.refused(e.owners[i], r)
			}
		}
		e.requests, e.owners = e.requests[:0], e.owners[:0]
		for i := range n {
			e.complete(&e.done[i])
		}
		if n < len(e.done) {
			return
		}
	}
}

// forget drops what waits to be posted to a lane that is given up: its queue
// pair may be destroyed before the next crossing.
func (e *Endpoint) forget(n *inLane) {
	kept := 0
	for i := range e.requests {
		if uint32(e.requests[i].ID>>32) == n.id {
			continue
		}
		e.requests[kept], e.owners[kept] = e.requests[i], e.owners[i]
		kept++
	}
	e.requests, e.owners = e.requests[:kept], e.owners[:kept]
}

// complete takes in one completion.
func (e *Endpoint) complete(c *ibverbs.Completion) {
	lane, kind, seq := uint32(c.ID>>32), uint16(c.ID>>16), uint16(c.ID)
	l := e.peers[lane&15]
	if l == nil {
		e.counts.Stale++
		return
	}
	if kind == kindReceive {
		e.received(l, lane, c)
		return
	}
	o := l.out
	if o == nil || o.id != lane {
		e.counts.Stale++
		return
	}
	switch x := consequenceOf(c.Status); x {
	case done:
		o.completed = seq
		l.faults = 0
		if kind == kindRead {
			e.readDone(l)
		}
	case already:
		if !o.broken {
			e.breakLane(l, c, x)
		}
	default:
		e.breakLane(l, c, x)
	}
}

// received: a peer rang, or its lane to us broke.
func (e *Endpoint) received(l *link, lane uint32, c *ibverbs.Completion) {
	if c.Status == ibverbs.StatusSuccess {
		// Whatever lane it came by: the peer does not ring again for this number.
		// One announcement too many costs a READ.
		l.armed, e.rung = false, true
		if c.Imm == uint32(l.number) {
			l.rang = true
		}
	}
	n := e.laneFrom(l, lane)
	if n == nil {
		e.counts.Stale++
		return
	}
	if c.Status != ibverbs.StatusSuccess {
		e.lost(l, n)
		return
	}
	e.counts.Rings++
	e.requests = append(e.requests, n.receive()) // goes with the next crossing
	e.owners = append(e.owners, l)
}

// laneFrom finds a lane of the link's life by name, also one that the worker
// has not adopted yet; nil if it is not in use any more.
func (e *Endpoint) laneFrom(l *link, id uint32) *inLane {
	if l.in != nil && l.in.id == id {
		return l.in
	}
	for _, n := range l.candidates {
		if n.id == id {
			return n
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.in[l.peer] {
		if n.id == id && n.incarnation == l.incarnation {
			return n
		}
	}
	return nil
}
