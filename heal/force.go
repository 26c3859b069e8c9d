package heal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
	"healkv/heal/rejoin"
)

// errBusy: the way back did not look at an order in time.
var errBusy = errors.New("heal: the way back did not come to look at the order; give it again")

// Force gives an operator's order to the way back: start cold without some
// members whose data is lost (rejoin.Machine.Force). nil: it was taken, or with
// Dry would be; the events and views that follow tell what becomes of it. An
// error that is a rejoin.ErrForced says why it is refused. Any goroutine.
func (l *Life) Force(f rejoin.Forced) error {
	l.mu.Lock()
	v, ended := l.newest, l.ended
	l.mu.Unlock()
	if ended != nil {
		return errNoLife
	}
	if v.Has(l.self) && !v.Cold {
		// The machine may be busy for long, or done.
		return fmt.Errorf("%w: this life is a member of view %d, which goes on", rejoin.ErrForced, v.Epoch)
	}
	if l.cfg.Running != nil && v.Epoch == f.Epoch {
		if run := l.cfg.Running() & v.Live; run != 0 {
			return fmt.Errorf("%w: nodes %v are heard to run in their lives of view %d: the cluster is not down", rejoin.ErrForced, run, v.Epoch)
		}
	}
	// A machine that waits says no hello, so what it knows of the others may be
	// of long ago: one that has gone since would be there with a whole pool for
	// ever, or be counted on where it is not.
	begun := l.env.Now()
	var all []greeting
	if !v.Has(l.self) && v.Epoch == f.Epoch && !plant.Is(plant.ForcedLong) {
		all = l.greet(context.Background(), v.ColdSet().Without(l.self.Node))
	}
	var err error
	var settled atomic.Bool // it was looked at, or is not to be any more
	answered := make(chan struct{})
	told := l.tell(func(m *rejoin.Machine) {
		if !settled.CompareAndSwap(false, true) {
			return // whoever gave it was told that nothing came of it
		}
		if m.View().Epoch == v.Epoch {
			l.greeted(m, all)
		}
		if err = m.Force(f); err == nil && !f.Dry {
			l.cfg.Event("cold_start_forced", f.Epoch, fmt.Sprintf("without nodes %v", f.Without))
			l.log.Warn("cold start forced by the operator", "epoch", f.Epoch, "without", f.Without.String(),
				"loses", rejoin.Loses(v.Model, m.View(), f.Without))
		}
		close(answered)
	})
	if told != nil {
		return errBusy
	}
	if l.env.Wait(max(0, 2*l.updateTimeout()-time.Duration(l.env.Now()-begun)), answered) != 0 {
		if settled.CompareAndSwap(false, true) {
			return errBusy
		}
		l.env.Wait(-1, answered)
	}
	return err
}
