package pmem

// WriteBackLines writes the cache lines of b back as the dax domain does, and
// waits until the memory controller has them: for measuring what that costs on
// this processor, whatever memory b is. b[0] lies on a line boundary. False: the
// processor has no instruction for it.
func WriteBackLines(b []byte) bool {
	if FlushInstruction() == "" {
		return false
	}
	flushLines(b)
	flushDrain()
	return true
}
