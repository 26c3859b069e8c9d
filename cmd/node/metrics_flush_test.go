package main

import (
	"testing"

	"healkv"
)

// The buckets of Status are disjoint, Prometheus' are cumulative.
func TestFlushMetrics(t *testing.T) {
	s := healkv.Status{Counters: map[string]uint64{"flush_took_below_us_16": 2, "flush_took_below_us_1024": 5, "flush_took_more": 1, "flush_ns": 3e9, "flushes": 8, "flushed_bytes": 4096}}
	got := map[string]float64{}
	for _, m := range nodeMetrics(&s, true) {
		name := m.Name
		for _, l := range m.Labels {
			name += " " + l.Value
		}
		got[name] = m.Value
	}
	for name, want := range map[string]float64{"healkv_flush_seconds_bucket 1.6e-05": 2, "healkv_flush_seconds_bucket 0.001024": 7, "healkv_flush_seconds_bucket +Inf": 8,
		"healkv_flush_seconds_sum": 3, "healkv_flush_seconds_count": 8, "healkv_flushes_total": 8, "healkv_flushed_bytes_total": 4096} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	for name := range got {
		if name == "healkv_flush_took_more_total" {
			t.Error("a bucket is a counter of its own, too")
		}
	}
}
