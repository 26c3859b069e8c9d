package conformance

import (
	"encoding/binary"
	"errors"
	"testing"

	"healkv/rdma"
)

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
