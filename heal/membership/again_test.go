package membership

import (
	"errors"
	"strings"
	"testing"

	"healkv/heal/membership/register"
)

// cached is storage with a page cache: what was written and not synced is read
// back, and is gone after a power loss.
type cached struct {
	written, synced []byte
	syncs           int
	fails           error
}

func (c *cached) grow(n int) {
	if n > len(c.written) {
		c.written = append(c.written, make([]byte, n-len(c.written))...)
	}
}

func (c *cached) WriteAt(b []byte, off int64) (int, error) {
	c.grow(int(off) + len(b))
	return copy(c.written[off:], b), nil
}

func (c *cached) ReadAt(b []byte, off int64) (int, error) {
	c.grow(int(off) + len(b))
	return copy(b, c.written[off:]), nil
}

func (c *cached) Sync() error {
	c.syncs++
	if c.fails == nil {
		c.synced = append(c.synced[:0], c.written...)
	}
	return c.fails
}

func (c *cached) Close() error { return nil }

// H21: what a killed process wrote may be in the page cache only. The next one
// votes by it, so it is flushed before anybody can see it; if that fails, the
// file is of no use.
func TestStateIsFlushedAgain(t *testing.T) {
	const cluster = "c"
	f := &cached{}
	if err := FormatStorage(f, cluster, 1); err != nil {
		t.Fatal(err)
	}
	a, _, err := loadState(f, "state", cluster, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := register.State{Promised: register.Ballot{Round: 7, Node: 2, Life: 3}}
	f.fails = errors.New("killed before it returned")
	if a.write(want) == nil {
		t.Fatal("a failed flush went unnoticed")
	}
	f.fails = nil
	_, got, err := loadState(f, "state", cluster, 1)
	if err != nil {
		t.Fatal(err)
	}
	f.written = append([]byte(nil), f.synced...) // power loss
	if _, after, err := loadState(f, "state", cluster, 1); err != nil || after != got {
		t.Errorf("a process saw %+v, the one after a power loss sees %+v (%v)", got, after, err)
	}
	f.fails = errors.New("no")
	if _, _, err := loadState(f, "state", cluster, 1); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("opened without a flush: %v", err)
	}
	if f.syncs < 4 {
		t.Errorf("%d flushes", f.syncs)
	}
}
