package crashtest

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"healkv/bench/tally"
	"healkv/pmem/ckpt"
)

// ckptFile is the file of the checkpoints of one life. A power loss leaves all
// that was written to it, or nothing since the last sync.
type ckptFile struct{ now, synced []byte }

func (f *ckptFile) ReadAt(b []byte, off int64) (int, error) { return frozen(f.now).ReadAt(b, off) }

func (f *ckptFile) WriteAt(b []byte, off int64) (int, error) {
	if end := int(off) + len(b); end > len(f.now) {
		f.now = append(f.now, make([]byte, end-len(f.now))...)
	}
	return copy(f.now[off:], b), nil
}

func (f *ckptFile) Sync() error {
	f.synced = append(f.synced[:0], f.now...)
	return nil
}

// left is what a power loss leaves, or without rng what another process finds.
func (f *ckptFile) left(rng *rand.Rand) ckpt.File {
	switch {
	case f == nil:
		return nil
	case rng != nil && rng.IntN(2) == 0:
		return frozen(f.synced)
	}
	return frozen(f.now)
}

// frozen is a file that is looked at and not changed.
type frozen []byte

func (f frozen) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f)) {
		return 0, io.EOF
	}
	n := copy(b, f[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (frozen) WriteAt([]byte, int64) (int, error) { return 0, errors.New("nobody writes here") }
func (frozen) Sync() error                        { return nil }

// checkpoints gives a life its file: what a power loss left of the one above.
func (l *life) checkpoints(above *ckptFile) {
	l.file, l.medium.Checkpoint = nil, nil
	if !l.checkpoint {
		return
	}
	l.file = &ckptFile{}
	if above != nil {
		l.file.synced = slices.Clone([]byte(above.left(l.rng).(frozen)))
		l.file.now = slices.Clone(l.file.synced)
	}
	l.medium.Checkpoint, l.medium.CheckpointBytes = l.file, 1 // as often as the log allows
}

// tend takes checkpoints as the worker does, a few steps after each operation.
func (l *life) tend() {
	if l.file == nil || l.p == nil || !l.begun || l.failed {
		return
	}
	taken := l.p.Checkpoints().Taken
	for range l.rng.IntN(6) * l.rng.IntN(4) {
		l.p.Tend()
	}
	l.counts.Taken += int(l.p.Checkpoints().Taken - taken)
}

// ahead writes every key once, over some segments and without a flush, after all
// was stable.
func ahead(bytes int) op {
	return func(l *life) error {
		for _, o := range [...]op{flush, stable, flush, flush, many(keys, bytes), clean} {
			if err := l.step(o); err != nil {
				return err
			}
		}
		return nil
	}
}

// ckptOps has some of that among the rest.
func ckptOps(rng *rand.Rand, n int) []op {
	seq := randomOps(rng, n)
	if rng.IntN(2) == 0 {
		seq = spaceOps(rng, n)
	}
	for i := range seq {
		if rng.IntN(12) == 0 {
			seq[i] = ahead(100 + rng.IntN(500))
		}
	}
	return seq
}

// TestCrashStatesOfCheckpoints: the index is made of a checkpoint and what a
// power loss can leave of the log: it holds what the log does.
func TestCrashStatesOfCheckpoints(t *testing.T) {
	sum, runs := statesOf(t, 8_000, 2<<32, true, func(rng *rand.Rand) []op { return ckptOps(rng, 60+rng.IntN(120)) })
	t.Logf("%d states of %d sequences, %d of them with an index of one of %d checkpoints; %d segments freed, %d records moved",
		sum.States, runs, sum.Restored, sum.Taken, sum.Freed, sum.Moved)
	if sum.Freed == 0 || sum.Moved == 0 || sum.Taken == 0 || sum.Restored*4 < sum.States {
		t.Error("too little of it happened")
	}
	tally.Add("crash states", "states with a checkpoint", sum.States)
}
