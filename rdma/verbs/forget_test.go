//go:build verbs

package verbs

import (
	"testing"

	"healkv/cgo/ibverbs"
)

// waiting is an endpoint without a device whose next crossing would post one
// receive for each of the lanes.
func waiting(peer int, lanes ...*inLane) *Endpoint {
	e := &Endpoint{}
	for _, n := range lanes {
		e.requests = append(e.requests, ibverbs.Request{ID: requestID(n.id, kindReceive, 0), Op: ibverbs.OpReceive})
		e.owners = append(e.owners, e.peers[peer])
	}
	return e
}

// A lane that is given up takes its receive along: the queue pair is destroyed
// before the next crossing, which would post to freed memory.
func TestGivenUpLaneIsNotPostedTo(t *testing.T) {
	a, b, c := &inLane{id: 1<<4 | 2, fenced: true}, &inLane{id: 2<<4 | 2, fenced: true}, &inLane{id: 3<<4 | 2, fenced: true}
	left := func(e *Endpoint) (all []uint32) {
		if len(e.requests) != len(e.owners) {
			t.Errorf("%d requests, %d owners", len(e.requests), len(e.owners))
		}
		for _, r := range e.requests {
			all = append(all, uint32(r.ID>>32))
		}
		return all
	}
	e := waiting(2, a, b, a, c)
	e.forget(a)
	if x := left(e); len(x) != 2 || x[0] != b.id || x[1] != c.id {
		t.Errorf("after the first lane is forgotten: %x", x)
	}
	e.forget(a)
	e.forget(c)
	if x := left(e); len(x) != 1 || x[0] != b.id {
		t.Errorf("after the last one: %x", x)
	}

	// A lane change, then the next Poll.
	e = waiting(2, a, b)
	e.fading = []*inLane{a}
	e.letFade()
	e.tasks.Wait()
	if x := left(e); len(x) != 1 || x[0] != b.id {
		t.Errorf("after a lane has faded: %x", x)
	}

	// Detach of a peer without a lane to it: no farewell, so no crossing.
	e = waiting(2, a, b, c)
	l := &link{owner: e, peer: 2, incarnation: 1, state: linkAttached}
	e.peers[2], e.attached = l, 1<<2
	for _, n := range []*inLane{a, b} {
		n.peer, n.incarnation = 2, 1
		e.in[2] = append(e.in[2], n)
	}
	if e.Detach(2) != l {
		t.Error("not detached")
	}
	if x := left(e); len(x) != 1 || x[0] != c.id {
		t.Errorf("after Detach: %x", x)
	}
}
