package dataplane

// tend lets the pool verify or load pages of its index and take checkpoints.
func (w *Worker) tend() bool {
	moved := w.pool.Tend()
	if moved {
		if c := w.pool.Checkpoints(); c.Failed != w.unkept {
			w.unkept = c.Failed
			w.log.Warn("no checkpoint of the index: after a power loss it is made anew from the whole log; it is tried again", "shard", w.shard, "err", c.Err)
		}
	}
	return moved
}
