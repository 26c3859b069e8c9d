package heal

import (
	"testing"
	"time"

	"healkv/dataplane/flow"
)

// tardy is an Env whose timers are late by almost a millisecond, as the runtime's
// are; waits below one are exact.
type tardy struct {
	flow.Env
	now   int64
	waits int
	ready int // what a wait returns: -1 if its time is over
}

func (e *tardy) Now() int64 { return e.now }

func (e *tardy) Wait(d time.Duration, _ ...<-chan struct{}) int {
	e.waits++
	if e.now += int64(d); d >= time.Millisecond {
		e.now += int64(990 * time.Microsecond)
	}
	return e.ready
}

// A rest is no longer than it was meant to be: what it takes longer is counted as a
// wait for a core.
func TestRest(t *testing.T) {
	for _, d := range []time.Duration{0, time.Microsecond, 999 * time.Microsecond, time.Millisecond, 1100 * time.Microsecond, 4 * time.Millisecond, time.Second} {
		e := &tardy{ready: -1}
		l := &Life{env: e, threads: true}
		l.rest(d)
		if late := e.now - int64(d); late < -1 || late > 0 {
			t.Errorf("a rest of %v is late by %v, %d waits", d, time.Duration(late), e.waits)
		}
	}
	e := &tardy{}
	l := &Life{env: e, threads: true}
	if l.rest(time.Second, make(chan struct{})); e.waits != 1 {
		t.Errorf("a rest that is over early waited %d times", e.waits)
	}
}
