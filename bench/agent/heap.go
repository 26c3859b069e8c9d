package agent

import (
	"context"
	"runtime"
)

// Since asks what became of the heap after so many collections.
type Since struct{ Collections uint32 }

// Heap is what the Go runtime of a node process has done since it started, with
// the node and the generator in it.
type Heap struct {
	Collections    uint32
	PauseNs        uint64 // of all collections
	LongestNs      uint64 // of those after Since.Collections, of the last 256
	Objects, Bytes uint64 // allocated
	Live           uint64 // bytes in use, garbage included
}

// heap stops the process for some microseconds: it is for before and after a
// measurement.
func heap(_ context.Context, q *Since) (*Heap, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h := &Heap{Collections: m.NumGC, PauseNs: m.PauseTotalNs, Objects: m.Mallocs, Bytes: m.TotalAlloc, Live: m.HeapAlloc}
	for n := m.NumGC; n > q.Collections && m.NumGC-n < uint32(len(m.PauseNs)); n-- {
		h.LongestNs = max(h.LongestNs, m.PauseNs[(n-1)%uint32(len(m.PauseNs))])
	}
	return h, nil
}
