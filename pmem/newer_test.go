package pmem

import "testing"

// Of a key's records the newest timestamp counts, wherever it stands; of equal
// ones the later position: a replay names the new owner, a cleaner's copy is
// what stays.
func TestNewer(t *testing.T) {
	for _, c := range []struct {
		ts, pos, thanTS, thanPos uint64
		want                     bool
	}{{5, 10, 4, 20, true}, {4, 20, 5, 10, false}, {5, 20, 5, 10, true}, {5, 10, 5, 20, false}, {5, 10, 5, 10, false}} {
		if got := newer(c.ts, c.pos, c.thanTS, c.thanPos); got != c.want {
			t.Errorf("%d at %d newer than %d at %d: %v", c.ts, c.pos, c.thanTS, c.thanPos, got)
		}
	}
}
