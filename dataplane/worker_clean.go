package dataplane

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// Pin keeps the cleaner below pos while a recovery reads this node's log; ^0
// ends it. Inside Do.
func (w *Worker) Pin(pos uint64) { w.pin = pos }

// Pinned is what Pin was told last. Inside Do.
func (w *Worker) Pinned() uint64 { return w.pin }

// clean lets the cleaner work below everything that is still named or read.
// What it waits for (a flush, readers) is no work: SleepTime sees
// to it that it is looked at again.
func (w *Worker) clean(busy bool) bool {
	if !w.st.WantsCleaning() {
		return false
	}
	// What the log of the last life holds is counted for the choice of what to
	// clean. It goes through all of it, while the node comes back and its turns
	// are waited for; only a log that runs out of room cannot wait for that.
	if (!w.rep.Live() || plant.Is(plant.CountNever)) && w.st.OnlyCounts() {
		return false
	}
	if w.st.Tombstones() >= w.limit.stones {
		w.rep.Barrier()
	}
	b := w.cleanBounds()
	b.Busy, b.Later = busy, w.choresRest()
	began := w.choreBegins()
	r := w.st.Clean(w.limit.clean, b, w.st.Flushed())
	if r.Counted > 0 {
		w.choreEnds(began)
	}
	w.Counters.CleanedBytes += uint64(r.MovedBytes)
	w.Counters.CleanedSegments += uint64(r.FreedSegments)
	w.Counters.TombstonesDropped += uint64(r.Dropped)
	return r.LookedAt > 0 || r.FreedSegments > 0
}

func (w *Worker) cleanBounds() store.Bounds {
	b := w.rep.CleanBounds(w.lostThrough)
	if !plant.Is(plant.WorkerPin) {
		b.Below = min(b.Below, w.pin)
	}
	return b
}

// stones is what the worker knows of tombstones of the present view: they stay
// until the next.
type stones struct {
	view   proto.Epoch
	since  int64  // when the view was first seen
	before uint64 // tombstones then
}

// stonesOfView says that so many tombstones came in this view that another one
// with the same members is wanted: nobody drops those of its own epoch.
func (w *Worker) stonesOfView() bool {
	x, v, n := &w.stones, w.rep.View(), w.st.Tombstones()
	if x.view != v.Epoch {
		*x = stones{v.Epoch, w.now, n}
	}
	x.before = min(x.before, n)
	return n-x.before >= w.limit.stones && w.st.TombstonesMany() && w.now-x.since >= w.limit.renewEvery &&
		w.rep.Live() && v.Live == v.Configured
}
