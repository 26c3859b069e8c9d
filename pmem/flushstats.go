package pmem

import (
	"math/bits"
	"time"
)

// FlushBuckets of a histogram: bucket i counts flushes that took less than 2^i
// times 16 µs and no less than the bucket before; the last one takes the rest.
const FlushBuckets = 16

// FlushStats counts the flushes of a pool's worker.
type FlushStats struct {
	Count  uint64
	Bytes  uint64 // of whole pages: what the disk is given, where the page cache's pages are small
	Nanos  uint64 // from the start of a drain to its end
	Took   [FlushBuckets]uint64
	MaxLen int // bytes of the largest
}

// FlushBound is where a bucket ends.
func FlushBound(bucket int) time.Duration { return 16 * time.Microsecond << bucket }

func (s *FlushStats) add(took time.Duration, bytes int) {
	s.Count++
	s.Bytes += uint64(bytes)
	s.Nanos += uint64(took)
	s.MaxLen = max(s.MaxLen, bytes)
	s.Took[min(FlushBuckets-1, bits.Len64(uint64(took/(16*time.Microsecond))))]++
}

// FlushStats is for the worker, or inside its Do.
func (p *Pool) FlushStats() FlushStats { return p.flushes }
