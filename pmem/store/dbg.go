package store
func (e *Entry) Hash0() uint64 { return e.hash }
