package main

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"healkv"
	"healkv/cmd/node/admin"
)

// flushMetrics is the histogram of flushes as Prometheus wants it: cumulative,
// with le in seconds. Sum and count are the counters flush_ns and flushes.
func flushMetrics(s *healkv.Status) []admin.Metric {
	type bucket struct {
		le    time.Duration
		count uint64
	}
	var all []bucket
	for name, n := range s.Counters {
		if bound, ok := healkv.FlushBucket(name); ok {
			if bound == 0 {
				bound = math.MaxInt64
			}
			all = append(all, bucket{bound, n})
		}
	}
	slices.SortFunc(all, func(a, b bucket) int { return cmp.Compare(a.le, b.le) })
	const help = "Flushes of pools by how long they took."
	out := make([]admin.Metric, 0, len(all)+2)
	sum := uint64(0)
	for _, b := range all {
		sum += b.count
		le := "+Inf"
		if b.le != math.MaxInt64 {
			le = strconv.FormatFloat(b.le.Seconds(), 'g', -1, 64)
		}
		out = append(out, admin.Metric{Name: "healkv_flush_seconds_bucket", Help: help, Kind: "counter", Value: float64(sum), Labels: []admin.Label{{Name: "le", Value: le}}})
	}
	if len(all) > 0 {
		out = append(out,
			admin.Metric{Name: "healkv_flush_seconds_sum", Help: help, Kind: "counter", Value: float64(s.Counters["flush_ns"]) / 1e9},
			admin.Metric{Name: "healkv_flush_seconds_count", Help: help, Kind: "counter", Value: float64(sum)})
	}
	return out
}
