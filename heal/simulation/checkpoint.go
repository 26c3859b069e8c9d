package simulation

import (
	"io"
	"math/rand/v2"
)

// checkpointDisk is the file of a pool's index checkpoints: what a process
// sees, and what survives a power loss. It draws from a source of its own.
type checkpointDisk struct {
	rng         *rand.Rand
	now, synced []byte
	dirty       []flushed // since the last sync
}

func newCheckpointDisk(seed uint64) *checkpointDisk {
	return &checkpointDisk{rng: rand.New(rand.NewPCG(seed, 0x636b_7074))}
}

func (d *checkpointDisk) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(d.now)) {
		return 0, io.EOF
	}
	if n := copy(p, d.now[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (d *checkpointDisk) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(d.now) {
		d.now = append(d.now, make([]byte, end-len(d.now))...)
	}
	copy(d.now[off:], p)
	d.dirty = append(d.dirty, flushed{int(off), len(p)})
	return len(p), nil
}

func (d *checkpointDisk) Sync() error {
	d.synced = append(d.synced[:0], d.now...)
	d.dirty = d.dirty[:0]
	return nil
}

// powerLoss keeps of what was not synced any part, in 512 byte sectors.
func (d *checkpointDisk) powerLoss() {
	d.synced = append(d.synced, make([]byte, len(d.now)-len(d.synced))...)
	for _, f := range d.dirty {
		for at := f.off; at < f.off+f.n; at += 512 {
			if d.rng.IntN(2) == 0 {
				copy(d.synced[at:min(at+512, f.off+f.n)], d.now[at:])
			}
		}
	}
	d.dirty = d.dirty[:0]
	d.now = append(d.now[:0], d.synced...)
}
