//go:build process

package main

import (
	"os"
	"path/filepath"
	"testing"

	"healkv/bench/matrix"
	"healkv/bench/tally"
	"healkv/cmd/node/demo"
)

// TestChaosMatrix carries a drawn tenth of the fault matrix out on clusters of
// processes. `node chaos --matrix` is all of it.
func TestChaosMatrix(t *testing.T) {
	o := newChaosOptions(t)
	cells, err := demo.Matrix(t.Context(), demo.MatrixOptions{ChaosOptions: o, Share: 0.1, Columns: 5}, os.Stderr)
	if err != nil {
		kept, _ := os.MkdirTemp("", "healkv-matrix-*")
		t.Errorf("%v\nits logs are in %s (%v)", err, kept, os.CopyFS(filepath.Join(kept, "out"), os.DirFS(o.Out)))
	}
	n := matrix.Count(cells)
	t.Logf("%v; repeat: go test -tags process ./cmd/node -run TestChaosMatrix -chaos-seed %d", n, *chaosSeed)
	tally.Add("matrix", "process cells", n.OK)
}
