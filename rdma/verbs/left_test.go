//go:build verbs

package verbs

import (
	"slices"
	"testing"

	"healkv/rdma"
)

// A life that is detached, and whose link is closed, leaves no lane of its own
// behind, also none that came in between; others stay.
func TestClosedLinkTakesItsLanes(t *testing.T) {
	const peer = 2
	for _, x := range []struct {
		name            string
		detached, other bool
		left            int
	}{{"detached", true, false, 1}, {"never attached", false, false, 3}, {"another link to the same life", true, true, 3}} {
		e := &Endpoint{}
		l := &link{owner: e, peer: peer, incarnation: 7, detached: x.detached}
		e.links[peer] = []*link{l}
		if x.other {
			e.links[peer] = append(e.links[peer], &link{owner: e, peer: peer, incarnation: 7})
		}
		for _, incarnation := range []uint32{7, 8, 7} {
			e.in[peer] = append(e.in[peer], &inLane{peer: peer, incarnation: incarnation, fenced: true})
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if len(e.in[peer]) != x.left || !slices.ContainsFunc(e.in[peer], func(n *inLane) bool { return n.incarnation == 8 }) || l.rubbish != nil {
			t.Errorf("%s: %d lanes left, want %d", x.name, len(e.in[peer]), x.left)
		}
	}
}

// What a life has of our memory goes with its link: windows of it are pinned.
func TestDetachedReaderIsClosed(t *testing.T) {
	p := newPair(t)
	mem := p.c.memory(2 * pieceBytes)
	t.Cleanup(func() { p.a.Close(); p.b.Close(); unmapMemory(mem) })
	if err := p.b.Expose(rdma.Exposed{Mem: mem, Size: int64(len(mem))}); err != nil {
		t.Fatal(err)
	}
	r, err := p.a.Remote(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, pieceBytes)
	if _, err := r.ReadAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	x := p.b.exposed.readers[0]
	l := p.b.Detach(0).(*link)
	if n := p.b.ReadStats().Readers; n != 0 || !slices.ContainsFunc(l.rubbish, func(y interface{ close() error }) bool { return y == x }) {
		t.Errorf("%d readers left, rubbish %v", n, l.rubbish)
	}
	if _, err := r.ReadAt(buf, pieceBytes); err == nil {
		t.Error("a detached peer reads")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
