package shm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

func TestConformance(t *testing.T) {
	bothDirs(t, func(t *testing.T, _ *Dir) {
		heap := filepath.Base(t.Name()) == "heap"
		conformance.Run(t, func(t *testing.T) conformance.Fabric { return fabric(t, heap) })
	})
}

func fabric(t *testing.T, heap bool) conformance.Fabric {
	d := Heap()
	if !heap {
		d = runDir(t)
	}
	return conformance.Fabric{
		New: func(node int, incarnation uint32) rdma.Endpoint {
			e, err := New(Config{Dir: d, Node: node, Nodes: conformance.Nodes, Incarnation: incarnation, RingBytes: conformance.RingBytes})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Close(); err != nil && !errors.Is(err, rdma.ErrClosed) {
					t.Error(err)
				}
			})
			return e
		},
		Settle: func() {}, // what is stored is there
		Expose: func(x rdma.Endpoint, mem []byte) {
			e := x.(*Endpoint)
			if heap {
				if err := e.ExposeHeap(mem); err != nil {
					t.Fatal(err)
				}
				return
			}
			const base = 5 << 20 // not at the file's start, not at a huge page
			path := filepath.Join(t.TempDir(), "pool")
			if err := os.WriteFile(path, append(make([]byte, base), mem...), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := e.Expose(rdma.Exposed{Path: path, Base: base, Size: int64(len(mem))}); err != nil {
				t.Fatal(err)
			}
		},
		Sleep: func(e rdma.Endpoint, before, during func()) {
			t.Helper()
			e.PrepareSleep()
			before()
			done := make(chan struct{})
			go func() {
				e.Sleep(-1)
				close(done)
			}()
			during()
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				t.Fatal("lost wake-up: still asleep after 20 s")
			}
		},
		AllocFree: !raceEnabled,
	}
}
