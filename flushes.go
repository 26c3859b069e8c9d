package healkv

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"healkv/dataplane"
	"healkv/pmem"
)

// flushTook begins the names of the counters that are a histogram of flushes:
// "flush_took_below_us_32" counts those that took less than 32 µs and no less
// than the bucket before; the last bucket, "flush_took_more", takes the rest.
const flushTook = "flush_took_"

// countFlushes adds up a shard's flushes, inside Do.
func countFlushes(w *dataplane.Worker, c map[string]uint64) {
	s := w.Pool().FlushStats()
	c["flushed_bytes"] += s.Bytes
	c["flush_ns"] += s.Nanos
	for i, n := range s.Took {
		c[flushBucket(i)] += n
	}
}

func flushBucket(i int) string {
	if i == pmem.FlushBuckets-1 {
		return flushTook + "more"
	}
	return fmt.Sprintf("%sbelow_us_%d", flushTook, pmem.FlushBound(i).Microseconds())
}

// FlushBucket says what a counter of Status is in the histogram of flushes: it
// counts those that took less than bound (0: the last bucket, which has none)
// and no less than the bucket before. ok is false for any other counter.
func FlushBucket(name string) (bound time.Duration, ok bool) {
	rest, ok := strings.CutPrefix(name, flushTook)
	if !ok {
		return 0, false
	}
	if text, below := strings.CutPrefix(rest, "below_us_"); below {
		us, err := strconv.Atoi(text)
		return time.Duration(us) * time.Microsecond, err == nil
	}
	return 0, rest == "more"
}
