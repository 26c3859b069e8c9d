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
	}
	flushed, tail := w.st.Flushed(), w.st.Tail()
	if flushed == tail {
		return moved
	}
	if w.gates.Flush == proto.FlushBackground && !w.rep.WantFlush() &&
		tail-flushed < w.limit.backgroundBytes && w.now-w.lastFlush < w.limit.backgroundEvery {
		return moved
	}
	stable := w.rep.StablePos()
	if plant.Is(plant.WorkerStable) {
		stable = tail
	}
	if w.pool.SuperDue() {
		w.see(w.rep.View(), false)
	}
	w.pool.SetStable(stable) // goes out with a flush now and then
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
	} else {
		w.Counters.Flushes++
	}
	w.lastFlush = w.now
	return moved
}

// flushed wakes the worker: a flush that ran beside it has ended. Any
// goroutine, before the end of the worker.
func (w *Worker) flushed() {
	if !plant.Is(plant.FlushUnwoken) {
		w.ep.Wake()
	}
}
