package rdma_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"healkv/rdma"
	"healkv/rdma/shm"
)

func TestProviderNames(t *testing.T) {
	rdma.Absent("carrier pigeons", "not built in; breed some")
	for _, c := range []struct{ name, says string }{
		{"carrier pigeons", "breed some"},
		{"", "unknown"},
		{"SHM", "unknown"},
		{"infiniband", "unknown"},
	} {
		err := rdma.CheckProvider(c.name)
		if !errors.Is(err, rdma.ErrProvider) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "built in: shm") {
			t.Errorf("%q: %v", c.name, err)
		}
		if _, err := rdma.Open(c.name, rdma.Config{}); !errors.Is(err, rdma.ErrProvider) {
			t.Errorf("open %q: %v", c.name, err)
		}
	}
	if err := rdma.CheckProvider(shm.Name); err != nil {
		t.Error(err)
	}
}

func TestOpenByName(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	e, err := rdma.Open("shm", rdma.Config{RunDir: dir, Nodes: 3, Incarnation: 1, RingBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if e.Out().Size() != 4096 {
		t.Errorf("ring of %d bytes", e.Out().Size())
	}
	if _, err := rdma.Open("shm", rdma.Config{RunDir: dir, Nodes: 3, Incarnation: 1}); !errors.Is(err, os.ErrExist) {
		t.Errorf("the same life twice: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := rdma.Open("shm", rdma.Config{RunDir: dir, Nodes: 0}); !errors.Is(err, shm.ErrConfig) {
		t.Errorf("no nodes: %v", err)
	}
	if _, err := rdma.Open("shm", rdma.Config{RunDir: dir + "/none", Nodes: 3}); !errors.Is(err, shm.ErrDir) {
		t.Errorf("no directory: %v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}
