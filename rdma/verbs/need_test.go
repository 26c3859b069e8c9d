package verbs

import "testing"

// The need counts what a lane that is opened anew adds, and the windows of a
// recovery with the one that comes before the oldest goes.
func TestLockedMemory(t *testing.T) {
	const ring = 8 << 20
	for _, c := range []struct {
		nodes        int
		rings, small uint64
	}{{1, 1, 0}, {2, 3, 2}, {6, 11, 10}, {16, 31, 30}} {
		fixed := uint64(3*64<<20 + 2<<20)
		got := LockedMemory(c.nodes, ring)
		if least := c.rings*ring + fixed; got < least || got > least+c.small*(256<<10) {
			t.Errorf("%d nodes: %d bytes, want %d rings of %d, %d for recovery, and little more", c.nodes, got, c.rings, ring, fixed)
		}
	}
	if LockedMemory(6, 2*ring)-LockedMemory(6, ring) != 11*ring {
		t.Error("rings of six nodes are not eleven")
	}
}
