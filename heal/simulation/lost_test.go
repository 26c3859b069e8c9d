package simulation

import (
	"math/rand/v2"
	"testing"
	"time"

	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
)

// TestLostComesBack: who was lost comes back when the others have gone on
// without it, and where they never can, since it alone is what a cold start
// would go by.
func TestLostComesBack(t *testing.T) {
	for _, c := range []struct {
		what string
		view proto.View
		back bool
	}{
		{"others are waited for too", proto.View{Live: 0b0110}, false},
		{"the others go on", proto.View{Live: 0b0101}, true},
		{"the others start cold", proto.View{Shadow: 0b0101, Cold: true}, true},
		{"it is in the cold start that was cut off", proto.View{Shadow: 0b0111, Cold: true}, false},
		{"nobody else is live", proto.View{Live: 0b0010, Shadow: 0b0100}, true},
		{"nobody else was in the cold start", proto.View{Shadow: 0b0010, Cold: true}, true},
	} {
		w := &world{o: Options{Nodes: 3, Lease: 30 * time.Millisecond}, sim: flowsim.New(1), rng: rand.New(rand.NewPCG(1, 1)), newest: c.view, lost: 0b0010, away: 0b0010}
		for i := range 3 {
			w.nodes = append(w.nodes, &machine{w: w, id: i})
		}
		w.found()
		if back := w.away == 0; back != c.back || back != (w.lost == 0) {
			t.Errorf("%s: comes back %v, want %v; lost are %v", c.what, back, c.back, w.lost)
		}
		w.sim.Close()
	}
}
