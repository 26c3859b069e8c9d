package crashtest

import (
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem/store"
)

// cleanHard is the cleaner with all that it may do: beyond the stable position,
// inside a missed range, and dropping tombstones.
func cleanHard(missed uint64, budget int) op {
	return func(l *life) error {
		s := l.p.Store()
		s.OnDrop(func(hash, ts uint64) {
			k := slices.IndexFunc(keyNames[:], func(name []byte) bool { return s.Hash(name) == hash })
			l.m.dropped[k] = max(l.m.dropped[k], ts)
			l.counts.Dropped++
		})
		s.Press(true)
		r := s.Clean(budget, store.Bounds{Below: s.Flushed(), Stable: l.p.Stable(), Missed: missed, Drop: l.ts + 1}, s.Flushed())
		s.Press(false)
		l.counts.Freed += r.FreedSegments
		l.counts.Moved += r.MovedRecords
		return r.Err
	}
}

// shortOfSpace is a burst of writes and deletes, and then the cleaner until it
// has nothing to do, with a flush now and then.
func shortOfSpace(seed uint64, writes int) op {
	return func(l *life) error {
		rng := newRand(seed)
		var seq []op
		for range writes {
			if k := rng.IntN(keys); rng.IntN(2) == 0 {
				seq = append(seq, del(k))
			} else {
				seq = append(seq, put(k, rng.IntN(100)))
			}
		}
		seq = append(seq, flush, stable)
		for range 6 {
			if seq = append(seq, cleanHard(0, 1500)); rng.IntN(4) == 0 {
				seq = append(seq, flush)
			}
		}
		for _, o := range seq {
			if err := l.step(o); err != nil {
				return err
			}
		}
		return nil
	}
}

// spaceOps is a sequence by chance in which space is always short, keys are
// deleted as often as they are written, and the process dies now and then.
func spaceOps(rng *rand.Rand, n int) []op {
	seq := make([]op, 0, n)
	for range n {
		k, bytes := rng.IntN(keys), rng.IntN(120)
		switch x := rng.IntN(100); {
		case x < 14:
			seq = append(seq, shortOfSpace(rng.Uint64(), 2+rng.IntN(8)))
		case x < 26:
			seq = append(seq, put(k, bytes))
		case x < 46:
			seq = append(seq, del(k))
		case x < 60:
			seq = append(seq, flush)
		case x < 72:
			seq = append(seq, stable)
		case x < 92:
			seq = append(seq, cleanHard(uint64(rng.IntN(16<<10)), 200+rng.IntN(4000)))
		case x < 94:
			seq = append(seq, many(6, bytes))
		case x < 96:
			seq = append(seq, view)
		case x < 98:
			seq = append(seq, restart)
		default:
			seq = append(seq, killedIn(flush, rng.IntN(3)))
		}
	}
	return seq
}

// statesOf plays sequences by chance until that many states were looked at, or
// fewer by the flags. apart keeps the seeds of tests apart.
func statesOf(t *testing.T, most int, apart uint64, checkpoint bool, ops func(*rand.Rand) []op) (sum counts, runs int) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	want := min(*statesFlag, most+*statesFlag/10)
	if testing.Short() {
		want = 3_000
	}
	for seed := *seedFlag; sum.States < want; seed++ {
		x := newRun(geometries[runs%len(geometries)])
		x.checkpoint = checkpoint
		x.limits, x.deeper, x.budget = Limits{Exhaustive: 8, Samples: 6}, 400, 0
		rng := newRand(seed + apart)
		if err := x.play(seed, append([]op{begin}, ops(rng)...)); err != nil {
			t.Fatalf("seed %d: %v\nrepeat: go test ./pmem/crashtest -run '^%s$' -crash.seed=%d", seed, err, t.Name(), seed)
		}
		sum.States += x.counts.States
		sum.Freed += x.counts.Freed
		sum.Moved += x.counts.Moved
		sum.Dropped += x.counts.Dropped
		sum.Taken += x.counts.Taken
		sum.Restored += x.counts.Restored
		runs++
	}
	return sum, runs
}

// TestCrashStatesOfSpace: what a power loss can leave while the cleaner moves,
// frees and drops tombstones: nothing that was deleted comes back, nothing else
// is gone, and what was not stable is settled again.
func TestCrashStatesOfSpace(t *testing.T) {
	sum, runs := statesOf(t, 12_000, 1<<32, false, func(rng *rand.Rand) []op { return spaceOps(rng, 120+rng.IntN(120)) })
	t.Logf("%d states of %d sequences: %d segments freed, %d records moved, %d tombstones dropped", sum.States, runs, sum.Freed, sum.Moved, sum.Dropped)
	if sum.Freed == 0 || sum.Moved == 0 || sum.Dropped == 0 {
		t.Error("something never happened")
	}
	tally.Add("crash states", "states under the cleaner", sum.States)
}
