//go:build verbs

package verbs

import (
	"testing"

	"healkv/cgo/ibverbs"
)

// A ring counts whatever lane it came by: the peer rings once for a number. If
// the sleep were still taken for announced, nothing would ever end it.
func TestRingIsNotForgotten(t *testing.T) {
	const peer, life = 2, 7
	used, waits, adopted := &inLane{id: 1<<4 | peer}, &inLane{id: 2<<4 | peer}, &inLane{id: 3<<4 | peer}
	gone := uint32(4<<4 | peer)
	for _, x := range []struct {
		name  string
		lane  uint32
		known bool
	}{{"in use", used.id, true}, {"not adopted yet", waits.id, true}, {"a candidate", adopted.id, true}, {"given up", gone, false}} {
		e := &Endpoint{}
		l := &link{owner: e, peer: peer, incarnation: life, state: linkAttached, in: used, candidates: []*inLane{adopted}, armed: true, number: 3}
		e.peers[peer] = l
		for _, n := range []*inLane{used, waits, adopted} {
			n.qp, n.incarnation = &ibverbs.QP{}, life
			e.in[peer] = append(e.in[peer], n)
		}
		e.complete(&ibverbs.Completion{ID: requestID(x.lane, kindReceive, 0), Received: 1, Imm: 3})
		if l.armed || !e.rung || !l.rang {
			t.Errorf("%s: armed %v, rung %v, rang %v", x.name, l.armed, e.rung, l.rang)
		}
		if (len(e.requests) == 1) != x.known || (e.counts.Rings == 1) != x.known || (e.counts.Stale == 1) == x.known {
			t.Errorf("%s: %d receives posted again, %d rings, %d stale", x.name, len(e.requests), e.counts.Rings, e.counts.Stale)
		}
	}
}

// The read that shows that the peer knows our sleep may answer after its ring:
// that number is used up.
func TestRingBeforeTheReadsAnswer(t *testing.T) {
	const peer = 2
	slots := make([]byte, slotsBytes)
	for _, x := range []struct {
		name    string
		rings   bool
		imm     uint32
		version uint64
		armed   bool
	}{
		{"no ring", false, 0, 5, true},
		{"ring for this sleep", true, 3, 5, false},
		{"ring for the sleep before", true, 2, 5, true},
		{"something is under way", false, 0, 6, false},
	} {
		e := &Endpoint{}
		l := &link{owner: e, peer: peer, out: &outLane{slots: slots}, polled: 5, number: 3, reading: true}
		e.peers[peer] = l
		if x.rings {
			e.complete(&ibverbs.Completion{ID: requestID(1<<4|peer, kindReceive, 0), Received: 1, Imm: x.imm})
		}
		readWordOf(slots).Store(x.version)
		e.readDone(l)
		if l.armed != x.armed || l.reading || !l.armed && !e.rung {
			t.Errorf("%s: armed %v, reading %v, rung %v", x.name, l.armed, l.reading, e.rung)
		}
	}
}
