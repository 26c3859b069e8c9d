package store

// assert stays on in every build; the failing side is out of line.
func assert(ok bool, broken string) {
	if !ok {
		assertFailed(broken)
	}
}

//go:noinline
func assertFailed(broken string) {
	panic("store: assertion failed: " + broken)
}
