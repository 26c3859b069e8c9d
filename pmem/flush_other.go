//go:build !amd64

package pmem

// Other architectures have no flush here yet: the dax domain is refused on
// them (canFlush), file and memory need none.

const lineBytes = 64

// FlushInstruction names the cache-line flush that the dax domain uses on
// this processor, "" where there is none.
func FlushInstruction() string { return "" }

func flushLines([]byte) {}

func flushDrain() {}
