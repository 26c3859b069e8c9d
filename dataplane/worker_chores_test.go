package dataplane

import "testing"

// A step of a chore is followed by a rest of nine times its length; a worker
// without a thread, in a simulation, has none.
func TestChoresRest(t *testing.T) {
	now := int64(1000)
	for _, threaded := range []bool{true, false} {
		w := &Worker{threaded: threaded, clock: func() int64 { return now }}
		worked, rested := int64(0), int64(0)
		for range 1000 {
			w.now = now
			if w.choresRest() {
				rested++
				now++
				continue
			}
			began := w.choreBegins()
			now += 10
			worked += 10
			w.choreEnds(began)
		}
		if want := worked * choreRest; threaded && (rested < want*9/10 || rested > want) || !threaded && rested != 0 {
			t.Errorf("thread: %v; worked for %d, rested for %d", threaded, worked, rested)
		}
	}
}
