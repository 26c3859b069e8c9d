//go:build process

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"healkv/bench/peers/result"
)

var nodeProgram = flag.String("peers.node", "../../bin/node", "HealKV's program, from make build")

// processes are those whose command line names a directory.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, l := range lines {
		text, err := os.ReadFile(l)
		if err == nil && bytes.Contains(text, []byte(dir)) { // else it has just ended
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

func clean(t *testing.T, dir string) {
	t.Helper()
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("data were left: %v", err)
	}
}

func load(t *testing.T, dir string) *result.Report {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r result.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

// Every system in its both domains for a moment: all acknowledged writes are
// readable, a killed node comes back.
func TestProcessPeers(t *testing.T) {
	for _, c := range []struct {
		name, domain, systems string
		parts, absences       int
	}{
		{"flushed", "file", "healkv,etcd", 5, 2}, // HealKV in-node too, and both over socket files
		{"not flushed", "memory", "healkv,etcd,zookeeper,redis,dragonboat", 9, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := t.TempDir()
			o, err := parse([]string{"--domain", c.domain, "--systems", c.systems, "--clients", "8", "--time", "3s", "--warm", "200ms", "--runs", "1",
				"--keys", "400", "--missed", "300", "--reads=false", "--judge=false", "--pool-size", "128MiB", "--out", out, "--node", *nodeProgram, "--limit", "8m"})
			if err != nil {
				t.Fatal(err)
			}
			before := shm(t)
			if err := compare(context.Background(), o, os.Stderr); err != nil {
				t.Fatal(err)
			}
			clean(t, out)
			if after := shm(t); len(after) > len(before) {
				t.Errorf("on tmpfs: %v before, %v after", before, after)
			}
			r := load(t, out)
			if len(r.Parts) != c.parts || len(r.Absences) != c.absences || len(r.Systems) != strings.Count(c.systems, ",")+1 || r.Unfinished != "" {
				t.Fatalf("%d parts, %d absences, %d systems, unfinished %q", len(r.Parts), len(r.Absences), len(r.Systems), r.Unfinished)
			}
			for _, p := range r.Parts {
				if p.Operations == 0 || p.Rate <= 0 || p.P99 < p.P50 || p.P50 == 0 || p.Wrong != 0 || p.Checked == 0 && p.System != result.InNode {
					t.Errorf("%+v", p)
				}
				if (p.Probe != nil) != (c.domain == "file") {
					t.Errorf("%s: probe %v", p.System, p.Probe)
				}
				t.Logf("%s: %d operations, %d read back", p.System, p.Operations, p.Checked)
			}
			for _, a := range r.Absences {
				if a.Missed < 300 || a.Seconds <= 0 || a.Checked == 0 || a.Wrong != 0 {
					t.Errorf("%+v", a)
				}
				t.Logf("%s: missed %d writes, back after %.3f s, %d read back there", a.System, a.Missed, a.Seconds, a.Checked)
			}
		})
	}
}

// Ctrl-C in the middle ends every process, removes all data, and keeps what was
// measured.
func TestProcessInterrupted(t *testing.T) {
	out := t.TempDir()
	program := filepath.Join(t.TempDir(), "peers")
	if text, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	cmd := exec.Command(program, "--clients", "2,4", "--time", "500ms", "--warm", "100ms", "--keys", "100", "--runs", "50", "--systems", "etcd,healkv",
		"--pool-size", "128MiB", "--out", out, "--node", *nodeProgram)
	var said bytes.Buffer
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	late := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	var seen strings.Builder
	buffer := make([]byte, 4096)
	interrupted := false
	for {
		n, err := read.Read(buffer)
		seen.Write(buffer[:n])
		// In the middle of a group, after its first part.
		if !interrupted && strings.Contains(seen.String(), "healkv         write    2 clients") {
			interrupted = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	if !interrupted || cmd.ProcessState.ExitCode() != 130 {
		t.Fatalf("interrupted %v, exit status %d, %v\n%s%s", interrupted, cmd.ProcessState.ExitCode(), err, seen.String(), said.String())
	}
	clean(t, out)
	if r := load(t, out); r.Unfinished == "" || len(r.Parts) == 0 {
		t.Errorf("unfinished %q, %d parts", r.Unfinished, len(r.Parts))
	}
}
