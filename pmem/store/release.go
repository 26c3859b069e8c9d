package store

// SetReleaseBound holds emptied segments back: one is released only if the log
// tail noted when it was emptied is at or below pos. An index checkpoint that
// was taken at a tail refers to nothing that was emptied before; a later one
// must be in force before what the earlier one refers to may go. Until the
// first call there is no bound. Reset, and so a Discard, leaves it as it is.
// Worker only.
func (s *Store) SetReleaseBound(pos uint64) { s.releaseBound = pos }

// ReleaseWaits says whether an emptied segment waits for the release bound and
// for nothing else, and to what position it must rise: whoever sets it should
// see to that when space is short. Worker only.
func (s *Store) ReleaseWaits() (pos uint64, waits bool) {
	c := &s.clean
	if c.released == c.waiting {
		return 0, false
	}
	w := &c.queue[c.released]
	return w.tail, w.tail > s.releaseBound && w.tail <= s.log.Flushed()
}
