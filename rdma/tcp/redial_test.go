package tcp

import (
	"crypto/tls"
	"testing"
	"time"
)

// Connections are made anew under a stream that goes on: nothing of it is lost
// or comes twice, and none of them counts as broken.
func TestRedial(t *testing.T) {
	for name, c := range map[string]*tls.Config{"plain": nil, "tls": mutual()} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, c)
			a, b := n.end(0, 1), n.end(1, 1)
			n.pair(a, b)
			a.Feed(1, 0)
			b.Feed(0, 0)
			n.settle()
			const times = 20
			sent, got := uint64(0), uint64(0)
			turn := func() {
				if sent-got < 100 && put(a, sent, 64) {
					sent++
					a.Publish()
				}
				a.WakePeers()
				a.Poll()
				b.Poll()
				b.WakePeers()
				got = take(t, b, 0, got)
				a.Out().Reclaim(got * 64)
			}
			for i := range times {
				before := a.sending(b)
				a.Redial(1)
				for began := time.Now(); a.sending(b) == before || a.sending(b) == nil || a.redials.Load() <= uint64(i); turn() {
					if time.Since(began) > patience {
						t.Fatal("not made anew")
					}
				}
			}
			for began := time.Now(); got < sent || a.Broken()|b.Broken() != 0; turn() {
				if time.Since(began) > patience {
					t.Fatalf("%d entries sent, %d have come", sent, got)
				}
				if got == sent {
					a.Poll()
				}
			}
			s, r := a.Stats(), b.Stats()
			if s.Redials != times || s.Broken != 0 || s.Lost != 0 || r.Corrupt != 0 || r.Broken != 0 {
				t.Errorf("sender %+v, receiver %+v", s, r)
			}
			a.Redial(-1)
			a.Redial(nodesMax)
			a.Redial(5) // not attached
			a.Poll()
			t.Logf("%d connections made anew, %d entries", times, got)
		})
	}
}
