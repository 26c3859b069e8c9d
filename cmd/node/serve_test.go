package main

import (
	"testing"

	"healkv/cmd/node/config"
)

// What tcp keeps in the Go heap for good counts in the heap's limit; other
// providers keep nothing there.
func TestRingsCountInTheHeapLimit(t *testing.T) {
	c := config.Default()
	c.Nodes, c.Shards, c.RingSize = 6, 16, 8*config.MiB
	for provider, want := range map[string]config.Size{"shm": 0, "verbs": 0, "tcp": 6 * 16 * 8 * config.MiB} {
		c.Provider = provider
		if got := ringsOnHeap(&c); got != want {
			t.Errorf("%s: %v, want %v", provider, got, want)
		}
	}
}
