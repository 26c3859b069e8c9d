package store

import "healkv/pmem/record"

// SureBytes is how many bytes of records of any sizes users can append for
// certain; what may be guaranteed to others (H28). Worker only.
func (s *Store) SureBytes() uint64 {
	sure, held := s.log.SureBytes(), s.held.Load()
	return sure - min(sure, held)
}

// SureWhenCleaning is what SureBytes comes to where the cleaner begins, so whoever guarantees much less in all than this always
// has something to guarantee while it can keep up.
func (s *Store) SureWhenCleaning() uint64 {
	sure, held := s.log.SureOf(s.begins()), uint64(s.reserve*s.segmentMax())
	return sure - min(sure, held)
}

// SureLargest is the largest record that SureBytes reckons with.
func (s *Store) SureLargest() uint64 { return uint64(min(record.BytesMax, s.segmentMax())) }

// Press says whether nothing is left that could be guaranteed. Then the cleaner
// works however much is free, and space is short: what was guaranteed to one
// who does not use it is free for nobody else. Worker only.
func (s *Store) Press(on bool) { s.clean.pressed = on }
