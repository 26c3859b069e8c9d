package shm

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
)

func helperLive(d *Dir) int {
	if _, err := d.HoldLiveness(1, 1); err != nil {
		fmt.Fprintln(os.Stderr, "helper: live", err)
		return 1
	}
	if _, err := d.HoldLiveness(1, 2); err != nil { // tells that it is running
		fmt.Fprintln(os.Stderr, "helper: live", err)
		return 1
	}
	for {
		syscall.Pause()
	}
}

func provenDead(t *testing.T, d *Dir, node int, inc uint32) bool {
	t.Helper()
	dead, err := d.ProvenDead(node, inc)
	if err != nil {
		t.Fatal(err)
	}
	return dead
}

func exists(d *Dir, name string) bool {
	names, err := d.list()
	if err != nil {
		panic(err)
	}
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// A process that is killed is proven dead as soon as it has been reaped, and
// not a moment before.
func TestProvenDeadProcess(t *testing.T) {
	d := runDir(t)
	if provenDead(t, d, 1, 1) {
		t.Fatal("a life that never was is dead")
	}
	cmd := startHelper(t, "live", d, 0)
	for !exists(d, liveName(1, 2)) {
		runtime.Gosched()
	}
	if provenDead(t, d, 1, 1) {
		t.Fatal("dead while it runs")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if !provenDead(t, d, 1, 1) || !provenDead(t, d, 1, 2) {
		t.Fatal("killed and not proven dead")
	}
}
