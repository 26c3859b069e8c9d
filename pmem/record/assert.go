package record

// assert stays on in every build. The failing side is out of line, so the
// passing side is one branch.
func assert(ok bool, broken string) {
	if !ok {
		assertFailed(broken)
	}
}

//go:noinline
func assertFailed(broken string) {
	panic("record: assertion failed: " + broken)
}
