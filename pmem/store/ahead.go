package store

import "healkv/pmem/index"

// walkAhead is how many records before a walk comes to them their keys are asked
// for: whoever walks the log looks every one up, in an index that is in no cache.
const walkAhead = 16

// ahead is how far a walk's keys have been asked for.
type ahead struct {
	at    uint64 // position of the record that is asked for next
	asked int    // records from the walk's to it
}

// look asks for the keys of the records that the walk comes to next. Before each
// Next. Any goroutine that may be in the segment.
func (a *ahead) look(s *Store, w *walker) {
	if a.asked--; a.at < w.Pos() {
		a.at, a.asked = w.Pos(), 0
	}
	for ; a.asked < walkAhead; a.asked++ {
		hash, next, ok := w.Ahead(a.at)
		if !ok {
			return
		}
		s.PrefetchKey(hash)
		// If the next ones are as long, this is where one of them begins.
		index.PrefetchBytes(begin(s.log.Record(next+walkAhead/2*(next-a.at)), headerBytes))
		a.at = next
	}
}
