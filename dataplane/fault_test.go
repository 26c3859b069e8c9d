package dataplane

import (
	"errors"
	"testing"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
	"healkv/pmem"
)

// A reader that met a fault has left the store: it can be shut, and unmapped.
func TestFaultLeavesTheStore(t *testing.T) {
	r := newRig(t, rigOptions{model: proto.Synchronous})
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	key := []byte("some key")
	if _, err := s.Put(key, []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	// The lookup compares the key that it is given: it faults inside the store.
	gone, err := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(gone)
	st := r.nodes[0].pools[0].Store()
	reader := st.NewReader()
	defer reader.Close()
	hash := xxh3.HashSeed(key, rigSeed)
	if v, _, _, err := get(reader, hash, key, nil); err != nil || string(v) != "value" {
		t.Fatalf("before the fault: %q, %v", v, err)
	}
	if _, _, _, err := get(reader, hash, gone[:len(key)], nil); !errors.Is(err, pmem.ErrFault) {
		t.Fatalf("a fault under a reader: %v", err)
	}
	shut := make(chan struct{})
	go func() {
		st.Shut()
		close(shut)
	}()
	select {
	case <-shut:
	case <-time.After(10 * time.Second):
		reader.Leave()
		t.Error("the reader is inside the store yet")
	}
}
