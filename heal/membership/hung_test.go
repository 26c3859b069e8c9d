package membership

import (
	"context"
	"errors"
	"testing"
)

// TestProposalEndsWithItsCaller: the own disk hangs and without its vote there
// is no majority.
func TestProposalEndsWithItsCaller(t *testing.T) {
	w := calmWorld(t, 3, 3)
	for len(w.nodes) != 3 {
		seed := w.seed + 1
		w.killAll()
		w = calmWorld(t, seed, 3)
	}
	a := w.nodes[0]
	w.nodes[2].p.Pause()
	var err error
	done := false
	a.p.Go(func() {
		a.s.takeDisk()
		ctx, cancel := a.p.Timeout(context.Background(), w.lease/4)
		defer cancel()
		_, err = a.s.SameMembers(ctx, a.s.Current().Epoch)
		done = true
	})
	a.p.Run()
	w.run(w.lease / 2)
	if !done || !errors.Is(err, ErrNoMajority) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended %v: %v", done, err)
	}
	a.s.leaveDisk()
	w.killAll()
}
