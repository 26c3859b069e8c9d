package index

// Starved is why the last attempt to grow failed, nil if none did since one
// went well. Pages fill up meanwhile, and keys that are there can be changed.
// Worker only.
func (x *Index) Starved() error { return x.cause }

// Grow tries again to have the next page backed. Worker only, and not at every
// turn: where the file system is full, asking takes a while.
func (x *Index) Grow() error {
	if int(x.next) >= x.geo.pagesMax {
		return nil
	}
	x.cause = nil
	return x.back(x.geo.pagesOff + int(x.next+1)*pageBytes)
}
