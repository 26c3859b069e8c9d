package shm

import (
	"math/bits"
	"time"

	"healkv/dataplane/plant"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// Out is this node's outgoing stream; its memory is the ring file.
func (e *Endpoint) Out() *ring.Out { return e.out }

// Publish lets peers see the stream through Out().Tail() (S1). The store pairs
// with the load in poll.
func (e *Endpoint) Publish() {
	tail := e.out.Tail()
	if tail == e.published {
		return
	}
	e.published = tail
	storeTail(e.page, tail)
	if !plant.Is(plant.ShmUnrung) {
		e.dirty |= e.attached
	}
}

// Feed tells the peer from which position it reads. Preconditions: attached,
// not fed yet, the position is in the ring and begins an entry.
func (e *Endpoint) Feed(peer int, from uint64) {
	l := e.peers[peer]
	switch {
	case l == nil:
		panic("shm: Feed of a peer that is not attached")
	case l.fed:
		panic("shm: Feed twice on one link")
	case from%ring.Align != 0 || from > e.out.Tail() || from < e.out.Reclaimed():
		panic("shm: Feed from a position that is not in the ring")
	}
	l.fed = true
	e.page.pairs[peer].feed.Store(from + 1)
	e.dirty |= 1 << peer
}

// Mirror is the peer's stream. It asks the pair line each time: once the peer
// has detached us it may reuse what we have not read, so who copies entries
// out of a window and still gets the same mirror afterwards has copied them
// before that (hazard H27).
func (e *Endpoint) Mirror(peer int) *ring.Mirror {
	l := e.peers[peer]
	if l == nil || l.mirror == nil {
		return nil
	}
	if l.page.pairs[e.self].tag.Load() != l.tag && !plant.Is(plant.H27Generation) {
		l.unpair()
		return nil
	}
	return l.mirror
}

// Poll looks once at every attached peer.
func (e *Endpoint) Poll() {
	for set := e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if l.mirror != nil {
			// The tag is loaded after the tail: a tail that was published after
			// the peer detached us is not for us.
			tail := l.page.tail.Load()
			if l.page.pairs[e.self].tag.Load() == l.tag || plant.Is(plant.ShmTail) {
				if tail != l.mirror.Limit() {
					e.take(l, tail)
				}
				continue
			}
			l.unpair()
		}
		e.pollFeed(l)
	}
}

// take accepts a tail of the present pair. Bytes of a peer: a tail that steps
// back, or beyond the ring, cuts the link.
func (e *Endpoint) take(l *link, tail uint64) {
	ok := tail >= l.seen || plant.Is(plant.ShmBack)
	// Below the limit is only what was published before a feed from further on.
	if ok && tail > l.mirror.Limit() {
		ok = l.mirror.SetLimit(tail)
	}
	if !ok {
		e.cut(l)
		return
	}
	l.seen = tail
}

// pollFeed waits for the peer to attach and feed us.
func (e *Endpoint) pollFeed(l *link) {
	if l.malformed || l.tag == 0 && !e.pair(l) {
		return
	}
	pair := &l.page.pairs[e.self]
	feed := pair.feed.Load()
	tail := l.page.tail.Load()
	if pair.tag.Load() != l.tag { // S2: then feed may be another pair's
		l.unpair()
		return
	}
	if feed == 0 {
		return
	}
	from := feed - 1
	if l.resume.tag == l.tag && !plant.Is(plant.ShmResume) {
		from = l.resume.cursor
	}
	if from%ring.Align != 0 {
		e.cut(l)
		return
	}
	l.mirror = ring.NewMirror(l.data, from)
	e.take(l, tail)
}

// pair takes the tag if the peer has attached this life of ours.
func (e *Endpoint) pair(l *link) bool {
	tag := l.page.pairs[e.self].tag.Load()
	if uint32(tag) != e.cfg.Incarnation && !(plant.Is(plant.H9Life) && tag != 0) {
		return false
	}
	l.tag = tag
	l.last = rdma.Marks{}
	return true
}

// unpair: the peer has detached us, or attached us anew. The last watermarks
// stay known: they were true and cannot become false.
func (l *link) unpair() { l.tag, l.mirror, l.seen = 0, nil, 0 }

// cut stops reading a peer whose bytes make no sense. The control plane sees
// it in Malformed.
func (e *Endpoint) cut(l *link) {
	l.unpair()
	l.malformed = true
	e.counts.Malformed++
}

// PublishMarks writes our line for the peer. Not attached: nothing happens.
func (e *Endpoint) PublishMarks(peer int, m *rdma.Marks) {
	l := e.peers[peer]
	if l == nil || *m == l.sent {
		return
	}
	e.page.marks[peer].update(&l.sent, m)
	l.sent = *m
	e.dirty |= 1 << peer
}

// Marks reads the peer's line for us.
func (e *Endpoint) Marks(peer int, m *rdma.Marks) {
	l := e.peers[peer]
	if l == nil {
		*m = rdma.Marks{}
		return
	}
	// Twice, since the peer may have attached us anew; what it is in the middle
	// of doing now can wait for the next look.
	for range 2 {
		if l.malformed || l.tag == 0 && !e.pair(l) {
			break
		}
		l.page.marks[e.self].load(m)
		if l.page.pairs[e.self].tag.Load() == l.tag || plant.Is(plant.H9Line) { // S2
			l.last = *m
			return
		}
		l.unpair()
	}
	*m = l.last
}

// store writes the line, Epoch first: it pairs with load, which reads it last,
// so a reader never takes Visible or Stable for older than they are (H3).
func (w *markLine) store(m *rdma.Marks) {
	w.epoch.Store(m.Epoch)
	w.visible.Store(m.Visible)
	w.stable.Store(m.Stable)
	w.applied.Store(m.Applied)
	w.durable.Store(m.Durable)
	w.room.Store(m.Room)
	w.settled.Store(m.Settled)
	w.flushed.Store(m.Flushed)
}

// update is store without the numbers that did not change, and with one atomic
// store: it has to wait until the line is this processor's alone, and the peer
// that watches it takes it away again before the next one.
func (w *markLine) update(old, m *rdma.Marks) {
	if m.Epoch != old.Epoch && !plant.Is(plant.H3Line) {
		storeEarly(&w.epoch, m.Epoch)
	}
	if m.Visible != old.Visible {
		storeEarly(&w.visible, m.Visible)
	}
	if m.Stable != old.Stable {
		storeEarly(&w.stable, m.Stable)
	}
	if m.Applied != old.Applied {
		storeEarly(&w.applied, m.Applied)
	}
	if m.Durable != old.Durable {
		storeEarly(&w.durable, m.Durable)
	}
	if m.Room != old.Room {
		storeEarly(&w.room, m.Room)
	}
	if m.Settled != old.Settled {
		storeEarly(&w.settled, m.Settled)
	}
	w.flushed.Store(m.Flushed) // changed or not: the look at the peer's bell must come after all of them
	if plant.Is(plant.H3Line) {
		w.epoch.Store(m.Epoch)
	}
}

func (w *markLine) load(m *rdma.Marks) {
	first := w.epoch.Load()
	m.Visible = w.visible.Load()
	m.Stable = w.stable.Load()
	m.Applied = w.applied.Load()
	m.Durable = w.durable.Load()
	m.Room = w.room.Load()
	m.Settled = w.settled.Load()
	m.Flushed = w.flushed.Load()
	if m.Epoch = w.epoch.Load(); plant.Is(plant.H3Load) {
		m.Epoch = first
	}
}

// WakePeers rings the bells of the peers that something was published for. A
// peer that is awake costs one load.
func (e *Endpoint) WakePeers() {
	for set := e.dirty; set != 0; set &= set - 1 {
		if e.peers[bits.TrailingZeros32(set)].bellLine.ring() {
			e.counts.Wakes++
		}
	}
	e.dirty = 0
}

// PrepareSleep, CancelSleep, Sleep: see sleeper.
func (e *Endpoint) PrepareSleep() { e.sleeper.prepare() }
func (e *Endpoint) CancelSleep()  { e.sleeper.cancel() }

func (e *Endpoint) Sleep(timeout time.Duration) {
	e.counts.Sleeps++
	e.sleeper.sleep(timeout)
}

// Wake ends the worker's sleep. Any goroutine.
func (e *Endpoint) Wake() {
	if e.bell.ring() {
		e.bellRung.Add(1)
	}
}
