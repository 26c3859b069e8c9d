//go:build process

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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

// A profile of each node with a generator, of the last run.
func TestProcessProfiles(t *testing.T) {
	resp, admin := freePorts(t, 3)
	dir := t.TempDir()
	out, complaint, code := node(t, nil, "bench", "--out", dir, "--nodes", "3", "--loaded", "2", "--keys", "20000", "--workload", "write-only", "--time", "1s",
		"--runs", "1", "--pool-size", "256MiB", "--profile", "--resp-port", fmt.Sprint(resp), "--admin-port", fmt.Sprint(admin))
	if code != 0 {
		t.Fatalf("exit status %d\n%s%s", code, out, complaint)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pprof"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d profiles: %v, %v; want those of nodes 0 and 1", len(files), files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if gzip := []byte{0x1f, 0x8b}; err != nil || !bytes.HasPrefix(b, gzip) || len(b) < 1000 {
			t.Errorf("%s: %d bytes, %v; want a compressed profile", f, len(b), err)
		}
	}
}
