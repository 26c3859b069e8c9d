package store

import "healkv/pmem/index"

// PrefetchKey asks for what a Find of the hash loads first. Worker only, ahead
// of a burst of Finds; a hint without effect on any result, so the hash may be
// any value, such as an unverified one.
func (s *Store) PrefetchKey(hash uint64) { s.x.Prefetch(hash) }

// PrefetchRecords asks for the records that the hashes' first words lead to. It
// should follow their PrefetchKey by a few hundred nanoseconds of other work. A
// processor goes no further than some hundred instructions behind a line whose
// address it has not translated: so all places are looked up first, and then
// asked for one right after the other.
func (s *Store) PrefetchRecords(hash []uint64) {
	var c index.Cursor
	var at [prefetchMost][]byte
	for len(hash) > 0 {
		n := 0
		for ; n < min(len(at), len(hash)); n++ {
			at[n] = nil
			s.x.Seek(&c, hash[n])
			if c.Next() {
				at[n] = s.log.Record(c.Word().Pos())
			}
		}
		for _, img := range at[:n] {
			index.PrefetchBytes(img)
		}
		hash = hash[n:]
	}
}

const prefetchMost = 12
