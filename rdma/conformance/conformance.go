// Package conformance is the suite every provider of rdma.Endpoint passes. It
// is test code: a provider's own tests call Run.
package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"healkv/rdma"
	"healkv/rdma/ring"
)

// RingBytes is the ring that endpoints under test must have, and Nodes how many
// are configured.
const (
	RingBytes = 64 << 10
	Nodes     = 3
)

// Fabric is a provider under test.
type Fabric struct {
	// New makes the endpoint of one life of a node, shard 0. The fabric closes
	// it at the end of the test if the test has not.
	New func(node int, incarnation uint32) rdma.Endpoint
	// Settle lets everything that was published arrive.
	Settle func()
	// Expose lets peers of e read a copy of mem.
	Expose func(e rdma.Endpoint, mem []byte)
	// Sleep makes the endpoint prepare to sleep, runs before, sleeps without
	// timeout, runs during, and fails the test unless the sleep ends then.
	Sleep func(e rdma.Endpoint, before, during func())
	// AllocFree: the datapath allocates nothing.
	AllocFree bool
}

// Run runs the suite; fabric makes a fresh, empty one.
func Run(t *testing.T, fabric func(t *testing.T) Fabric) {
	cases := []struct {
		name string
		run  func(*testing.T, Fabric)
	}{
		{"NoSuchPeer", noSuchPeer},
		{"StreamInOrder", streamInOrder},
		{"NothingBeforePublish", nothingBeforePublish},
		{"MirrorNeedsBothSides", mirrorNeedsBothSides},
		{"FeedFromMiddle", feedFromMiddle},
		{"FeedBeforePublish", feedBeforePublish},
		{"FullRing", fullRing},
		{"MarksArrive", marksArrive},
		{"MarksOfThePair", marksOfThePair},
		{"PeerReborn", peerReborn},
		{"SelfReborn", selfReborn},
		{"OldLifeGoesOn", oldLifeGoesOn},
		{"Detach", detach},
		{"DetachOneOfTwo", detachOneOfTwo},
		{"AttachReplaces", attachReplaces},
		{"Reconnect", reconnect},
		{"ReconnectOneSide", reconnectOneSide},
		{"ReconnectByPeer", reconnectByPeer},
		{"Sleep", sleeps},
		{"Remote", remote},
		{"Close", closes},
		{"DatapathAllocatesNothing", allocatesNothing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, fabric(t)) })
	}
	t.Logf("%d cases", len(cases))
}

// end is an endpoint with what the tests need to know about it.
type end struct {
	rdma.Endpoint
	t    testing.TB
	node int
	inc  uint32
}

func newEnd(t testing.TB, f Fabric, node int, inc uint32) *end {
	return &end{f.New(node, inc), t, node, inc}
}

func (e *end) prepare(p *end) rdma.Link {
	e.t.Helper()
	l, err := e.Prepare(p.node, p.inc)
	if err != nil {
		e.t.Fatalf("prepare %d.%d at %d.%d: %v", p.node, p.inc, e.node, e.inc, err)
	}
	if l.Peer() != p.node || l.Incarnation() != p.inc {
		e.t.Fatalf("link to %d.%d, want %d.%d", l.Peer(), l.Incarnation(), p.node, p.inc)
	}
	return l
}

func (e *end) attach(p *end) { e.t.Helper(); e.Attach(e.prepare(p)) }

func join(f Fabric, a, b *end) {
	a.t.Helper()
	a.attach(b)
	b.attach(a)
	f.Settle()
}

// put appends an entry of n bytes: its number, its size, a pattern. It fails
// the test if the ring is full.
func (e *end) put(number uint64, n int) {
	e.t.Helper()
	if !e.tryPut(number, n) {
		e.t.Fatalf("ring full at entry %d", number)
	}
}

func (e *end) tryPut(number uint64, n int) bool {
	dst, _, ok := e.Out().Next(n)
	if !ok {
		return false
	}
	binary.LittleEndian.PutUint64(dst, number)
	binary.LittleEndian.PutUint64(dst[8:], uint64(n))
	for i := 16; i < n; i++ {
		dst[i] = byte(number) + byte(i)
	}
	return true
}

// take reads the next entry from p; -1 when there is none.
func (e *end) take(p *end) int64 {
	e.t.Helper()
	m := e.Mirror(p.node)
	if m == nil {
		return -1
	}
	w, err := m.Window()
	if err != nil {
		e.t.Fatal(err)
	}
	if w == nil {
		return -1
	}
	number, n := binary.LittleEndian.Uint64(w), int(binary.LittleEndian.Uint64(w[8:]))
	if n < 16 || n > len(w) {
		e.t.Fatalf("entry %d claims %d bytes of %d", number, n, len(w))
	}
	for i := 16; i < n; i++ {
		if w[i] != byte(number)+byte(i) {
			e.t.Fatalf("entry %d: byte %d is %#x", number, i, w[i])
		}
	}
	m.Advance(n)
	return int64(number)
}

// want takes exactly the entries from to to-1.
func (e *end) want(p *end, from, to uint64) {
	e.t.Helper()
	e.Poll()
	for i := from; i < to; i++ {
		if got := e.take(p); got != int64(i) {
			e.t.Fatalf("node %d took entry %d of node %d, want %d", e.node, got, p.node, i)
		}
	}
	if got := e.take(p); got != -1 {
		e.t.Fatalf("node %d took entry %d of node %d beyond %d", e.node, got, p.node, to)
	}
}

func (e *end) wantMarks(p *end, want rdma.Marks) {
	e.t.Helper()
	var m rdma.Marks
	m.Epoch = 77 // must be overwritten
	e.Marks(p.node, &m)
	if m != want {
		e.t.Fatalf("node %d.%d reads %+v of node %d, want %+v", e.node, e.inc, m, p.node, want)
	}
}

func (e *end) wantNoMirror(p *end) {
	e.t.Helper()
	e.Poll()
	if e.Mirror(p.node) != nil {
		e.t.Fatalf("node %d.%d has a mirror of node %d.%d", e.node, e.inc, p.node, p.inc)
	}
}

func (e *end) detach(p *end) {
	e.t.Helper()
	l := e.Detach(p.node)
	if l == nil {
		e.t.Fatalf("node %d: no link to node %d to detach", e.node, p.node)
	}
	if err := l.Close(); err != nil {
		e.t.Fatal(err)
	}
	if e.Mirror(p.node) != nil {
		e.t.Fatal("mirror after Detach")
	}
	e.wantMarks(p, rdma.Marks{})
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// marks makes a line of eight different numbers.
func marks(x uint64) rdma.Marks {
	return rdma.Marks{Epoch: x, Visible: x + 1, Stable: x + 2, Applied: x + 3, Durable: x + 4, Room: x + 5, Settled: x + 6, Flushed: x + 7}
}

func noSuchPeer(t *testing.T, f Fabric) {
	a := newEnd(t, f, 0, 1)
	for _, p := range []struct {
		node int
		inc  uint32
	}{{1, 1}, {0, 1}, {0, 2}, {-1, 1}, {Nodes, 1}, {1 << 20, 1}, {1, 0}} {
		l, err := a.Prepare(p.node, p.inc)
		wantErr(t, err, rdma.ErrNoPeer)
		if l != nil {
			t.Fatalf("a link to %v with an error", p)
		}
		_, err = a.Remote(p.node, p.inc)
		wantErr(t, err, rdma.ErrNoPeer)
	}
	newEnd(t, f, 1, 2)
	_, err := a.Prepare(1, 1)
	wantErr(t, err, rdma.ErrNoPeer)
	_, err = a.Prepare(1, 3)
	wantErr(t, err, rdma.ErrNoPeer)
	if a.Detach(1) != nil || a.Detach(Nodes) != nil || a.Detach(-1) != nil {
		t.Fatal("Detach of nobody gave a link")
	}
	if a.Mirror(1) != nil {
		t.Fatal("a mirror of nobody")
	}
	a.Poll()
	a.WakePeers()
	m := marks(5)
	a.PublishMarks(1, &m)
	a.wantMarks(&end{node: 1}, rdma.Marks{})
}

// Two readers at different speeds, many times around the ring.
func streamInOrder(t *testing.T, f Fabric) {
	a, b, c := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1), newEnd(t, f, 2, 1)
	readers := []*end{b, c}
	for _, r := range readers {
		join(f, a, r)
		a.Feed(r.node, 0)
	}
	next := [2]uint64{}
	rnd := uint64(0x9e3779b97f4a7c15)
	sent, total := uint64(0), uint64(0)
	for sent < 5000 {
		rnd ^= rnd << 13
		rnd ^= rnd >> 7
		rnd ^= rnd << 17
		for range 1 + rnd%8 {
			n := 16 * (1 + int(rnd>>8)&127)
			if !a.tryPut(sent, n) {
				break
			}
			total += uint64(n)
			sent++
		}
		a.Publish()
		a.WakePeers()
		f.Settle()
		for i, r := range readers {
			if rnd>>(40+i)&(1<<i) == 0 && i > 0 && a.Out().Room() > RingBytes/4 {
				continue // the slow one leaves it for later
			}
			r.Poll()
			for {
				got := r.take(a)
				if got < 0 {
					break
				}
				if uint64(got) != next[i] {
					t.Fatalf("reader %d took %d, want %d", r.node, got, next[i])
				}
				next[i]++
			}
			m := rdma.Marks{Applied: r.Mirror(0).Cursor()}
			r.PublishMarks(0, &m)
		}
		f.Settle()
		low := a.Out().Tail()
		for _, r := range readers {
			var m rdma.Marks
			a.Marks(r.node, &m)
			low = min(low, m.Applied)
		}
		a.Out().Reclaim(low)
	}
	f.Settle()
	for i, r := range readers {
		r.want(a, next[i], sent)
	}
	if total < 10*RingBytes {
		t.Fatalf("only %d bytes passed", total)
	}
	t.Logf("%d entries, %d bytes, two readers", sent, total)
}

func nothingBeforePublish(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	f.Settle()
	a.put(0, 64)
	a.put(1, 64)
	f.Settle()
	b.want(a, 0, 0)
	a.Publish()
	a.put(2, 64)
	f.Settle()
	b.want(a, 0, 2)
	a.Publish()
	a.Publish() // again: nothing new
	if b.Mirror(0).Limit() != 128 {
		t.Fatal("the limit moved without Poll")
	}
	f.Settle()
	b.want(a, 2, 3)
}

func mirrorNeedsBothSides(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	a.put(0, 32)
	a.Publish()
	b.attach(a)
	f.Settle()
	b.wantNoMirror(a)
	a.attach(b)
	f.Settle()
	b.wantNoMirror(a)
	a.Feed(1, 0)
	f.Settle()
	if b.Mirror(0) != nil {
		t.Fatal("a mirror without Poll")
	}
	b.want(a, 0, 1)
	a.wantNoMirror(b)
}

// The reader attaches last, and starts where it is told to.
func feedFromMiddle(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	for i := range uint64(10) {
		a.put(i, 48)
	}
	a.Publish()
	a.Out().Reclaim(48 * 3)
	a.attach(b)
	a.Feed(1, 48*4)
	a.put(10, 48)
	a.Publish()
	f.Settle()
	b.attach(a)
	f.Settle()
	b.Poll()
	if m := b.Mirror(0); m == nil || m.Cursor() != 48*4 {
		t.Fatalf("mirror %+v, want one at %d", m, 48*4)
	}
	b.want(a, 4, 11)
}

// Feed from a position that is not published yet.
func feedBeforePublish(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.put(0, 32)
	a.put(1, 32)
	a.Feed(1, 64)
	f.Settle()
	b.want(a, 0, 0)
	a.Publish()
	f.Settle()
	b.want(a, 0, 0)
	a.put(2, 32)
	a.Publish()
	f.Settle()
	b.want(a, 2, 3)
}

func fullRing(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	n := uint64(0)
	for a.tryPut(n, 4096) {
		n++
	}
	if n != RingBytes/4096 || a.Out().Room() != 0 {
		t.Fatalf("%d entries of 4096 in a ring of %d, room %d", n, RingBytes, a.Out().Room())
	}
	a.Publish()
	f.Settle()
	b.want(a, 0, n)
	if a.tryPut(n, 16) {
		t.Fatal("room without Reclaim")
	}
	m := rdma.Marks{Applied: b.Mirror(0).Cursor()}
	b.PublishMarks(0, &m)
	f.Settle()
	a.Marks(1, &m)
	a.Out().Reclaim(m.Applied)
	a.put(n, 4096)
	a.Publish()
	f.Settle()
	b.want(a, n, n+1)
}

func marksArrive(t *testing.T, f Fabric) {
	a, b, c := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1), newEnd(t, f, 2, 1)
	join(f, a, b)
	join(f, a, c)
	ab, ba, ac := marks(100), marks(200), marks(300)
	a.PublishMarks(1, &ab)
	b.PublishMarks(0, &ba)
	f.Settle()
	b.wantMarks(a, ab)
	a.wantMarks(b, ba)
	c.wantMarks(a, rdma.Marks{})
	a.PublishMarks(2, &ac)
	f.Settle()
	c.wantMarks(a, ac)
	b.wantMarks(a, ab)
	for i := range uint64(50) { // the last one wins
		ab = marks(1000 + i*10)
		a.PublishMarks(1, &ab)
	}
	f.Settle()
	b.wantMarks(a, ab)
	for i := range 8 { // each number by itself
		fields := [...]*uint64{&ab.Epoch, &ab.Visible, &ab.Stable, &ab.Applied, &ab.Durable, &ab.Room, &ab.Settled, &ab.Flushed}
		*fields[i] += 1 << 40
		a.PublishMarks(1, &ab)
		f.Settle()
		b.wantMarks(a, ab)
	}
}

func marksOfThePair(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	m := marks(10)
	b.PublishMarks(0, &m) // not attached: goes nowhere
	a.attach(b)
	f.Settle()
	a.wantMarks(b, rdma.Marks{})
	b.attach(a)
	f.Settle()
	a.wantMarks(b, rdma.Marks{})
	b.PublishMarks(0, &m)
	f.Settle()
	a.wantMarks(b, m)
}

// A node comes back in a new life: nothing of the old one is left (H9).
func peerReborn(t *testing.T, f Fabric) {
	a, b1 := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b1)
	a.Feed(1, 0)
	b1.Feed(0, 0)
	for i := range uint64(20) {
		a.put(i, 64)
		b1.put(i+100, 64)
	}
	a.Publish()
	b1.Publish()
	m := marks(1000)
	a.PublishMarks(1, &m)
	b1.PublishMarks(0, &m)
	f.Settle()
	a.want(b1, 100, 120)
	if err := b1.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := a.Prepare(1, 1)
	wantErr(t, err, rdma.ErrNoPeer)

	b2 := newEnd(t, f, 1, 2)
	b2.attach(a)
	f.Settle()
	b2.wantMarks(a, rdma.Marks{}) // a's line is still for b1
	b2.wantNoMirror(a)
	a.attach(b2)
	f.Settle()
	a.wantMarks(b2, rdma.Marks{})
	b2.wantMarks(a, rdma.Marks{})
	a.wantNoMirror(b2)
	b2.wantNoMirror(a)
	a.Feed(1, 64*10)
	b2.Feed(0, 0)
	b2.put(200, 64)
	b2.Publish()
	f.Settle()
	b2.want(a, 10, 20)
	a.want(b2, 200, 201)
	a.PublishMarks(1, &m) // the same numbers as to the life before
	f.Settle()
	b2.wantMarks(a, m)
}

// We come back in a new life: the peer's line for our old one is not ours.
func selfReborn(t *testing.T, f Fabric) {
	a1, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a1, b)
	b.Feed(0, 0)
	b.put(0, 64)
	b.Publish()
	m := marks(500)
	b.PublishMarks(0, &m)
	f.Settle()
	a1.want(b, 0, 1)
	a1.wantMarks(b, m)
	if err := a1.Close(); err != nil {
		t.Fatal(err)
	}
	a2 := newEnd(t, f, 0, 7)
	a2.attach(b)
	f.Settle()
	b.PublishMarks(0, &m)
	b.put(1, 64)
	b.Publish()
	f.Settle()
	a2.wantNoMirror(b)
	a2.wantMarks(b, rdma.Marks{})
	b.attach(a2)
	f.Settle()
	a2.wantNoMirror(b)
	a2.wantMarks(b, rdma.Marks{})
	b.Feed(0, 64)
	f.Settle()
	a2.want(b, 1, 2)
}

// The old life was only thought dead, and goes on: it reads and says nothing
// any more.
func oldLifeGoesOn(t *testing.T, f Fabric) {
	a, b1 := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b1)
	a.Feed(1, 0)
	b1.Feed(0, 0)
	old := marks(50)
	a.PublishMarks(1, &old)
	a.put(0, 64)
	a.Publish()
	f.Settle()
	b1.want(a, 0, 1)
	b1.wantMarks(a, old)

	b2 := newEnd(t, f, 1, 2)
	join(f, a, b2)
	a.Feed(1, 0)
	now, late := marks(60), marks(9000)
	a.put(1, 64)
	a.Publish()
	a.PublishMarks(1, &now)
	b1.put(300, 64)
	b1.Publish()
	b1.PublishMarks(0, &late)
	b1.WakePeers()
	f.Settle()
	a.wantNoMirror(b2)
	a.wantMarks(b2, rdma.Marks{})
	b1.wantNoMirror(a)
	b1.wantMarks(a, old) // what it knew
	b2.want(a, 0, 2)
	b2.wantMarks(a, now)

	b1.attach(a) // it may even connect again
	f.Settle()
	b1.wantNoMirror(a)
	b1.wantMarks(a, rdma.Marks{})
	b1.PublishMarks(0, &late)
	f.Settle()
	a.wantMarks(b2, rdma.Marks{})
}

func detach(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	b.Feed(0, 0)
	a.put(0, 64)
	a.Publish()
	before := marks(10)
	a.PublishMarks(1, &before)
	f.Settle()
	b.want(a, 0, 1)
	b.wantMarks(a, before)

	b.put(0, 64)
	b.Publish()
	m := marks(20)
	b.PublishMarks(0, &m)
	a.detach(b)
	b.put(1, 64)
	b.Publish()
	b.WakePeers()
	f.Settle()
	a.wantNoMirror(b)
	a.wantMarks(b, rdma.Marks{})
	a.put(1, 64)
	a.Publish()
	a.PublishMarks(1, &m)
	a.WakePeers()
	f.Settle()
	if b.Mirror(0) != nil { // without Poll: bytes may be overwritten already
		t.Fatal("a mirror of a peer that has detached us")
	}
	b.wantNoMirror(a)
	b.wantMarks(a, before)
	if a.Detach(1) != nil {
		t.Fatal("detached twice")
	}
}

func detachOneOfTwo(t *testing.T, f Fabric) {
	a, b, c := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1), newEnd(t, f, 2, 1)
	join(f, a, b)
	join(f, a, c)
	a.Feed(1, 0)
	a.Feed(2, 0)
	a.put(0, 64)
	a.Publish()
	f.Settle()
	a.detach(b)
	a.put(1, 64)
	a.Publish()
	m := marks(30)
	a.PublishMarks(2, &m)
	f.Settle()
	c.want(a, 0, 2)
	c.wantMarks(a, m)
	b.wantNoMirror(a)
}

// Attach over a link: the older one is detached.
func attachReplaces(t *testing.T, f Fabric) {
	a, b1 := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b1)
	a.Feed(1, 0)
	b2 := newEnd(t, f, 1, 2)
	l := a.prepare(b2)
	a.put(0, 64)
	a.Publish()
	a.Attach(l)
	a.Feed(1, 0)
	b2.attach(a)
	f.Settle()
	b2.want(a, 0, 1)
	b1.wantNoMirror(a)
	if got := a.Detach(1); got != l {
		t.Fatal("Detach gave another link than the one attached last")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A connection between the same lives is made again, in either order, and goes
// on where the reader stood.
func reconnect(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	at, n := uint64(0), uint64(0)
	send := func() {
		a.put(n, 64)
		n++
		a.Publish()
		f.Settle()
	}
	send()
	b.want(a, at, n)
	at = n
	for round := range 20 {
		send() // published, and not taken before the break
		if round%2 == 0 {
			a.detach(b)
			a.attach(b)
			if round%4 == 0 {
				f.Settle()
				b.Poll()
			}
			b.detach(a)
			b.attach(a)
		} else {
			b.detach(a)
			b.attach(a)
			if round%4 == 1 {
				f.Settle()
				b.Poll()
			}
			a.detach(b)
			a.attach(b)
		}
		a.Feed(1, at*64)
		m := rdma.Marks{Applied: at}
		b.PublishMarks(0, &m)
		f.Settle()
		a.wantMarks(b, m)
		b.want(a, at, n)
		at = n
		send()
		b.want(a, at, n)
		at = n
		a.Out().Reclaim(at * 64)
	}
}

// Only the reader connects again: it reads on, nothing twice.
func reconnectOneSide(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	for i := range uint64(200) { // more than a ring
		a.put(i, 1024)
		a.Publish()
		f.Settle()
		b.want(a, i, i+1)
		a.Out().Reclaim(a.Out().Tail())
	}
	for i := range uint64(3) {
		b.detach(a)
		b.attach(a)
		f.Settle()
		if i > 0 {
			b.want(a, 0, 0)
		}
		a.put(200+i, 1024)
		a.Publish()
		f.Settle()
		b.want(a, 200+i, 201+i)
	}
}

// Only the producer connects again, between two looks of the reader: what it
// said before is gone, and it feeds anew from where it says.
func reconnectByPeer(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	for i := range uint64(8) {
		a.put(i, 64)
	}
	a.Publish()
	m := marks(10)
	a.PublishMarks(1, &m)
	f.Settle()
	b.want(a, 0, 8)
	b.wantMarks(a, m)
	a.detach(b)
	a.attach(b)
	f.Settle()
	b.wantMarks(a, rdma.Marks{})
	b.wantNoMirror(a)
	a.Feed(1, 64*6)
	a.PublishMarks(1, &m)
	f.Settle()
	b.want(a, 6, 8)
	b.wantMarks(a, m)
}

func sleeps(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.WakePeers()
	b.WakePeers()
	f.Settle()
	nothing := func() {}
	number := uint64(0)
	m := rdma.Marks{}
	news := []struct {
		name string
		make func()
	}{
		{"Wake", func() { b.Wake() }},
		{"Feed", func() { a.Feed(1, a.Out().Tail()); a.WakePeers(); f.Settle() }},
		{"Publish", func() { a.put(number, 64); number++; a.Publish(); a.WakePeers(); f.Settle() }},
		{"PublishMarks", func() { m.Visible++; a.PublishMarks(1, &m); a.WakePeers(); f.Settle() }},
	}
	for round := range 50 {
		for _, x := range news {
			if x.name == "Feed" {
				a.detach(b)
				a.attach(b)
				a.WakePeers()
				f.Settle()
			}
			if round%2 == 0 {
				f.Sleep(b.Endpoint, x.make, nothing)
			} else {
				f.Sleep(b.Endpoint, nothing, x.make)
			}
		}
		b.PrepareSleep()
		b.CancelSleep()
		b.PrepareSleep()
		b.Sleep(0)
		a.Out().Reclaim(a.Out().Tail())
	}
	// News from before PrepareSleep were seen by looking once more; they do not
	// end the sleep, and do not disturb it.
	a.put(number, 64)
	a.Publish()
	a.WakePeers()
	b.Wake()
	f.Settle()
	f.Sleep(b.Endpoint, nothing, func() { b.Wake() })
	t.Logf("%d sleeps", 50*len(news)+1)
}

func remote(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	_, err := a.Remote(1, 1)
	wantErr(t, err, rdma.ErrNoPeer)
	mem := make([]byte, 3<<20+4096+17)
	for i := range mem {
		mem[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	f.Expose(b.Endpoint, mem)
	r, err := a.Remote(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != int64(len(mem)) {
		t.Fatalf("size %d, want %d", r.Size(), len(mem))
	}
	read := uint64(0)
	buf := make([]byte, 1<<20)
	for _, x := range []struct{ off, n int }{{0, 1}, {0, 0}, {1, 4095}, {4095, 2}, {100000, 1 << 20}, {len(mem) - 1, 1}, {len(mem), 0}, {len(mem) - 1<<20, 1 << 20}} {
		clear(buf)
		n, err := r.ReadAt(buf[:x.n], int64(x.off))
		if err != nil || n != x.n {
			t.Fatalf("read %d at %d: %d, %v", x.n, x.off, n, err)
		}
		for i := range x.n {
			if buf[i] != mem[x.off+i] {
				t.Fatalf("read %d at %d: byte %d is %#x, want %#x", x.n, x.off, i, buf[i], mem[x.off+i])
			}
		}
		read += uint64(x.n)
	}
	for _, x := range []struct {
		off int64
		n   int
	}{{-1, 1}, {int64(len(mem)), 1}, {int64(len(mem)) - 5, 6}, {1 << 62, 1}, {-1 << 63, 1}} {
		_, err := r.ReadAt(buf[:x.n], x.off)
		wantErr(t, err, rdma.ErrRange)
	}
	if r.BytesRead() != read {
		t.Fatalf("counted %d bytes, want %d", r.BytesRead(), read)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = r.ReadAt(buf[:1], 0)
	wantErr(t, err, rdma.ErrClosed)
	_, err = a.Remote(1, 2)
	wantErr(t, err, rdma.ErrNoPeer)
}

func closes(t *testing.T, f Fabric) {
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	spare := b.prepare(a)
	join(f, a, b)
	a.Feed(1, 0)
	a.put(0, 64)
	a.Publish()
	f.Settle()
	b.want(a, 0, 1)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, a.Close(), rdma.ErrClosed)
	_, err := a.Prepare(1, 1)
	wantErr(t, err, rdma.ErrClosed)
	_, err = a.Remote(1, 1)
	wantErr(t, err, rdma.ErrClosed)
	a.Wake()
	f.Settle()
	b.wantNoMirror(a)
	_, err = b.Prepare(0, 1)
	wantErr(t, err, rdma.ErrNoPeer)
	b.Publish()
	b.WakePeers()
	b.detach(a)
	if err := spare.Close(); err != nil {
		t.Fatal(err)
	}
	if err := spare.Close(); err != nil { // again: nothing to do
		t.Fatal(err)
	}
}

func allocatesNothing(t *testing.T, f Fabric) {
	if !f.AllocFree {
		t.Log("this provider allocates by design")
		return
	}
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	f.Settle()
	b.Poll()
	n := uint64(0)
	var am, bm, in rdma.Marks
	burst := func() {
		for range 4 {
			dst, _, _ := a.Out().Next(32 + int(n%5)*16)
			binary.LittleEndian.PutUint64(dst, n)
			n++
		}
		a.Publish()
		am = marks(n)
		a.PublishMarks(1, &am)
		a.WakePeers()
		b.Poll()
		b.Marks(0, &in)
		m := b.Mirror(0)
		for w, _ := m.Window(); w != nil; w, _ = m.Window() {
			m.Advance(len(w) &^ (ring.Align - 1))
		}
		bm.Applied = m.Cursor()
		b.PublishMarks(0, &bm)
		b.WakePeers()
		a.Marks(1, &in)
		a.Out().Reclaim(in.Applied)
		b.PrepareSleep()
		a.Wake()
		b.Wake()
		b.Sleep(-1)
	}
	if got := testing.AllocsPerRun(2000, burst); got != 0 {
		t.Fatalf("%v allocations per burst", got)
	}
	t.Log(fmt.Sprint(n, " entries"))
}
