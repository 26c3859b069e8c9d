package dataplane

import (
	"time"

	"healkv/dataplane/plant"
)

// Chores are what an opened pool leaves to do and nobody waits for: counting what
// the log of the last life holds, summing up the keys. Each goes through
// millions of records. A node that comes back has idle turns enough for all of
// them in a row, and takes a core for half a second, on a machine whose other
// nodes want it. So a chore rests for some times as long as its step took.
//
// Only a worker with a thread has them rest: where a simulation drives it, time
// does not pass in a step.

const (
	// choreRest is how many times as long as its last step a chore rests.
	choreRest = 9
	// choreRestMost bounds that: a step that was held up is none that took long.
	choreRestMost = int64(20 * time.Millisecond)
)

// choresRest says that no chore is due.
func (w *Worker) choresRest() bool {
	return w.threaded && w.now < w.choreAt && !plant.Is(plant.ChoresAtOnce)
}

// choreBegins is the time for choreEnds.
func (w *Worker) choreBegins() int64 {
	if !w.threaded {
		return 0
	}
	return w.clock()
}

// choreEnds notes how long a step took.
func (w *Worker) choreEnds(began int64) {
	if w.threaded {
		now := w.clock()
		w.choreAt = now + min(choreRest*(now-began), choreRestMost)
	}
}
