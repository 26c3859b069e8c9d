package dataplane

import (
	"healkv/dataplane/proto"
	"healkv/pmem"
)

// ForgetRanges gives up what is kept for nodes that are away: durably, every
// missed range that begins in the present view or before. The cleaner may have
// the space, and such a node compares digests when it comes back. It returns the
// view through which nothing is known any more. Inside Do.
func (w *Worker) ForgetRanges() (proto.Epoch, error) {
	through := max(w.lostThrough, w.rep.View().Epoch)
	if through == w.lostThrough {
		return through, nil
	}
	if err := w.pool.WriteSuperblock(func(s *pmem.Super) { s.LostThrough = uint32(through) }); err != nil {
		w.failed(err)
		return 0, err
	}
	w.lostThrough = through
	w.log.Warn("missed ranges forgotten by order: nodes that are away will compare digests", "shard", w.shard, "view", through)
	return through, nil
}
