//go:build !verbs

package verbs

import (
	"errors"
	"strings"
	"testing"

	"healkv/rdma"
)

// A build without libibverbs says so when it is asked for verbs, and how to get
// it; it takes nothing else in its place.
func TestAbsentSaysWhatToDo(t *testing.T) {
	e, err := rdma.Open(Name, rdma.Config{Nodes: 3, Incarnation: 1})
	if e != nil || !errors.Is(err, rdma.ErrProvider) {
		t.Fatalf("%v, %v", e, err)
	}
	for _, s := range []string{`"verbs"`, "not built in", "libibverbs-dev", "make build"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%v; want %q in it", err, s)
		}
	}
}
