package store

import "healkv/pmem/index"

// PrefetchKey asks for what a Find of the hash loads first. Worker only, ahead
// of a burst of Finds; a hint without effect on any result, so the hash may be
// any value, such as an unverified one.
func (s *Store) PrefetchKey(hash uint64) { s.x.Prefetch(hash) }

// PrefetchRecord asks for the record that the hash's first word leads to. It
// should follow PrefetchKey by a few hundred nanoseconds of other work.
func (s *Store) PrefetchRecord(hash uint64) {
	var c index.Cursor
	s.x.Seek(&c, hash)
	if c.Next() {
		index.PrefetchBytes(s.log.Record(c.Word().Pos()))
	}
}
