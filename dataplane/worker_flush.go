package dataplane

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// flush makes the log durable as the model's row says. In the file domain a
// flush runs beside the worker, which goes on applying and appending meanwhile;
// when it is done, what was appended since goes out together with the next one
// (pipelined group commit). The watermarks follow the log's flushed position,
// which moves only when a flush is done. True if one is.
func (w *Worker) flush() (moved bool) {
	if w.pool.Flushing() {
		under, err := w.pool.FinishFlush()
		if err != nil {
			w.failed(err)
			return true
		}
		if under {
			return false
		}
		w.Counters.Flushes++
		moved = true
		w.gather.flushed(w.now, w.now-w.lastFlush, w.st.Flushed(), w.st.Tail())
	}
	flushed, tail := w.st.Flushed(), w.st.Tail()
	if flushed == tail || w.gathering(tail) {
		return moved
	}
	if w.gates.Flush == proto.FlushBackground && !w.rep.WantFlush() && !w.pool.SawDue() &&
		tail-flushed < w.limit.backgroundBytes && w.now-w.lastFlush < w.limit.backgroundEvery {
		return moved
	}
	if w.pool.SuperDue() {
		w.see(w.rep.View(), false)
	}
	if plant.Is(plant.WorkerFlush) {
		w.st.SetFlushed(tail)
		return moved
	}
	if err := w.pool.StartFlush(); err != nil {
		w.failed(err)
		return moved
	}
	if w.pool.Flushing() {
		w.rep.FlushStarted()
		w.gather.from = flushed
	} else {
		w.Counters.Flushes++
	}
	w.lastFlush = w.now
	return moved
}

// noteStable lets the pool know the stable position, which goes out with a flush now
// and then. It moves where the house is kept, and nobody waits for it.
func (w *Worker) noteStable() {
	stable := w.rep.StablePos()
	if plant.Is(plant.WorkerStable) {
		stable = w.st.Tail()
	}
	if stable != w.pool.Stable() {
		w.pool.SetStable(stable)
	}
}

// gather puts a flush off for a moment after the last one, so that those who were
// just answered and write again are in it. Clients that wait for their answers
// fall into two halves otherwise, one in the flush under way and one waiting for
// the next, and each write takes two flushes: a first write alone is enough to
// divide them. It ends when as much has come as the last flush carried and as was
// waiting then, which is everybody if all write again, or after half of what a
// flush takes. Where flushes are so quick that this is less than a sleep's
// accuracy nothing is put off.
//
// A flush takes processor time too, some tens of microseconds however little it
// carries. Where processors are short, those who write again come as late as they
// get one, and a flush for a few of them makes all others later yet: so a worker
// that waits for its own processor puts flushes off for longer, up to three times
// what they take.
type gather struct {
	took   int64  // of a flush, smoothed
	crowd  int64  // crowdAll times the part of its time in which the worker waits for a processor, smoothed
	waited int64  // for a processor, when that was looked at last
	from   uint64 // log position where the flush under way began
	until  int64  // on the worker's clock; 0: nothing is put off
	enough uint64 // log position from which on there is nothing to wait for
}

const (
	gatherMin     = 100_000
	gatherMax     = 1_000_000 // ns
	gatherCrowded = 2_000_000

	crowdAll = 1000
	// crowdMost is the part from which on flushes are put off for longest.
	crowdMost = 400
)

// flushed: a flush through a log position has ended now, which took that long,
// and the log's tail stands at tail.
func (g *gather) flushed(now, took int64, through, tail uint64) {
	g.took += (min(took, 16*gatherMax) - g.took) / 8
	// Half of what a flush takes, and by the crowd up to five halves more.
	long := min(g.took/2, gatherMax)
	if !plant.Is(plant.CrowdAlone) {
		long += min(g.took*5/2, gatherCrowded) * min(g.crowd, crowdMost) / crowdMost
	}
	if g.until = 0; long >= gatherMin {
		g.until = now + long
		g.enough = tail + (through-g.from)*7/8
	}
}

// crowded: of the last so many nanoseconds, the worker could have run in some
// and had no processor; waited is the sum of these since it began.
func (g *gather) crowded(of, waited int64) {
	g.crowd += (min(max(waited-g.waited, 0), of)*crowdAll/max(of, 1) - g.crowd) / 4
	if !plant.Is(plant.CrowdSum) {
		g.waited = waited
	}
}

// gathering reports whether the next flush is put off for a moment.
func (w *Worker) gathering(tail uint64) bool {
	g := &w.gather
	if g.until == 0 || w.gates.Answer != proto.Durable {
		return false
	}
	if tail >= g.enough || w.now >= g.until || w.rep.WantFlush() {
		g.until = 0
		return false
	}
	return true
}

// flushed wakes the worker: a flush that ran beside it has ended. Any
// goroutine, before the end of the worker.
func (w *Worker) flushed() {
	if !plant.Is(plant.FlushUnwoken) {
		w.ep.Wake()
	}
}
