package shm

import (
	"testing"
	"time"
)

// A ring between prepare and sleep finds the mark and ends the sleep that has
// not begun: no wake-up is lost.
func TestRingBeforeTheSleep(t *testing.T) {
	line := new(bellLine)
	s := sleeper{line: line}
	for i := range 3 {
		if line.ring() {
			t.Fatal("somebody awake was woken")
		}
		s.prepare()
		if !line.ring() {
			t.Fatalf("sleep %d: the ring did not see that the owner is about to sleep", i)
		}
		if line.ring() {
			t.Error("rung twice for one sleep")
		}
		s.sleep(time.Minute) // fails the test's time if it sleeps
	}
}
