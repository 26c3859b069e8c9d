package replica

import (
	"healkv/dataplane/proto"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/rdma/ring"
)

// What is to be applied is looked at ahead of that, a burst at a time, so that
// the misses of caches and of address translation overlap: first for the keys'
// places in the index, and a burst later, when these have come, for the records
// they lead to. Nothing is believed: the bytes are not verified yet, and a wrong
// hash or length only makes a useless hint.

// burstAhead is how many entries are asked for at a time: enough to cover a
// miss, few enough to stay in the first-level cache.
const burstAhead = 12

// linesAhead is how many bytes of a stream are asked for before its first entry is
// looked at: an entry with a small value.
const linesAhead = 320

// ahead is what was asked for of one stream: low <= records <= keys.
type ahead struct {
	low, records uint64             // of the entries between these positions all
	keys         uint64             // and of those from there to here the keys,
	hash         [burstAhead]uint64 // which are hash[:n]
	n            int
}

// AskKeys asks for the keys of the first entries of member c's stream, unless it
// has done so. AskRecords follows, and OnStream. Both are for a worker that goes
// through all its members for one of them before the next: then the misses of
// all streams overlap, however few entries each has. entries is how many it asked
// for: one alone has nothing to overlap with, and AskRecords is left out.
func (s *Shard) AskKeys(c proto.NodeID, m *ring.Mirror) (entries int) {
	st := &s.streams[c]
	if !st.in || s.failure != nil || m.Cursor() == m.Limit() {
		return 0
	}
	// All of the first entry at once: it lies in another processor's cache.
	index.PrefetchBytes(m.Unread(linesAhead))
	w, err := m.Window()
	if err != nil || len(w) == 0 {
		return 0
	}
	a := &st.ahead
	if a.at(m.Cursor()) == a.keys {
		s.askKeys(a, w)
	}
	return a.n
}

// AskRecords asks for the records of the keys that AskKeys asked for.
func (s *Shard) AskRecords(c proto.NodeID) { s.askRecords(&s.streams[c].ahead) }

// goOn is called before the entry at the cursor, which w begins with, is
// applied: it asks for more when it is time to.
func (s *Shard) goOn(a *ahead, w []byte, cursor uint64) {
	if a.at(cursor) == a.records {
		if a.n == 0 {
			s.askKeys(a, w)
		}
		if a.n > 1 {
			s.askRecords(a)
		}
		a.low, a.records, a.n = cursor, a.keys, 0
	}
	if off := a.keys - cursor; a.n == 0 && off < uint64(len(w)) {
		s.askKeys(a, w[off:])
	}
}

// at takes in where the stream stands: if nothing was asked for about there, it
// goes on from there.
func (a *ahead) at(cursor uint64) uint64 {
	if cursor < a.low || cursor > a.keys {
		a.low, a.records, a.keys, a.n = cursor, cursor, cursor, 0
	}
	return cursor
}

// askKeys asks for the keys of the entries that w begins with, which lie at a.keys.
func (s *Shard) askKeys(a *ahead, w []byte) {
	for off := 0; a.n < burstAhead && len(w)-off >= record.HeaderBytes; a.n++ {
		img := w[off:]
		a.hash[a.n] = record.Hash(img)
		s.st.PrefetchKey(a.hash[a.n])
		// Behind a skip mark stands anything.
		n := min(record.Bytes(record.KeyLen(img), record.ValueLen(img)), len(img))
		off, a.keys = off+n, a.keys+uint64(n)
	}
}

func (s *Shard) askRecords(a *ahead) {
	s.st.PrefetchRecords(a.hash[:a.n])
	a.n, a.records = 0, a.keys
}
