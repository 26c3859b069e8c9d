package dataplane

import (
	"testing"
	"time"

	"healkv/dataplane/sched"
)

// A batch is told how long the worker kept it waiting: not the time in which it was
// worked on, and not that in which another batch was.
func TestAdoptTellsWaits(t *testing.T) {
	if sched.Worked() == 0 {
		t.Fatal("no processor time of this thread")
	}
	now, ms := int64(time.Second), int64(time.Millisecond)
	for _, c := range []struct {
		threaded       bool
		offered, ended int64 // before the end of the batch
		want           int64
	}{{true, 9 * ms, 20 * ms, 9 * ms}, {true, 9 * ms, 5 * ms, 5 * ms}, {false, 9 * ms, 20 * ms, 0}} {
		w := &Worker{threaded: c.threaded, clock: func() int64 { return now }, adoptEnded: now - c.ended}
		b := &Batch{offered: now - c.offered}
		w.adoptBegins(b)
		w.adoptEnds(b)
		if b.Waited > c.want || b.Waited < c.want*9/10 {
			t.Errorf("offered %d before the end, the one before ended %d: waited %d, want %d", c.offered, c.ended, b.Waited, c.want)
		}
	}
}
