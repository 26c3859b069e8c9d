package conformance

import (
	"testing"

	"healkv/rdma"
)

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
