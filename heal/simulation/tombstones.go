package simulation

import (
	"slices"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/store"
)

// A key that a node does not know may be one whose tombstone was dropped. What
// the judges compare is then the newest tombstone of the key that was dropped
// anywhere: when it was, every node had it, so who knows nothing of the key has
// dropped that one too, or takes what it has from somebody who has.

// watchDrops hears of the tombstones that a pool's cleaner drops.
func (w *world) watchDrops(p *pmem.Pool) {
	p.Store().OnDrop(func(hash, ts uint64) {
		k := slices.Index(keyHashes[:w.o.Keys], hash)
		if k < 0 {
			w.fail("foreign key", "a tombstone of an unknown key was dropped")
		}
		w.dropped[k] = max(w.dropped[k], ts)
		// All configured nodes are live where that was decided, and they have it.
		if v := w.newest; proto.TS(ts).Epoch() >= v.Epoch {
			w.fail("tombstone dropped early", "key %d: TS %v, the newest view is %d (H24)", k, proto.TS(ts), v.Epoch)
		}
	})
}

// tsOf is the timestamp of what was found, or of what was dropped.
func (w *world) tsOf(e *store.Entry, key int) uint64 {
	if !e.OK {
		return w.dropped[key]
	}
	return e.TS
}
