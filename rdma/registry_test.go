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

func TestCheckEnd(t *testing.T) {
	for _, c := range []struct {
		node, nodes, shard int
		incarnation        uint32
		says               string
	}{
		{0, 1, 0, 1, ""},
		{15, 16, 63, 1<<32 - 1, ""},
		{0, 0, 0, 1, "0 nodes, want 1 to 16"},
		{0, 17, 0, 1, "17 nodes"},
		{3, 3, 0, 1, "node 3 of 3"},
		{-1, 3, 0, 1, "node -1"},
		{0, 1, 64, 1, "shard 64, want 0 to 63"},
		{0, 1, -1, 1, "shard -1"},
		{0, 1, 0, 0, "incarnation 0"},
	} {
		err := rdma.CheckEnd(c.node, c.nodes, c.shard, c.incarnation)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
