package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"healkv/bench/peers/servers"
)

func TestFlags(t *testing.T) {
	o, err := parse(nil)
	if err != nil || o.domain != servers.File || !slices.Equal(o.systems, []string{"healkv", "etcd"}) || !slices.Equal(o.clients, []int{1, 64, 256}) || o.missed != 0 || o.reads {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"--domain", "memory", "--clients", "8,2"})
	if err != nil || !slices.Equal(o.systems, servers.Names()) || !slices.Equal(o.clients, []int{2, 8}) || o.missed != 50_000 || !o.reads || !filepath.IsAbs(o.out) {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = parse([]string{"--domain", "memory", "--reads=false", "--missed", "0", "--systems", "healkv,redis"})
	if err != nil || o.reads || o.missed != 0 || len(o.systems) != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range []string{"--domain disk", "--systems healkv,nosuch", "--systems etcd,etcd", "--clients 0", "--clients 1,,2", "--clients x", "--runs 0", "--time 0s",
		"--keys 100", "--value 8", "--nosuch", "more"} {
		if _, err := parse(strings.Fields(bad)); !errors.Is(err, errUsage) {
			t.Errorf("%s: %v, want %v", bad, err, errUsage)
		}
	}
}

// What is missing is said at once, and nothing stays.
func TestMissingProgram(t *testing.T) {
	out := t.TempDir()
	for _, domain := range []string{"file", "memory"} {
		before := shm(t)
		o, err := parse([]string{"--domain", domain, "--out", out, "--node", out + "/node"})
		if err != nil {
			t.Fatal(err)
		}
		if err := compare(context.Background(), o, io.Discard); !errors.Is(err, servers.ErrMissing) {
			t.Errorf("%v, want %v", err, servers.ErrMissing)
		}
		if after := shm(t); !slices.Equal(before, after) {
			t.Errorf("on tmpfs: %v before, %v after", before, after)
		}
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Data of another run are nobody's to overwrite.
func TestDataOfAnotherRun(t *testing.T) {
	out := t.TempDir()
	if err := os.MkdirAll(filepath.Join(out, "data", "precious"), 0o700); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--out", out})
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(context.Background(), o, io.Discard); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v, want %v", err, os.ErrExist)
	}
	if _, err := os.Stat(filepath.Join(out, "data", "precious")); err != nil {
		t.Error(err)
	}
}

// shm is what comparisons have on tmpfs.
func shm(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/dev/shm/peers-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
