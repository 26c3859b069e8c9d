package replica

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The queue against a slice, through growth and wrap-around.
func TestQueueAgainstASlice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	grown := 0
	for range 50 {
		q := newQueue[int](1)
		var want []int
		head := uint64(0)
		for i := range 2000 {
			before := len(q.buf)
			switch k := r.IntN(10); {
			case k < 5 || len(want) == 0:
				q.push(i)
				want = append(want, i)
			case k < 9:
				if *q.front() != want[0] {
					t.Fatalf("front %d, want %d", *q.front(), want[0])
				}
				q.pop()
				want = want[1:]
				head++
			default:
				n := r.IntN(40)
				for j := range n {
					q.push(i + j)
					want = append(want, i+j)
				}
			}
			if len(q.buf) != before {
				grown++
			}
			if q.len() != len(want) || q.head != head {
				t.Fatalf("length %d, head %d; want %d, %d", q.len(), q.head, len(want), head)
			}
			if len(want) > 0 {
				j := r.IntN(len(want))
				if *q.at(q.head + uint64(j)) != want[j] || *q.back() != want[len(want)-1] {
					t.Fatalf("element %d is %d, want %d", j, *q.at(q.head + uint64(j)), want[j])
				}
			}
		}
	}
	if grown < 50 {
		t.Errorf("grew %d times only", grown)
	}
	t.Logf("grew %d times", grown)
}

// obvious is spans without a memory bound: one element per burst, for ever.
type obvious []span

func (o obvious) flushed(pos, seq uint64) uint64 {
	for _, s := range o {
		if s.after > pos {
			break
		}
		seq = max(seq, s.seq)
	}
	return seq
}

func (o obvious) floor(stable, tail uint64) uint64 {
	for _, s := range o {
		if s.seq > stable {
			return min(tail, s.before)
		}
	}
	return tail
}

// spans against the obvious version: durable is the same or later only where
// bursts were merged, the floor the same or lower; neither ever says more than
// the truth, and both come to the end.
func TestSpansAgainstTheObviousVersion(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		merging := seed%2 == 0 // as the own stream does, by note
		var s spans
		s.queue = newQueue[span](1)
		var all obvious
		var seq, tail, flushed, stable, durable uint64
		for range 400 {
			switch r.IntN(4) {
			case 0, 1:
				before := tail + uint64(r.IntN(3))*64 // others append too
				after := before + uint64(r.IntN(4))*1024
				seq += 16 + uint64(r.IntN(100))*16
				tail = after
				if merging {
					s.note(seq, before, after)
				} else {
					s.add(seq, before, after)
				}
				all = append(all, span{seq, before, after})
			case 2:
				flushed += uint64(r.Int64N(int64(tail - flushed + 1)))
				d := s.flushed(flushed, durable)
				truth := all.flushed(flushed, 0)
				if d < durable || d > truth || !merging && d != truth {
					t.Fatalf("seed %d: durable %d after %d at flushed %d, true %d", seed, d, durable, flushed, truth)
				}
				durable = d
			case 3:
				// Stable through what is durable here, at most: as everywhere.
				stable += uint64(r.Int64N(int64(durable - stable + 1)))
				s.stable(stable)
			}
			truth := all.floor(stable, tail)
			if got := s.floor(tail); got > truth || !merging && got != truth {
				t.Fatalf("seed %d: floor %d, true %d", seed, got, truth)
			}
			if s.durable < s.head || s.durable > s.tail {
				t.Fatalf("seed %d: durable index %d outside [%d, %d]", seed, s.durable, s.head, s.tail)
			}
		}
		if d := s.flushed(tail, durable); d != seq {
			t.Fatalf("seed %d: all flushed, durable %d of %d", seed, d, seq)
		}
		s.stable(seq)
		if s.len() != 0 || s.floor(tail) != tail {
			t.Fatalf("seed %d: %d spans left", seed, s.len())
		}
	}
}

// A stream whose stable lags for ever takes bounded memory, and what is merged
// only makes positions more careful.
func TestSpansAreBounded(t *testing.T) {
	var s spans
	s.queue = newQueue[span](1)
	tail := uint64(0)
	for i := range uint64(3 * spansMax) {
		s.add((i+1)*16, tail, tail+64)
		tail += 64
	}
	if s.len() > spansMax {
		t.Fatalf("%d spans, at most %d", s.len(), spansMax)
	}
	if s.floor(tail) != 0 {
		t.Errorf("floor %d, want 0", s.floor(tail))
	}
	if d := s.flushed(tail-1, 0); d >= 3*spansMax*16 {
		t.Errorf("durable %d though the last burst is not flushed", d)
	}
	if d := s.flushed(tail, 0); d != 3*spansMax*16 {
		t.Errorf("durable %d, want all", d)
	}
}

// waiters against a list.
func TestWaitersAgainstAList(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const slots = 40
	w := newWaiters(slots)
	type one struct {
		hash uint64
		h    Handle
	}
	var want []one
	full := 0
	for i := range 20_000 {
		x := one{uint64(r.IntN(4)) * waiterBuckets / uint64(1+r.IntN(2)), Handle(i)}
		switch r.IntN(2) {
		case 0:
			ok := w.add(waiter{hash: x.hash, handle: x.h})
			if ok != (len(want) < slots) {
				t.Fatalf("add: %v with %d of %d waiting", ok, len(want), slots)
			}
			if ok {
				want = append(want, x)
			} else {
				full++
			}
		case 1:
			if len(want) == 0 {
				continue
			}
			j := r.IntN(len(want))
			if w.cancel(want[j].hash, NoHandle) || !w.cancel(want[j].hash, want[j].h) || w.cancel(want[j].hash, want[j].h) {
				t.Fatalf("cancel of %+v", want[j])
			}
			want = slices.Delete(want, j, j+1)
		}
		if w.count != len(want) {
			t.Fatalf("count %d, want %d", w.count, len(want))
		}
	}
	if full == 0 {
		t.Error("never full")
	}
}
