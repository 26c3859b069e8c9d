//go:build process

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProcessDemoNoticesPlantedBugs runs a short demo with a binary in which
// one node misbehaves on purpose: the demo must fail, and say why. Without the
// plant the same binary must pass.
func TestProcessDemoNoticesPlantedBugs(t *testing.T) {
	program := filepath.Join(t.TempDir(), "node")
	if out, err := exec.Command("go", "build", "-tags", "plant", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct{ plant, says string }{
		{"", "OK"},
		{"lost-write@1", "lacks acknowledged writes"},
		{"stale-replica@3", "hold different data"},
		{"stale-read@4", "not linearizable"},
	} {
		t.Run("plant="+c.plant, func(t *testing.T) {
			resp, admin := freePorts(t, 6)
			cmd := exec.Command(program, "demo", "--out", t.TempDir(), "--keys", "30000", "--rate", "6000", "--steady", "2s", "--away", "1s",
				"--after", "1s", "--overwrite", "10", "--pool-size", "128MiB", "--resp-port", fmt.Sprint(resp), "--admin-port", fmt.Sprint(admin))
			cmd.Env = append(cmd.Environ(), "HEALKV_PLANT="+c.plant)
			began := time.Now()
			out, err := cmd.CombinedOutput()
			code := cmd.ProcessState.ExitCode()
			if (code == 0) != (c.plant == "") || !strings.Contains(string(out), c.says) {
				t.Fatalf("exit status %d (%v), want %q in:\n%s", code, err, c.says, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "FAILED") {
					t.Logf("%.300s", line)
				}
			}
			t.Logf("exit status %d after %v", code, time.Since(began))
		})
	}
}
