package replica

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// CleanBounds is what the cleaner may touch and what becomes of it. lostThrough
// is the pool's: whoever was last live below it gets a full copy and no range.
// What is read by a recovery (Worker.Pin) comes on top.
//
// The cleaner may go beyond the stable position while that is held, which for a
// shadow is until its promotion: everything it adopts comes to lie above, and a
// pool of twice the data would not hold that with what it supersedes. Below the
// floor no entry waits for anything any more, so nobody names a position there
// but of a locked record, and those stay.
func (s *Shard) CleanBounds(lostThrough proto.Epoch) store.Bounds {
	if !s.installed {
		return store.Bounds{} // it is not known yet who is away: what is moved now drops out of their ranges
	}
	b := store.Bounds{Below: s.floor(s.st.Flushed()), Stable: s.stablePos, Missed: s.missed(lostThrough), Drop: s.dropBelow()}
	if plant.Is(plant.BoundStable) {
		b.Below, b.Stable = s.st.Tail(), s.st.Tail()
	}
	return b
}

// missed is where the lowest range begins that some node which is not live
// would be healed by.
func (s *Shard) missed(lostThrough proto.Epoch) uint64 {
	lowest := ^uint64(0)
	for a := s.view.Configured &^ s.view.Live; a != 0; a &= a - 1 {
		u := s.view.LiveUntil[first(a)]
		if u < lostThrough {
			continue
		}
		m, ok := s.firstMarker(u)
		if plant.Is(plant.SpaceForgets) && m.pos < s.lifeStart {
			continue
		}
		if ok && !plant.Is(plant.BoundMissed) {
			lowest = min(lowest, m.pos)
		}
	}
	return lowest
}
