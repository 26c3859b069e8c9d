package dataplane

import "time"

// later is how long what a worker does on the side after an opening is still put
// off: verifying the pages of a kept index, counting the log, summing up. All of
// it goes through what the node has, however little it missed, and a worker that
// does it never sleeps; meanwhile a node comes back, and where nodes share
// processors all of them wait for those turns. What is looked at is verified
// first in any case. 0: it is time, or somebody waits for it. Below 0: as long as
// the node is not live. In a turn and after it.
func (w *Worker) later() time.Duration {
	switch {
	case !w.puts:
		return 0
	case !w.rep.Live():
		return -1
	case w.liveSince == 0:
		w.liveSince = w.now
	}
	left := w.liveSince + w.limit.rest - w.now
	if left <= 0 {
		w.puts, left = false, 0
	}
	return time.Duration(left)
}

// Hurry has the worker begin with that now: whoever waits until the index is
// verified or the sums are complete calls it. Inside Do.
func (w *Worker) Hurry() { w.puts = false }

// tend lets the pool verify or load pages of its index and take checkpoints.
func (w *Worker) tend() bool {
	if w.later() != 0 {
		return false
	}
	moved := w.pool.Tend()
	if moved {
		if c := w.pool.Checkpoints(); c.Failed != w.unkept {
			w.unkept = c.Failed
			w.log.Warn("no checkpoint of the index: after a power loss it is made anew from the whole log; it is tried again", "shard", w.shard, "err", c.Err)
		}
	}
	return moved
}
