//go:build process

package main

import (
	"fmt"
	"strings"
	"testing"
)

// Node processes under load collect no garbage, and operations allocate nothing:
// reads in bursts, and the published mix with its writes.
func TestProcessHeapIsQuiet(t *testing.T) {
	for _, workload := range []string{"taobench-ro", "taobench-a", "write-only"} {
		resp, admin := freePorts(t, 3)
		out, complaint, code := node(t, nil, "bench", "--out", t.TempDir(), "--nodes", "3", "--keys", "20000", "--workload", workload, "--time", "500ms",
			"--runs", "1", "--pool-size", "256MiB", "--expect-quiet-heap", "--resp-port", fmt.Sprint(resp), "--admin-port", fmt.Sprint(admin))
		if code != 0 || !strings.Contains(out, "heap of the node processes") {
			t.Errorf("%s: exit status %d\n%s%s", workload, code, out, complaint)
			continue
		}
		for line := range strings.Lines(out) {
			if w := strings.Fields(line); len(w) == 7 && len(w[0]) == 1 {
				t.Logf("%s: node %s: %s collections, %s objects, %s bytes an operation", workload, w[0], w[1], w[3], w[5])
			}
		}
	}
}
