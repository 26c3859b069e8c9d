package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"healkv/rdma"
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

func TestLivenessOnce(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		l, err := d.HoldLiveness(2, 5)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.HoldLiveness(2, 5); !errors.Is(err, fs.ErrExist) {
			t.Errorf("held twice: %v", err)
		}
		if provenDead(t, d, 2, 5) || provenDead(t, d, 2, 4) || provenDead(t, d, 1, 5) {
			t.Error("dead while held, or without a lock")
		}
		for range 2 {
			if err := l.Release(); err != nil {
				t.Fatal(err)
			}
		}
		if !provenDead(t, d, 2, 5) {
			t.Error("not dead after Release")
		}
		if _, err := d.HoldLiveness(2, 5); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a life came back: %v", err)
		}
		for _, x := range []struct {
			node int
			inc  uint32
		}{{-1, 1}, {16, 1}, {1, 0}} {
			if _, err := d.HoldLiveness(x.node, x.inc); !errors.Is(err, ErrConfig) {
				t.Errorf("%v: %v", x, err)
			}
		}
	})
}

func TestSweep(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		abandon := func(node int, inc uint32) {
			e, err := New(Config{Dir: d, Node: node, Nodes: 3, Incarnation: inc, RingBytes: 4096})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { e.Close() })
		}
		hold := func(node int, inc uint32) *Liveness {
			l, err := d.HoldLiveness(node, inc)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Release() })
			return l
		}
		for inc := range uint32(5) {
			l := hold(0, inc+1)
			abandon(0, inc+1)
			if inc < 4 {
				l.Release()
			}
		}
		hold(1, 1) // hung, but alive
		abandon(1, 1)
		hold(1, 2)
		abandon(1, 2)
		abandon(2, 3) // has no lock: older than one that has
		hold(2, 4).Release()
		abandon(2, 5) // has no lock, and nobody later has
		removed, err := d.Sweep()
		if err != nil {
			t.Fatal(err)
		}
		names, err := d.list()
		if err != nil {
			t.Fatal(err)
		}
		want := "n0-4.live n0-5-s0.bell n0-5-s0.ring n0-5.live " +
			"n1-1-s0.bell n1-1-s0.ring n1-1.live n1-2-s0.bell n1-2-s0.ring n1-2.live " +
			"n2-4.live n2-5-s0.bell n2-5-s0.ring"
		if got := strings.Join(names, " "); got != want {
			t.Errorf("left\n%s, want\n%s", got, want)
		}
		if removed != 2*4+3+2 {
			t.Errorf("removed %d", removed)
		}
		if again, err := d.Sweep(); again != 0 || err != nil {
			t.Errorf("again: %d, %v", again, err)
		}
	})
}

// What a crash leaves behind is not connected to; a connection that is there
// goes on reading it.
func TestNobodyConnectsToTheDead(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
		l, err := d.HoldLiveness(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		pairUp(t, a, b)
		b.Feed(0, 0)
		b.Out().Next(64)
		b.Publish()
		l.Release()
		if _, err := a.Prepare(1, 1); !errors.Is(err, rdma.ErrNoPeer) {
			t.Errorf("prepare: %v", err)
		}
		if _, err := a.Remote(1, 1); !errors.Is(err, rdma.ErrNoPeer) {
			t.Errorf("remote: %v", err)
		}
		if _, err := d.Sweep(); err != nil {
			t.Fatal(err)
		}
		a.Poll()
		if m := a.Mirror(1); m == nil || m.Limit() != 64 {
			t.Error("what was published before the death is gone")
		}
	})
}
