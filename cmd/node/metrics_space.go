package main

import (
	"healkv"
	"healkv/cmd/node/admin"
)

// spaceMetrics are how the node's logs stand.
func spaceMetrics(x *healkv.Space) []admin.Metric {
	gauge := func(name, help string, v float64) admin.Metric {
		return admin.Metric{Name: "healkv_" + name, Help: help, Kind: "gauge", Value: v}
	}
	return []admin.Metric{
		gauge("log_live_bytes", "Bytes of the log's current records.", float64(x.LiveBytes)),
		gauge("log_free_bytes", "Bytes that can be appended to the log now.", float64(x.FreeBytes)),
		gauge("log_waiting_segments", "Segments the cleaner has emptied that are not free yet.", float64(x.WaitingSegments)),
		gauge("tombstones", "Deleted keys that still have a record.", float64(x.Tombstones)),
		gauge("write_amplification", "Bytes written to the log for each that was appended, in this life.", x.Amplification),
	}
}
