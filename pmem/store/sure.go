package store

// SureBytes is how many bytes of records of any sizes users can append for
// certain; what may be guaranteed to others (H28). Worker only.
func (s *Store) SureBytes() uint64 {
	sure, held := s.log.SureBytes(), s.held.Load()
	return sure - min(sure, held)
}
