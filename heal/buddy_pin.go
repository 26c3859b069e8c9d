package heal

import "healkv/dataplane/plant"

// raise lets the cleaner at what a member has read of its range. Without that
// a transfer of a range that fills the log would stop the cleaner until its
// end, and with it all writers.
//
// Nothing is missed by it. The list is made in the order of positions, so what
// the member has read has been listed, and the walk is beyond it: whatever
// supersedes a record there is appended above the walk, or stands there. What
// the cleaner moves from there goes above the walk too, and is listed once more,
// unless it is replaced before.
func (l *Life) raise(s *served, read uint64) {
	if plant.Is(plant.SpacePinAhead) {
		read = s.listedTo()
	}
	if read = min(read, s.listedTo()); !s.pinTo(read) {
		return
	}
	l.workers[s.shard].Do(func() {
		l.rangeMu.Lock()
		defer l.rangeMu.Unlock()
		l.repin(s.shard)
		s.short.Store(l.workers[s.shard].Pool().Store().SpaceShort())
	})
}

// listedTo is how far the list has come.
func (s *served) listedTo() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed
}

// pinTo raises the pin; false if it stays.
func (s *served) pinTo(pos uint64) bool {
	for {
		was := s.pin.Load()
		if pos <= was {
			return false
		}
		if s.pin.CompareAndSwap(was, pos) {
			return true
		}
	}
}
