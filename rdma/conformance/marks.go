package conformance

import (
	"testing"

	"healkv/rdma"
)

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
