package healkv

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healkv/dataplane"
	"healkv/pmem"
)

// A pool that is not closed as it should be is told to whoever had the node
// drained or closed.
func TestBuryTells(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "healkv-test-") // indexes are on tmpfs
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	who := pmem.Identity{Shards: 1}
	if err := pmem.Format(pmem.FormatOptions{Dir: dir, IndexDir: filepath.Join(dir, "i"), SizeBytes: 64 << 20, Domain: pmem.DomainMemory, Identity: who}); err != nil {
		t.Fatal(err)
	}
	n := &Node{cfg: Config{PoolDir: dir}, log: slog.New(slog.DiscardHandler), host: dataplane.NewHost(nil)}
	open := func() *life {
		p, err := pmem.Open(pmem.OpenOptions{Dir: dir, IndexDir: filepath.Join(dir, "i"), Domain: pmem.DomainMemory, Identity: who})
		if err != nil {
			t.Fatal(err)
		}
		return &life{pools: []*pmem.Pool{p}}
	}
	l := open()
	if err := l.pools[0].Close(false); err != nil { // so that closing it fails
		t.Fatal(err)
	}
	n.bury(l)
	if err := n.burial(); !errors.Is(err, pmem.ErrClosed) || !strings.Contains(err.Error(), "shard 0") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a pool that did not close: %v", err)
	}
	n.bury(open()) // the next life's end was good
	if err := n.burial(); err != nil {
		t.Errorf("after a life that ended well: %v", err)
	}
}
