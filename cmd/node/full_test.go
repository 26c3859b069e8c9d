//go:build process

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A full pool of a group: every node refuses what cannot fit, every node still
// takes deletes, nothing acknowledged is lost, and when there is room again
// every node takes writes.
func TestProcessFullPoolsOfAGroup(t *testing.T) {
	g := newGroup(t, 3, "--domain", "memory")
	ctx := t.Context()
	value := strings.Repeat("z", 1<<20)
	stored, refusals := 0, 0
	for ; refusals < g.nodes && stored < 200; stored++ {
		// The next node in turn; one that refuses stays refusing.
		err := g.client(refusals).Set(ctx, fmt.Sprintf("big-%d", stored), value, 0).Err()
		if err == nil {
			continue
		}
		if !strings.HasPrefix(err.Error(), "OOM ") || !strings.Contains(err.Error(), "delete keys") {
			t.Fatalf("node %d after %d MiB: %v\n%s", refusals, stored, err, g.logs())
		}
		refusals++
		stored--
	}
	if refusals < g.nodes || stored < 32 {
		t.Fatalf("%d of %d nodes refused after %d MiB in pools of 128 MiB", refusals, g.nodes, stored)
	}
	for i := range g.nodes {
		if n, err := g.client(i).DBSize(ctx).Result(); err != nil || n != int64(stored) {
			t.Errorf("node %d holds %d keys of %d acknowledged: %v", i, n, stored, err)
		}
	}
	for k := range stored {
		if n, err := g.client(k%g.nodes).Del(ctx, fmt.Sprintf("big-%d", k)).Result(); err != nil || n != 1 {
			t.Fatalf("delete %d at node %d with full pools: %d %v", k, k%g.nodes, n, err)
		}
	}
	for i := range g.nodes {
		for began := time.Now(); ; {
			err := g.client(i).Set(ctx, fmt.Sprintf("again-%d", i), value, 0).Err()
			if err == nil {
				break
			}
			if time.Since(began) > 30*time.Second {
				t.Fatalf("node %d has no room after everything was deleted: %v\n%s", i, err, g.logs())
			}
		}
		for j := range g.nodes {
			if got, err := g.client(j).Get(ctx, fmt.Sprintf("again-%d", i)).Result(); err != nil || got != value {
				t.Errorf("written at %d after a full pool, read at %d: %d bytes, %v", i, j, len(got), err)
			}
		}
	}
	t.Logf("%d MiB went into pools of 128 MiB; %d nodes refused more and took %d deletes", stored, refusals, stored)
}
