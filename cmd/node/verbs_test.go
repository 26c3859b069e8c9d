package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

const takenOver = "HEALKV_TEST_TAKES_OVER"

// TestVerbsTakesOver: a program without verbs hands over to the one beside it, with
// its arguments and in its process, and refuses where there is none.
func TestVerbsTakesOver(t *testing.T) {
	if os.Getenv(takenOver) != "" {
		fmt.Println("refused:", takeOver(errors.New("verbs is missing"))) // as builtIn, whatever this build has
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func() (int, string) {
		c := exec.Command(self, "-test.run=^TestVerbsTakesOver$", "-test.v=false")
		c.Env = append(os.Environ(), takenOver+"=1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return c.Process.Pid, string(out)
	}
	if _, out := run(); len(out) < 8 || out[:8] != "refused:" {
		t.Errorf("nothing beside it, and it says %q", out)
	}
	beside := self + verbsSuffix
	if err := os.WriteFile(beside, []byte("#!/bin/sh\necho \"$$ $1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(beside)
	if pid, out := run(); out != fmt.Sprintf("%d -test.run=^TestVerbsTakesOver$\n", pid) {
		t.Errorf("process %d said %q", pid, out)
	}
}
