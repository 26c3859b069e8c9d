package replica

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// Barrier appends, once a view, an entry that says: this node has rolled forward
// what it had to in this view. Who applies it has applied everything that this
// node appended before its install, and every roll-forward after it: nothing
// older than what is stable now can still come out of this stream. The loop asks
// for it when there are tombstones to drop; it is a PERSIST nobody waits for.
func (s *Shard) Barrier() {
	if s.barrier == s.view.Epoch || !s.Live() || s.forward.len() > 0 || s.view.Live != s.view.Configured {
		return
	}
	dst, end, ok := s.out.Next(record.HeaderBytes)
	if !ok {
		return
	}
	s.barrier = s.view.Epoch
	s.appendPersist(dst, end, 0, record.FlagBarrier)
}

// dropBelow is the timestamp below which a tombstone may go that lies below the
// stable position; 0: none may (protocol.md, "Tombstones", H24).
//
//   - All configured nodes are live: nobody is away who could lack it, and as it
//     is stable they have it durably, whatever becomes of them later.
//   - Its epoch is below the view's: whoever writes the key next, knowing nothing
//     of it, mints a higher timestamp (H5), here and at every other member, since
//     all have installed this view.
//   - Every member's barrier of this view is applied here: an entry older than
//     the tombstone was appended before its writer had applied that, hence before
//     its install of this view, or by its roll-forward in it.
func (s *Shard) dropBelow() uint64 {
	if !s.Live() || s.held || s.forward.len() > 0 || len(s.lent) > 0 {
		return 0
	}
	if s.view.Live != s.view.Configured && !plant.Is(plant.TombstoneAway) {
		return 0
	}
	for m := s.view.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		if s.streams[first(m)].barrier != s.view.Epoch && !plant.Is(plant.TombstoneBarrier) {
			return 0
		}
	}
	if plant.Is(plant.TombstoneEpoch) {
		return ^uint64(0)
	}
	return uint64(proto.MakeTS(s.view.Epoch, 0, 0))
}
