package store

// PrefetchKey asks for what a Find of the hash loads first. Worker only, ahead
// of a burst of Finds; a hint without effect on any result, so the hash may be
// any value, such as an unverified one.
func (s *Store) PrefetchKey(hash uint64) { s.x.Prefetch(hash) }

// PrefetchRecords asks for the records that the hashes' first words lead to. It
// should follow their PrefetchKey by a few hundred nanoseconds of other work.
// Worker only.
func (s *Store) PrefetchRecords(hash []uint64) { s.askRecords(hash, headerBytes) }
