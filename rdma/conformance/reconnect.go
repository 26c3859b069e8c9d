package conformance

import (
	"testing"

	"healkv/rdma"
)

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
