package store

import (
	"healkv/dataplane/plant"
	"healkv/pmem/seglog"
)

// reserveOf is how many segments of a log of so many the cleaner keeps for
// itself. What it has moved out of victims that are not free yet is its debt:
// the reserve shrinks by it, so that what users were told is free does not
// change while a victim is emptied. The debt never exceeds the reserve but one;
// that is there for pads and for what was not foreseen, so a log full of dead
// records can always be cleaned. Emptied segments are debt until flushes have
// freed them: a larger log has more to spare for that.
func reserveOf(segments int) int { return min(max(2, segments/32), 16) }

// segmentMax is the room for records in one segment.
func (s *Store) segmentMax() int { return s.log.SegmentBytes() - seglog.SegmentHeaderBytes }

func (s *Store) debtMax() int { return (s.reserve - 1) * s.segmentMax() }

// setDebt keeps held, what users must leave free, in step.
func (s *Store) setDebt(debt int) {
	s.clean.debt = debt
	if plant.Is(plant.StoreDebt) {
		return
	}
	s.held.Store(uint64(s.reserve*s.segmentMax() - debt))
}

// FreeBytes is how many bytes of records users can append for certain, if none
// is larger than the largest so far: what the end of each segment wastes and
// the cleaner's reserve are taken off. Cleaning does not lower it, but for pads.
// A few loads; any goroutine, exact for the worker.
func (s *Store) FreeBytes() uint64 {
	free, held := s.log.FreeBytes(), s.held.Load()
	return free - min(free, held)
}

// Fits says whether a user's record of n bytes (record.Bytes) can be appended
// without touching the cleaner's reserve. Worker only.
func (s *Store) Fits(n int) bool {
	return s.log.FreeBytes() >= s.held.Load()+uint64(n) && s.log.Fits(n)
}

// SegmentsIn is over how many segments that many bytes spread at most.
func (s *Store) SegmentsIn(bytes uint64) uint64 {
	return bytes/uint64(s.log.SegmentBytes()) + 1
}

// SpaceShort says that hardly more than the reserve is free, a sixteenth of
// the log or one segment, or that nothing is left to guarantee (Press). What a cleaner that is Idle cannot gain then, only
// the caller can, by raising the bound.
func (s *Store) SpaceShort() bool {
	return s.clean.pressed || s.log.FreeSegments() <= s.reserve+max(1, s.log.SegmentCount()/16)
}

// CleanerWaits says that the cleaner has begun something and waits for a flush
// or for readers. Worker only.
func (s *Store) CleanerWaits() bool {
	return s.clean.victim != 0 || s.clean.waiting != 0 || s.log.Pending()
}

// WantsCleaning says that Clean has something to do or to wait for. A few
// instructions; asked once per turn of the worker.
func (s *Store) WantsCleaning() bool { return s.clean.uncounted || s.wantsMore() }

// OnlyCounts says that WantsCleaning is true for no other reason than that
// segments of an earlier life are not counted yet.
func (s *Store) OnlyCounts() bool { return !s.wantsMore() }

func (s *Store) wantsMore() bool {
	c := &s.clean
	return c.pressed || s.holesDue.Load() || s.scrubbed.due.Load() || c.victim != 0 || c.waiting != 0 || s.log.Pending() ||
		s.gained() < s.begins() || s.log.Crowded() || s.clean.sweep.to != 0 || s.TombstonesMany()
}
