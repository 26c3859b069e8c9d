package store

import "healkv/pmem/index"

// A burst of gets goes into the store once: Enter, then AskKeys for all of its
// hashes, then AskRecords a few ahead of Inside, and Leave. Misses of caches and
// of address translation of different keys overlap then (docs/decisions/0034).

// Enter begins a burst: false after Shut. What follows until Leave is to take
// microseconds, since the cleaner frees nothing meanwhile.
func (r *Reader) Enter() bool { return r.enter() }

// AskKeys asks for what Inside loads first. Between Enter and Leave.
func (r *Reader) AskKeys(hash []uint64) {
	for _, h := range hash {
		r.s.x.Prefetch(h)
	}
}

// AskRecords asks for the records that the hashes' first words lead to. It
// should follow their AskKeys by some hundred nanoseconds. Between Enter and
// Leave.
func (r *Reader) AskRecords(hash []uint64) { r.s.askRecords(hash, wholeBytes) }

// Inside is Get between Enter and Leave.
func (r *Reader) Inside(hash uint64, key, dst []byte) (value []byte, ts uint64, st State) {
	return r.s.get(hash, key, dst)
}

// askRecords looks up all places first, and then asks for one right after the
// other: a processor goes no further than some hundred instructions behind a
// line whose address it has not translated.
func (s *Store) askRecords(hash []uint64, bytes int) {
	var c index.Cursor
	var at [prefetchMost][]byte
	for len(hash) > 0 {
		n := 0
		for ; n < min(len(at), len(hash)); n++ {
			at[n] = nil
			s.x.Seek(&c, hash[n])
			if c.Next() {
				at[n] = begin(s.log.Record(c.Word().Pos()), bytes)
			}
		}
		for _, img := range at[:n] {
			index.PrefetchBytes(img)
		}
		hash = hash[n:]
	}
}

const (
	prefetchMost = 12
	headerBytes  = 128 // who compares a key looks at no more of most records
	wholeBytes   = 320 // of a record of usual size
)

// begin is at most n bytes of a record that are worth asking for.
func begin(img []byte, n int) []byte { return img[:min(n, len(img))] }
