package membership

import (
	"testing"
	"time"

	"healkv/heal/control"
)

// A connection between hosts that ends proves nothing, and nothing ever will:
// the detector looks once and not a thousand times a second.
func TestClosedConnectionBetweenHosts(t *testing.T) {
	turns := map[bool]uint64{}
	for _, hosts := range []bool{false, true} {
		c := newCluster(t, 3, time.Second)
		c.hosts = hosts
		c.bringUp()
		s := c.nodes[0].s
		looks := func() uint64 { return s.Status().Counts.Looks }
		before := looks()
		for range 3 {
			s.onEvent(control.Event{Kind: control.PeerClosed, Member: c.nodes[1].member})
		}
		until(t, "a look", func() bool { return looks() > before })
		time.Sleep(500 * time.Millisecond) // what is measured is a rate
		turns[hosts] = looks() - before
	}
	t.Logf("turns of the detector in half a second after a connection was closed: %d on one host, %d between hosts", turns[false], turns[true])
	if turns[true] > 60 { // a lease has eight, beats and renewals wake it too
		t.Errorf("%d turns between hosts", turns[true])
	}
}
