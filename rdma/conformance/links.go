package conformance

import (
	"testing"

	"healkv/rdma"
)

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
