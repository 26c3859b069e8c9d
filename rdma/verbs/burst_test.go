//go:build verbs

package verbs

import (
	"testing"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// Work requests, doorbells, crossings and signalled completions of a burst are
// at their minimum: bytes and line per peer in one list, all peers in one
// crossing, looking costs none.
func TestBurstIsMinimal(t *testing.T) {
	c := newCluster(t)
	a, b, d := c.end(0, 1), c.end(1, 1), c.end(2, 1)
	p := &pair{c: c, a: a, b: b}
	for _, x := range []*Endpoint{b, d} {
		p.attach(a, x)
		p.attach(x, a)
		a.Feed(x.self, 0)
	}
	c.settle()
	ringEntries := uint64(conformance.RingBytes / entryBytes)
	bursts, wraps, signalled := uint64(0), uint64(0), a.Counters().Signalled
	var m rdma.Marks
	settle := func() { // what that signals is not counted
		x := a.Counters().Signalled
		c.settle()
		signalled += a.Counters().Signalled - x
		a.Out().Reclaim(a.Out().Tail())
	}
	for burst := range uint64(400) {
		before := a.Counters()
		want := uint64(2)
		first := p.sent % ringEntries
		for range 3 {
			if _, _, ok := a.Out().Next(entryBytes); !ok {
				t.Fatal("ring full")
			}
			p.sent++
		}
		if first+3 > ringEntries {
			want = 3
			wraps++
		}
		a.Publish()
		m.Visible = burst
		a.PublishMarks(1, &m)
		a.PublishMarks(2, &m)
		a.WakePeers()
		after := a.Counters()
		if after.Full != before.Full { // the emulated adapter is slow: put off, not lost
			settle()
			continue
		}
		bursts++
		if n := after.WorkRequests - before.WorkRequests; n != 2*want {
			t.Fatalf("%d work requests for two peers, want %d", n, 2*want)
		}
		if n := after.Doorbells - before.Doorbells; n != 2 {
			t.Fatalf("%d doorbells for two peers", n)
		}
		if n := after.Crossings - before.Crossings; n != 1 {
			t.Fatalf("%d crossings in a burst", n)
		}
		if n := after.Signalled - before.Signalled; n > 2 {
			t.Fatalf("%d signalled", n)
		}
		before = after
		a.Poll()
		a.Marks(1, &rdma.Marks{})
		a.Mirror(1)
		a.WakePeers() // nothing new
		if a.Counters().Crossings != before.Crossings {
			t.Fatal("looking crosses into C")
		}
		if burst%8 == 7 {
			settle()
		}
	}
	if n := a.Counters().Signalled - signalled; n > 2*(bursts*3/(signalEvery-burstMax)+2) {
		t.Errorf("%d signalled in %d bursts", n, bursts)
	}
	if bursts < 300 || wraps == 0 {
		t.Errorf("%d bursts counted, %d wraps", bursts, wraps)
	}
	before := a.Counters() // watermarks alone: one request
	m.Visible++
	a.PublishMarks(2, &m)
	a.WakePeers()
	after := a.Counters()
	if after.WorkRequests-before.WorkRequests != 1 || after.Doorbells-before.Doorbells != 1 || after.Crossings-before.Crossings != 1 {
		t.Errorf("watermarks alone: %+v, before %+v", after, before)
	}
	t.Logf("%d bursts to 2 peers (%d wraps): 2 work requests and 1 doorbell a peer, 1 crossing; inline %v", bursts, wraps, after.Inline > 0)
}
