package heal

import (
	"context"
	"testing"
)

// What a member has read of its range the cleaner may have, and no more.
func TestPinFollowsTheReader(t *testing.T) {
	r := newRig(t, 3, 1)
	r.boot()
	b, x := r.nodes[0], r.nodes[2]
	b.in(func() {
		l := b.life
		s := &served{to: x.self, more: make(chan struct{}), list: []byte{1}, ends: []int{1}, listed: 1000}
		s.pin.Store(100)
		l.ranges[7] = s
		for _, c := range []struct{ read, pin uint64 }{
			{0, 100},     // nothing yet
			{500, 500},   // up to here
			{400, 500},   // an older request comes late
			{5000, 1000}, // nobody can have read what is not listed
		} {
			if _, err := l.onPage(context.Background(), x.self, &pageRequest{To: b.self, ID: 7, Read: c.read}); err != nil {
				t.Fatal(err)
			}
			if got := b.driven.Pinned(); got != c.pin && !(c.pin == 100 && got == ^uint64(0)) {
				t.Errorf("read through %d: pinned at %d, want %d", c.read, got, c.pin)
			}
		}
		l.dropRanges(func(*served) bool { return true })
		if got := b.driven.Pinned(); got != ^uint64(0) {
			t.Errorf("pinned at %d after the end", got)
		}
	})
}
