package healkv

import "testing"

// Between two lives nothing turns, and nobody should wait for the lease of the
// one that has ended (H29).
func TestNoLeaseBetweenTwoLives(t *testing.T) {
	if new(Node).progress() {
		t.Error("a node without a life calls itself moving")
	}
}
