package shm

import (
	"sync/atomic"
	"testing"

	"healkv/rdma"
)

// A reader beside a writer never sees a number with an older epoch, and no
// number steps back.
func TestMarksBesideAWriter(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
		pairUp(t, a, b)
		rounds := uint64(200_000)
		if raceEnabled || testing.Short() {
			rounds = 20_000
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for i := uint64(1); i <= rounds; i++ {
				b.PublishMarks(0, &rdma.Marks{Epoch: i, Visible: i, Stable: i, Applied: i, Durable: i, Room: i, Settled: i, Flushed: i})
			}
		}()
		var m, last rdma.Marks
		reads := 0
		for m.Flushed < rounds {
			last = m
			a.Marks(1, &m)
			for i, x := range [...][2]uint64{{m.Visible, last.Visible}, {m.Stable, last.Stable}, {m.Applied, last.Applied}, {m.Durable, last.Durable}, {m.Room, last.Room}, {m.Settled, last.Settled}, {m.Flushed, last.Flushed}} {
				if x[0] > m.Epoch || x[0] < x[1] {
					t.Errorf("number %d: %+v after %+v", i, m, last)
					<-ended
					return
				}
			}
			reads++
		}
		<-ended
		t.Logf("%d lines written, %d read", rounds, reads)
	})
}

// The owner of a line gives it to one life of the peer after the other, as fast
// as it can; a life never sees a number or a feed that was not for it (H9).
func TestLineChangesOwnerBesideAReader(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		owner, even, odd := newEnd(t, d, 0, 1), newEnd(t, d, 1, 2), newEnd(t, d, 1, 3)
		join(t, even, owner)
		join(t, odd, owner)
		rounds := uint64(5_000)
		if raceEnabled || testing.Short() {
			rounds = 1_000
		}
		owner.Out().Next(1 << 12)
		owner.Publish()
		// The owner goes on until each life has seen a line of its own, and
		// stops at the first wrong one.
		var seen [2]atomic.Uint64
		var wrong, stop atomic.Bool
		ended := make(chan uint64)
		go func() {
			i := uint64(0)
			for ; !wrong.Load() && (i < rounds || seen[0].Load() == 0 || seen[1].Load() == 0); i++ {
				to := []*Endpoint{even, odd}[i%2]
				l, err := owner.Prepare(1, to.cfg.Incarnation)
				if err != nil {
					t.Error(err)
					break
				}
				owner.Attach(l)
				owner.PublishMarks(1, &rdma.Marks{Epoch: 1 << 40, Applied: i, Visible: i})
				owner.Feed(1, 16*(i%2))
				owner.PublishMarks(1, &rdma.Marks{Epoch: 1 << 40, Applied: i, Visible: i, Flushed: i})
				if l := owner.Detach(1); i%3 == 0 {
					l.Close()
				} else {
					owner.Attach(l) // the same life once more
					owner.PublishMarks(1, &rdma.Marks{Epoch: 1 << 40, Applied: i})
				}
			}
			stop.Store(true)
			ended <- i
		}()
		for !stop.Load() && !wrong.Load() {
			for parity, e := range []*Endpoint{even, odd} {
				var m rdma.Marks
				e.Marks(0, &m)
				for _, x := range []uint64{m.Applied, m.Visible, m.Flushed} {
					if x != 0 && x%2 != uint64(parity) {
						t.Errorf("the life with parity %d reads %+v", parity, m)
						wrong.Store(true)
					}
				}
				if m.Applied != 0 {
					seen[parity].Add(1)
				}
				e.Poll()
				if r := e.Mirror(0); r != nil && r.Cursor() != 16*uint64(parity) {
					t.Errorf("the life with parity %d is fed from %d", parity, r.Cursor())
					wrong.Store(true)
				}
			}
		}
		n := <-ended
		if even.Counters().Malformed+odd.Counters().Malformed != 0 {
			t.Errorf("%+v, %+v", even.Counters(), odd.Counters())
		}
		t.Logf("%d attachments, lines seen: %d and %d", n, seen[0].Load(), seen[1].Load())
	})
}
