package demo

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"healkv/bench/agent"
)

// A heap is quiet if nothing was collected and hardly anything allocated, at
// every node and in every run.
func TestHeapIsJudged(t *testing.T) {
	before := agent.Heap{Collections: 3, PauseNs: 500, Objects: 1000, Bytes: 5000}
	run := func(h agent.Heap) BenchRun {
		return BenchRun{Ops: 2e6, Heap: []BenchHeap{heapOf(0, &before, &before), heapOf(1, &before, &h)}}
	}
	for _, c := range []struct {
		name string
		heap agent.Heap
		want error
		says string
	}{
		{"quiet", agent.Heap{Collections: 3, PauseNs: 500, Objects: 3000, Bytes: 205000}, nil, "0.0500"},
		{"collects", agent.Heap{Collections: 4, PauseNs: 42500, LongestNs: 42000, Objects: 1000, Bytes: 5000}, ErrHeap, "42.0/42.0"},
		{"allocates", agent.Heap{Collections: 3, PauseNs: 500, Objects: 2_001_000, Bytes: 32_005_000}, ErrHeap, "8.0000"},
	} {
		var out bytes.Buffer
		runs := []BenchRun{run(before), run(c.heap)}
		if err := compareHeaps(runs, 2*time.Second, true, &out); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := compareHeaps(runs, 2*time.Second, false, &out); err != nil {
			t.Errorf("%s, not asked for: %v", c.name, err)
		}
		if n, perOp := runs[1].Garbage(2 * time.Second); n != c.heap.Collections-3 || perOp != float64(c.heap.Bytes-5000)/4e6 {
			t.Errorf("%s: %d collections, %v bytes for an operation", c.name, n, perOp)
		}
		if !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: %s is missing in\n%s", c.name, c.says, out.String())
		}
	}
}
