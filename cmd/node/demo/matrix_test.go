package demo

import (
	"testing"

	"healkv/bench/matrix"
)

// TestMatrixRowsAreKnown: every row is carried out on processes or says why
// not, and nothing is left of a row that is no more.
func TestMatrixRowsAreKnown(t *testing.T) {
	for _, r := range matrix.Rows() {
		if can(r) != (notInProcesses[r.Name] == "") {
			t.Errorf("%s: carried out %v, or not because %q", r.Name, can(r), notInProcesses[r.Name])
		}
	}
	for name := range inProcesses {
		if _, ok := matrix.RowOf(name); !ok {
			t.Errorf("there is no row %q", name)
		}
	}
	for name := range notInProcesses {
		if _, ok := matrix.RowOf(name); !ok {
			t.Errorf("there is no row %q", name)
		}
	}
	rows, n := matrix.Rows(), 0
	for _, c := range absent(nil) {
		if c.NA == "" && c.Skip == "" {
			t.Errorf("%s, %s is absent without a reason", c.Row, c.Column)
		}
		n++
	}
	for _, p := range matrix.PickIn(1, 1, len(matrix.Columns()), can) {
		_ = p
		n++
	}
	if want := len(rows) * len(matrix.Columns()); n != want {
		t.Errorf("%d cells, want %d", n, want)
	}
}
