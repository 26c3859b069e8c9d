package shm

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain also is the helper process of tests that need a second one, and
// wants every mapping given back.
func TestMain(m *testing.M) {
	if mode := os.Getenv("HEALKV_SHM_HELPER"); mode != "" {
		os.Exit(helper(mode))
	}
	code := m.Run()
	// Bells are unmapped by the collector, at some time.
	for range 200 {
		if mappings.Load() == 0 {
			break
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if n := mappings.Load(); n != 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "%d mappings left\n", n)
		code = 1
	}
	os.Exit(code)
}

// runDir is a run directory on tmpfs where there is one.
func runDir(t testing.TB) *Dir {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = t.TempDir()
	}
	path, err := os.MkdirTemp(base, "healkv-shm-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// bothDirs runs a test over files and over the heap.
func bothDirs(t *testing.T, f func(t *testing.T, d *Dir)) {
	t.Run("files", func(t *testing.T) { f(t, runDir(t)) })
	t.Run("heap", func(t *testing.T) { f(t, Heap()) })
}

func newEnd(t testing.TB, d *Dir, node int, inc uint32) *Endpoint {
	t.Helper()
	e, err := New(Config{Dir: d, Node: node, Nodes: 3, Incarnation: inc, RingBytes: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// join makes a use b.
func join(t testing.TB, a, b *Endpoint) {
	t.Helper()
	l, err := a.Prepare(b.self, b.cfg.Incarnation)
	if err != nil {
		t.Fatal(err)
	}
	a.Attach(l)
}

func pairUp(t testing.TB, a, b *Endpoint) {
	t.Helper()
	join(t, a, b)
	join(t, b, a)
}
