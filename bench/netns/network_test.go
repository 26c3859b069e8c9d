//go:build process

package netns

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"healkv/bench/tally"
)

var requiredFlag = flag.Bool("netns.required", false, "what cannot be had fails a test instead of leaving it out")

// leftOut skips a test, and counts that, unless it is required.
func leftOut(t *testing.T, what, missing string) {
	t.Helper()
	tally.Skipped("network namespaces", what, missing)
	if *requiredFlag {
		t.Fatalf("%s: it needs %s", what, missing)
	}
	t.Skip(missing)
}

// network makes one, or skips the test by name of what is missing.
func network(t *testing.T, n int) *Network {
	t.Helper()
	w, err := New(n)
	if errors.Is(err, ErrMissing) {
		leftOut(t, t.Name(), err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := filepath.Glob(names + "healkv-" + w.id + "-*"); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	})
	return w
}

// Every way to break a link breaks what it should and nothing else, and ends.
func TestNetnsCuts(t *testing.T) {
	w := network(t, 4)
	cuts := []struct {
		what string
		cut  func() error
		gone int // ordered pairs; Outside is a fifth host
	}{
		{"unplugged", func() error { return w.Unplug(1) }, 8},
		{"down", func() error { return w.Down(2) }, 8},
		{"one way", func() error { return w.Drop(0, 3) }, 1},
		{"a pair", func() error { return errors.Join(w.Drop(0, 1), w.Drop(1, 0)) }, 2},
		{"mute", func() error { return errors.Join(w.Drop(0, 1), w.Drop(0, 2), w.Drop(0, 3)) }, 3},
		{"two of it", func() error { return errors.Join(w.Unplug(3), w.Drop(1, 2)) }, 9},
	}
	for _, c := range cuts {
		for _, err := range []error{c.cut(), w.AwaitReach()} {
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
		}
		if n := w.Cut(); n != c.gone {
			t.Errorf("%s: %d pairs are apart, want %d", c.what, n, c.gone)
		}
		for _, err := range []error{w.Heal(), w.AwaitReach()} {
			if err != nil {
				t.Fatalf("%s, healed: %v", c.what, err)
			}
		}
		if n := w.Cut(); n != 0 {
			t.Errorf("%s: %d pairs are apart after it was healed", c.what, n)
		}
	}
	// The comparison itself: a cut that was not made is noticed.
	w.note(0, true)
	if err := w.awaitReach(3 * probeTime); !errors.Is(err, ErrReach) {
		t.Errorf("a cut that cuts nothing: %v", err)
	}
	w.note(0, false)
	t.Logf("%d cuts, each seen and healed", len(cuts))
}

// Connections and processes are where they should be, and connections end when
// they are killed.
func TestNetnsConnections(t *testing.T) {
	before, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	w := network(t, 2)
	if after, err := net.Interfaces(); err != nil || len(after) != len(before) {
		t.Errorf("the caller's own namespace had %d interfaces and has %d (%v)", len(before), len(after), err)
	}
	var l net.Listener
	err = w.Host(1).Inside(func() (err error) { l, err = net.Listen("tcp", Address(1)+":4000"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }() // an echo until the end
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := w.Host(0).Dial(ctx, "tcp", Address(1)+":4000")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(c, "there and back")
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "there and back\n" {
		t.Fatalf("%q %v", line, err)
	}
	if _, err := exec.LookPath("ss"); err != nil {
		leftOut(t, "killed connections", "the program ss (package iproute2)")
	}
	if n, err := w.Host(0).KillConnections(4000); err != nil || n != 1 {
		t.Fatalf("%d connections killed, want 1: %v", n, err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the connection was killed: %v", err)
	}
}

// A run that is killed leaves its namespaces and its process to nobody: the
// process ends with it, the rest goes when the next run begins.
func TestNetnsLeftOvers(t *testing.T) {
	if os.Getenv("HEALKV_NETNS_LEAVE") != "" {
		leave()
	}
	if err := Missing(); err != nil {
		leftOut(t, t.Name(), err.Error())
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestNetnsLeftOvers$")
	cmd.Env = append(os.Environ(), "HEALKV_NETNS_LEAVE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	var pid int
	if _, err := fmt.Fscan(out, &id, &pid); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	left, err := filepath.Glob(names + "healkv-" + id + "-*")
	if err != nil || len(left) == 0 {
		t.Fatalf("a killed run left %v (%v): nothing to remove", left, err)
	}
	network(t, 2)
	still, err := filepath.Glob(names + "healkv-" + id + "-*")
	if err != nil || len(still) > 0 {
		t.Errorf("of a killed run there is still %v (%v)", still, err)
	}
	for _, path := range []string{locks + id + ".lock", memory + id} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left over", path)
		}
	}
	for until := time.Now().Add(10 * time.Second); ; {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("process %d of a killed run goes on", pid)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%d namespaces of a killed run removed", len(left))
}

// leave makes a network with a process in it and waits to be killed.
func leave() {
	w, err := New(2)
	if err == nil {
		_, err = w.Scratch()
	}
	cmd := exec.Command("sleep", "600")
	if err == nil {
		err = w.Host(0).Start(cmd)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(w.id, cmd.Process.Pid)
	select {}
}
