package pmem

// PrefaultBytes is what one call of Prefault goes through.
const PrefaultBytes = hugeBytes

// Prefault fills the page tables of the mapping from `from` on, so that nobody
// meets a fault there: PrefaultBytes of it, a microsecond where they are one huge
// page and forty where the memory was too scattered for one. next goes to the next
// call; 0: that was the last. While a process starts it would be in the way of
// those who wait for it, for 1 to 19 ms per GiB (0031). Until the pool is closed;
// any goroutine.
func (p *Pool) Prefault(from int) (next int) {
	if !p.prefaults || from >= len(p.region.data) {
		return 0
	}
	p.region.mapped.populate(from, min(PrefaultBytes, len(p.region.data)-from))
	if next = from + PrefaultBytes; next >= len(p.region.data) {
		return 0
	}
	return next
}
