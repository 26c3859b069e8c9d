package main

import (
	"strings"
	"testing"
)

// Whoever gave the order learns what went wrong, what the node is now, and what
// to do, in one line.
func TestDrainNotInOrder(t *testing.T) {
	err := notInOrder(1, "no majority\nclosing a pool", "its process stays", "bring it back")
	for _, want := range []string{"node 1", "not in order: no majority; closing a pool", "serves nobody now", "its process stays", "node status", "then bring it back"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "\n") || exitStatus(err) != 1 {
		t.Errorf("exit status %d, %q", exitStatus(err), err)
	}
}
