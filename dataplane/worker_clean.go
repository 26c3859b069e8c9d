package dataplane

import (
	"healkv/dataplane/plant"
	"healkv/pmem/store"
)

// Pin keeps the cleaner below pos while a recovery reads this node's log; ^0
// ends it. Inside Do.
func (w *Worker) Pin(pos uint64) { w.pin = pos }

// Pinned is what Pin was told last. Inside Do.
func (w *Worker) Pinned() uint64 { return w.pin }

// clean lets the cleaner work below everything that is still named or read.
// What it waits for (a flush, readers, a checkpoint) is no work: SleepTime sees
// to it that it is looked at again.
func (w *Worker) clean() bool {
	if !w.st.WantsCleaning() {
		return false
	}
	r := w.st.Clean(w.limit.clean, w.cleanBounds(), w.st.Flushed())
	w.Counters.CleanedBytes += uint64(r.MovedBytes)
	w.Counters.CleanedSegments += uint64(r.FreedSegments)
	return r.LookedAt > 0 || r.FreedSegments > 0
}

func (w *Worker) cleanBounds() store.Bounds {
	b := w.rep.CleanBounds(w.lostThrough)
	if !plant.Is(plant.WorkerPin) {
		b.Below = min(b.Below, w.pin)
	}
	return b
}
