package shm

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpare: the next endpoint of that node and shard takes the file that was
// made for it, once; one of another length is replaced, and nobody else's is
// touched.
func TestSpare(t *testing.T) {
	d := runDir(t)
	const ringBytes = 8192
	inode := func(name string) uint64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(d.Path(), name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	open := func(node, shard int, incarnation uint32) *Endpoint {
		t.Helper()
		e, err := New(Config{Dir: d, Node: node, Nodes: 3, Shard: shard, Incarnation: incarnation, RingBytes: ringBytes})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	d.Spare(1, 0, 2*ringBytes) // the configuration has changed since
	d.Spare(1, 0, ringBytes)
	made := inode(spareName(1, 0))
	d.Spare(1, 0, ringBytes)
	if again := inode(spareName(1, 0)); again != made {
		t.Errorf("made twice: %d, then %d", made, again)
	}
	if other := open(1, 1, 4); inode(other.name(extRing)) == made {
		t.Error("another shard took it")
	}
	e := open(1, 0, 4)
	if got := inode(e.name(extRing)); got != made {
		t.Errorf("the ring is file %d, the spare was %d", got, made)
	}
	id := identity{kindRing, 1, 4, 0, 0}
	m, err := d.open(e.name(extRing), &id, false)
	if err != nil || id.dataBytes != ringBytes {
		t.Fatalf("the ring as a peer sees it: %d bytes, %v", id.dataBytes, err)
	}
	m.close()
	if next := open(1, 0, 5); inode(next.name(extRing)) == made {
		t.Error("two lives have one ring")
	}

	d.Spare(2, 0, ringBytes)
	if err := os.Truncate(filepath.Join(d.Path(), spareName(2, 0)), 4096); err != nil {
		t.Fatal(err)
	}
	cut := inode(spareName(2, 0))
	if e := open(2, 0, 1); inode(e.name(extRing)) == cut {
		t.Error("took a spare that is too short")
	}
	d.Spare(2, 1, ringBytes)
	d.Spare(2, 0, 2*spareMost)
	d.DropSpares(2, 2)
	left, err := filepath.Glob(filepath.Join(d.Path(), "*spare*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
