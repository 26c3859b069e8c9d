package dataplane

import (
	"testing"

	"healkv/rdma/ring"
	"healkv/rdma/sim"
)

// mangled is an endpoint that has given a peer's stream up, as providers do
// when its framing makes no sense.
type mangled struct {
	*sim.Endpoint
	of uint16
}

func (m *mangled) Malformed() uint16 { return m.of }

func (m *mangled) Mirror(peer int) *ring.Mirror {
	if m.of>>peer&1 == 1 {
		return nil
	}
	return m.Endpoint.Mirror(peer)
}

// A stream that the provider gives up is given up here too, after as many looks
// as bytes that fail their checks get: nothing of it would ever come again, and
// its owner's writes would wait for as long as this life is a member (H29).
func TestMalformedStreamIsGivenUp(t *testing.T) {
	d := newDriven(t, 4, Limits{})
	d.settle()
	a, b := d.nodes[0], d.nodes[1]
	if n := b.w.Counters.StreamFaults; n != 0 || b.given != 0 {
		t.Fatalf("%d faults before any", n)
	}
	// A worker that takes no turn sees nothing: what made the bytes senseless
	// came with a wake-up.
	bad := &mangled{b.end, 1 << 0}
	b.w.ep, b.w.malformed = bad, bad
	b.end.Wake()
	d.until("given up", func() bool { return b.given > 0 })
	if looks := b.w.Counters.StreamFaults; looks != faultsMax || a.given != 0 {
		t.Errorf("given up after %d looks, want %d; the other one gave up %d times", looks, faultsMax, a.given)
	}
}
