package conformance

import (
	"testing"

	"healkv/rdma"
)

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
