package dataplane

import (
	"errors"
	"sync/atomic"
	"testing"
)

// fencedBetween is valid whenever it is asked, and another one each time: the
// node was fenced and came back in between (H12).
type fencedBetween struct{ asked atomic.Uint64 }

func (l *fencedBetween) Valid() bool        { return true }
func (l *fencedBetween) Generation() uint64 { return l.asked.Add(1) }

// endsInTheTurn is valid when a turn of the worker asks first, and has run out
// when it asks again.
type endsInTheTurn struct {
	w    *Worker
	turn atomic.Uint64
}

func (l *endsInTheTurn) Valid() bool        { return l.turn.Swap(l.w.turns.Load()) != l.w.turns.Load() }
func (l *endsInTheTurn) Generation() uint64 { return 1 }

// H12: what was read before the lease was looked at is not given away, whether
// the lease ran out meanwhile or was lost and won again.
func TestLeaseIsLookedAtLast(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 1})
	n := r.nodes[0]
	s := n.host.NewSession()
	defer s.Close()
	if _, err := s.Put([]byte("k"), []byte("v"), 0); err != nil {
		t.Fatal(err)
	}
	n.core.lease = new(fencedBetween)
	if v, _, err := s.Get([]byte("k"), nil); !errors.Is(err, ErrTryAgain) {
		t.Errorf("read %q over two leases: %v", v, err)
	}
	n.core.lease = &n.lease
	if v, _, err := s.Get([]byte("k"), nil); err != nil || string(v) != "v" {
		t.Errorf("read %q: %v", v, err)
	}
	w := n.workers[0]
	w.Do(func() { w.lease = &endsInTheTurn{w: w} })
	op := &Op{Kind: OpDelete, Key: []byte("unknown")} // answered as a read that misses
	if err := one(t, s, op, 0); !errors.Is(err, ErrTryAgain) {
		t.Errorf("the worker answered when the lease had run out: %v", err)
	}
	w.Do(func() { w.lease = &n.lease })
	if err := one(t, s, op, 0); err != nil {
		t.Error(err)
	}
}
