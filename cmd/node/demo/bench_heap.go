package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"healkv/bench/agent"
)

// quietObjects is how many objects for an operation are too many: whoever
// allocates for every operation has at least one, and what heartbeats, watchers
// and the HTTP listener allocate each second stays below it also where a machine
// does a hundredth of the usual.
const quietObjects = 0.1

// ErrHeap: a node process collected garbage under load, or its hot path allocated.
var ErrHeap = errors.New("bench: the heap was not quiet under load")

// BenchHeap is what the Go runtime of one node process did while a run was
// measured.
type BenchHeap struct {
	Node           int    `json:"node"`
	Collections    uint32 `json:"collections"`
	PauseNs        uint64 `json:"pause_ns"`         // of all of them
	LongestPauseNs uint64 `json:"longest_pause_ns"` // of one
	Objects        uint64 `json:"objects"`          // allocated
	Bytes          uint64 `json:"bytes"`
	Live           uint64 `json:"live_bytes"` // at the end, garbage included
}

// heaps asks all nodes; since is what they said before.
func (r *runner) heaps(ctx context.Context, since []agent.Heap) ([]agent.Heap, error) {
	h := make([]agent.Heap, r.o.Nodes)
	err := r.k.each(r.k.all(), func(i int) error {
		var q agent.Since
		if since != nil {
			q.Collections = since[i].Collections
		}
		return r.k.ask(ctx, i, http.MethodPost, "/bench/heap", q, &h[i])
	})
	return h, err
}

func heapOf(node int, before, after *agent.Heap) BenchHeap {
	return BenchHeap{Node: node, Collections: after.Collections - before.Collections, PauseNs: after.PauseNs - before.PauseNs,
		LongestPauseNs: after.LongestNs, Objects: after.Objects - before.Objects, Bytes: after.Bytes - before.Bytes, Live: after.Live}
}

// Garbage is what all node processes together collected and allocated for an
// operation in a run that took so long.
func (r *BenchRun) Garbage(took time.Duration) (collections uint32, bytesPerOp float64) {
	bytes := uint64(0)
	for _, h := range r.Heap {
		collections, bytes = collections+h.Collections, bytes+h.Bytes
	}
	return collections, float64(bytes) / max(1, r.Ops*took.Seconds())
}

// compareHeaps tells what every node's heap did in all runs together, which took
// so long each. quiet: a collection, or an object for one of ten operations of a
// node's share, is an error.
func compareHeaps(runs []BenchRun, took time.Duration, quiet bool, out io.Writer) error {
	fmt.Fprintf(out, "heap of the node processes while they were measured, generators included:\n%4s %12s %22s %12s %14s %12s %10s\n",
		"node", "collections", "pauses all/longest µs", "objects", "bytes", "bytes/op", "live MiB")
	loud, ops := 0, 0.0 // of the average node
	for _, run := range runs {
		ops += run.Ops * took.Seconds() / float64(len(run.Heap))
	}
	ops = max(1, ops)
	for i := range runs[0].Heap {
		var sum BenchHeap
		for _, run := range runs {
			h := run.Heap[i]
			sum.Collections, sum.PauseNs, sum.LongestPauseNs = sum.Collections+h.Collections, sum.PauseNs+h.PauseNs, max(sum.LongestPauseNs, h.LongestPauseNs)
			sum.Objects, sum.Bytes, sum.Live = sum.Objects+h.Objects, sum.Bytes+h.Bytes, h.Live
		}
		fmt.Fprintf(out, "%4d %12d %22s %12d %14d %12.4f %10.1f\n", i, sum.Collections,
			fmt.Sprintf("%.1f/%.1f", float64(sum.PauseNs)/1e3, float64(sum.LongestPauseNs)/1e3), sum.Objects, sum.Bytes, float64(sum.Bytes)/ops, float64(sum.Live)/(1<<20))
		if sum.Collections > 0 || float64(sum.Objects)/ops > quietObjects {
			loud++
		}
	}
	if loud > 0 && quiet {
		return fmt.Errorf("%w: at %d of %d nodes; a profile of the node's /debug/pprof/allocs says who it was", ErrHeap, loud, len(runs[0].Heap))
	}
	return nil
}
