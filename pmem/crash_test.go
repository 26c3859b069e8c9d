package pmem

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"healkv/pmem/store"
)

// media is what the persistent medium holds of a region: what was flushed and
// then drained. It stands for any domain; pages are torn as lines are.
type media struct {
	image   []byte
	flushed []byte // stores that a flush has taken along, waiting for the drain
	ranges  [][2]int
	skip    int // plant: the flush with this number is lost
	flushes int
	drains  int
	noDrain int // plant: the drain with this number is lost
}

func (m *media) watch(r *Region) {
	if m.image == nil {
		m.image = bytes.Clone(r.Bytes())
	}
	r.SetFlushHook(func(off, n int) {
		if m.flushes++; m.flushes == m.skip {
			return
		}
		// A flush covers what stood there when it was called.
		from, to := off&^63, min((off+n+63)&^63, len(r.Bytes()))
		m.ranges = append(m.ranges, [2]int{from, to})
		m.flushed = append(m.flushed, r.Bytes()[from:to]...)
	})
	r.SetSyncHook(func() error {
		if m.drains++; m.drains == m.noDrain {
			return nil
		}
		at := 0
		for _, f := range m.ranges {
			at += copy(m.image[f[0]:f[1]], m.flushed[at:])
		}
		m.ranges, m.flushed = m.ranges[:0], m.flushed[:0]
		return nil
	})
}

// powerLoss is an image that a power loss at this moment may leave: drained
// bytes are there; of the rest each page, line or word may or may not be.
func (m *media) powerLoss(now []byte, rng *rand.Rand) []byte {
	out := bytes.Clone(m.image)
	grain := [...]int{8, 64, 512, 4096, 1 << 30}[rng.IntN(5)]
	likely := rng.IntN(5) // quarters
	for page := 0; page < len(out); page += 4096 {
		if bytes.Equal(out[page:page+4096], now[page:page+4096]) {
			continue
		}
		for off := page; off < page+4096; off += min(grain, 4096) {
			if rng.IntN(4) < likely {
				n := min(grain, 4096)
				copy(out[off:off+n], now[off:off+n])
			}
		}
	}
	return out
}

// crashLives runs lives of a pool, each ended by a power loss, and reports the
// first promise that is broken.
func crashLives(t testing.TB, seed uint64, lives int, plant func(*media, int)) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	at := place{memDir(t), ""}
	at.index = at.dir
	at.format(t, DomainMemory, dataOffset+segmentsMin*segmentBytesMin)
	flushed, written := map[int]uint64{}, map[int]uint64{}
	var durable, flushedMarker, stable uint64
	lostThrough := uint32(0)
	ts := uint64(0)
	var image []byte
	for life := range lives {
		if image != nil {
			if err := os.WriteFile(poolPath(at.dir, 1), image, 0o600); err != nil {
				return err
			}
			removeIndex(t, at)
		}
		m := &media{}
		if plant != nil {
			plant(m, life)
		}
		o := at.options()
		o.onMap = m.watch
		p, err := Open(o)
		if err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		region := p.Region()
		now := func() []byte { return m.powerLoss(region.Bytes(), rng) }
		r := p.Recovered()
		switch {
		case r.Tail < durable:
			err = fmt.Errorf("tail %d, %d was flushed", r.Tail, durable)
		case r.LastMarker < flushedMarker:
			err = fmt.Errorf("marker %d, %d was flushed", r.LastMarker, flushedMarker)
		case r.Stable > stable:
			err = fmt.Errorf("stable %d, said %d", r.Stable, stable)
		case r.LostThrough < lostThrough:
			err = fmt.Errorf("lostThrough %d, %d was written", r.LostThrough, lostThrough)
		}
		s := p.Store()
		for i, last := range written {
			var e store.Entry
			k := key(i)
			s.Find(&e, s.Hash(k), k)
			if e.TS < flushed[i] || e.TS > last {
				err = fmt.Errorf("key %d at %d, flushed %d, written %d", i, e.TS, flushed[i], last)
			}
			written[i], flushed[i] = e.TS, e.TS // Open has flushed what it found
			if e.TS == 0 {
				delete(written, i)
			}
		}
		if err != nil {
			p.Close(false)
			return fmt.Errorf("life %d: %w", life, err)
		}
		durable, stable = r.Tail, max(stable, r.Stable)
		if rng.IntN(4) == 0 { // dies before it begins
			image = now()
			p.Close(false)
			continue
		}
		if err := p.Begin(r.PreviousIncarnation + 1); err != nil {
			return err
		}
		for range 1 + rng.IntN(12) {
			for range 1 + rng.IntN(40) {
				ts++
				i := rng.IntN(300)
				put(p, i, ts, true)
				written[i] = ts
			}
			mark := flushedMarker
			if rng.IntN(3) == 0 {
				mark = marker(p, uint32(life))
			}
			if rng.IntN(8) == 0 {
				lostThrough++
				if err := p.WriteSuperblock(func(s *Super) { s.LostThrough = lostThrough }); err != nil {
					return err
				}
			}
			if rng.IntN(3) > 0 {
				stable = max(stable, p.log.Flushed())
				p.SetStable(p.log.Flushed())
				if rng.IntN(2) == 0 {
					p.superStable.Store(0)
					p.superDurable.Store(0) // due: the superblock joins
					p.stable.Store(max(stable, superEveryStable))
					p.SetStable(stable)
				}
				if err := p.Flush(); err != nil {
					return err
				}
				durable, flushedMarker = p.log.Flushed(), mark
				for i, w := range written {
					flushed[i] = w
				}
			} else {
				flushedMarker = max(flushedMarker, 0)
			}
		}
		if rng.IntN(5) == 0 {
			if err := p.Close(true); err != nil {
				return err
			}
			image = bytes.Clone(m.image) // everything was flushed
			for i, w := range written {
				flushed[i] = w
			}
			continue
		}
		image = now()
		if err := p.Close(false); err != nil {
			return err
		}
	}
	return nil
}

func TestPowerLoss(t *testing.T) {
	n, lives := 25, 6
	for seed := range uint64(n) {
		if err := crashLives(t, seed, lives, nil); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d power losses", n*lives)
}
