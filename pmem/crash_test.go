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
	image  []byte
	taken  []byte // what flushes have taken along, waiting for the drain
	ranges [][2]int
	drains int
	stopAt int    // the process dies at the drain with this number
	now    []byte // the region as it stood when the process died

	opening bool
	lose    func(m *media, off, n int) bool // plant: this flush is lost
	loseIt  func(m *media) bool             // plant: this drain is lost
	lost    int
}

type stopped struct{}

func (m *media) watch(r *Region) {
	if m.image == nil {
		m.image = bytes.Clone(r.Bytes())
	}
	m.ranges, m.taken = m.ranges[:0], m.taken[:0] // flushed and not drained in the last life
	r.SetFlushHook(func(off, n int) {
		if m.lose != nil && m.lose(m, off, n) {
			m.lost++
			return
		}
		// A flush covers what stands there when it is called.
		from, to := off&^63, min((off+n+63)&^63, len(r.Bytes()))
		m.ranges = append(m.ranges, [2]int{from, to})
		m.taken = append(m.taken, r.Bytes()[from:to]...)
	})
	r.SetSyncHook(func() error {
		if m.drains++; m.drains == m.stopAt {
			m.now = append(m.now[:0], r.Bytes()...)
			panic(stopped{})
		}
		if m.loseIt != nil && m.loseIt(m) {
			m.lost++
			return nil
		}
		at := 0
		for _, f := range m.ranges {
			at += copy(m.image[f[0]:f[1]], m.taken[at:])
		}
		m.ranges, m.taken = m.ranges[:0], m.taken[:0]
		return nil
	})
}

// powerLoss makes image what a power loss may leave when the region stands at
// now: drained bytes are there; of the rest each page, line or word may or may
// not be.
func (m *media) powerLoss(now []byte, rng *rand.Rand) {
	grain := [...]int{8, 64, 512, 4096, 4096}[rng.IntN(5)]
	likely := rng.IntN(5) // quarters
	for page := 0; page < len(m.image); page += 4096 {
		if bytes.Equal(m.image[page:page+4096], now[page:page+4096]) {
			continue
		}
		for off := page; off < page+4096; off += grain {
			if rng.IntN(4) < likely {
				copy(m.image[off:off+grain], now[off:off+grain])
			}
		}
	}
}

// lives is a pool that dies again and again, and what it must hold.
type lives struct {
	t   testing.TB
	rng *rand.Rand
	at  place
	m   *media
	p   *Pool

	ts          uint64
	flushed     map[int]uint64 // key → timestamp that a finished flush covers
	written     map[int]uint64 // key → last timestamp written
	durable     uint64         // tail of the last finished flush
	marker      uint64         // newest flushed marker
	newMarker   uint64
	stable      uint64 // highest ever said
	lostThrough uint32
	asked       uint32 // lostThrough whose write may not have finished
	discarding  bool   // died inside Discard
	incomplete  bool
	completing  bool // the write that says complete may not have finished
	outlived    bool // the last life ended with the process only: nothing is lost

	counts struct{ power, process, clean, inOpen, discards, freed, kept, moved int }
}

const crashKeys = 300

// live is one life up to its end; it panics with stopped where the process dies
// amid a drain.
func (l *lives) live() error {
	rng, p := l.rng, l.p
	if err := p.Begin(p.Recovered().PreviousIncarnation + 1); err != nil {
		return err
	}
	if err := p.Leftovers(func(hash, pos, ts uint64) { p.Store().Unlock(hash, pos) }); err != nil {
		return err
	}
	for range 1 + rng.IntN(12) {
		if rng.IntN(40) == 0 {
			if err := l.discard(); err != nil {
				return err
			}
		}
		for range 1 + rng.IntN(40) {
			if p.Store().FreeBytes() < 4096 {
				break
			}
			l.ts++
			i := rng.IntN(crashKeys)
			put(p, i, l.ts, false)
			l.written[i] = l.ts
		}
		if rng.IntN(3) == 0 && p.Store().FreeBytes() > 4096 {
			l.newMarker = marker(p, 1)
		}
		if rng.IntN(8) == 0 {
			l.asked++
			if err := p.WriteSuperblock(func(s *Super) { s.LostThrough = l.asked }); err != nil {
				return err
			}
			l.lostThrough = l.asked
		}
		if l.incomplete && rng.IntN(4) == 0 {
			l.completing = true
			if err := p.WriteSuperblock(func(s *Super) { s.Complete = true }); err != nil {
				return err
			}
			l.incomplete, l.completing = false, false
		}
		if rng.IntN(3) > 0 {
			l.stable = max(l.stable, p.log.Flushed())
			p.SetStable(p.log.Flushed())
			if rng.IntN(2) == 0 { // the superblock is due
				p.superStable.Store(0)
				p.superDurable.Store(0)
			}
			if err := p.Flush(); err != nil {
				return err
			}
			l.flushedAll()
		}
		r := p.Store().Clean(64<<10, store.Upto(p.Stable()), p.log.Flushed())
		if r.Err != nil {
			return r.Err
		}
		l.counts.freed += r.FreedSegments
		l.counts.moved += r.MovedRecords
	}
	return nil
}

func (l *lives) flushedAll() {
	l.durable, l.marker = l.p.log.Flushed(), l.newMarker
	for i, ts := range l.written {
		l.flushed[i] = ts
	}
}

func (l *lives) discard() error {
	l.discarding = true
	if err := l.p.Discard(l.p.Super().Incarnation); err != nil {
		return err
	}
	l.discarded()
	l.counts.discards++
	return nil
}

func (l *lives) discarded() {
	l.discarding, l.incomplete, l.completing = false, true, false
	clear(l.flushed)
	clear(l.written)
	l.marker, l.newMarker, l.stable, l.lostThrough, l.asked = 0, 0, 0, 0, 0
	l.durable = max(l.durable, l.p.log.Tail())
}

// check compares what Open found with what must be there.
func (l *lives) check() error {
	p, r := l.p, l.p.Recovered()
	if l.discarding && !r.Complete {
		l.discarded()
	}
	l.discarding = false
	switch {
	case r.Tail < l.durable:
		return fmt.Errorf("tail %d, %d was flushed", r.Tail, l.durable)
	case r.LastMarker < l.marker:
		return fmt.Errorf("marker %d, %d was flushed", r.LastMarker, l.marker)
	case r.Stable > l.stable:
		return fmt.Errorf("stable %d, said %d", r.Stable, l.stable)
	case r.LostThrough < l.lostThrough || r.LostThrough > l.asked:
		return fmt.Errorf("lostThrough %d, %d was written and %d begun", r.LostThrough, l.lostThrough, l.asked)
	case r.Complete && l.incomplete && !l.completing:
		return fmt.Errorf("complete, but the copy was cut off")
	case !r.Complete && !l.incomplete:
		return fmt.Errorf("incomplete, but the copy was completed")
	}
	l.incomplete, l.completing = !r.Complete, false
	l.asked, l.lostThrough = r.LostThrough, r.LostThrough
	s := p.Store()
	for i := range crashKeys {
		var e store.Entry
		k := key(i)
		s.Find(&e, s.Hash(k), k)
		if e.TS < l.flushed[i] || e.TS > l.written[i] || l.outlived && e.TS != l.written[i] {
			return fmt.Errorf("key %d at %d, flushed %d, written %d", i, e.TS, l.flushed[i], l.written[i])
		}
		delete(l.written, i)
		delete(l.flushed, i)
		if e.OK {
			l.written[i], l.flushed[i] = e.TS, e.TS // Open has flushed what it found
		}
	}
	l.durable, l.marker, l.newMarker = r.Tail, r.LastMarker, r.LastMarker
	return nil
}

// run goes through n lives and returns the first broken promise.
func (l *lives) run(n int) error {
	l.flushed, l.written = map[int]uint64{}, map[int]uint64{}
	l.at = place{memDir(l.t), ""}
	l.at.index = l.at.dir
	l.at.format(l.t, DomainMemory, dataOffset+segmentsMin*segmentBytesMin)
	for life := range n {
		if err := l.oneLife(); err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
	}
	return nil
}

func (l *lives) oneLife() error {
	rng := l.rng
	l.m.stopAt = 0
	if rng.IntN(2) == 0 {
		l.m.stopAt = l.m.drains + 1 + rng.IntN(30)
	}
	o := l.at.options()
	var region *Region
	o.OnMap = func(r *Region) { region = r; l.m.watch(r) }
	l.p = nil
	err, died := untilStopped(func() error {
		l.m.opening = true
		p, err := Open(o)
		l.m.opening = false
		if err != nil {
			return err
		}
		l.p = p
		if err := l.check(); err != nil {
			return err
		}
		if p.Recovered().Kept {
			l.counts.kept++
		}
		if rng.IntN(5) == 0 {
			return nil // dies before it begins
		}
		return l.live()
	})
	l.m.opening = false
	switch {
	case err != nil:
		if l.p != nil {
			l.p.Close(false)
		}
		return err
	case !died:
		l.m.now = append(l.m.now[:0], region.Bytes()...)
	}
	end := rng.IntN(8)
	switch {
	case l.p == nil:
		l.counts.inOpen++ // Open gave everything back when it unwound
	case end == 0 && !died && l.p.began:
		l.counts.clean++
		l.m.stopAt = 0
		if err := l.p.Close(true); err != nil {
			return err
		}
		l.stable = max(l.stable, l.p.Stable())
		for i, ts := range l.written {
			l.flushed[i] = ts
		}
		l.m.now = append(l.m.now[:0], l.m.image...)
		end = 7
	default:
		if err := l.p.Close(false); err != nil {
			return err
		}
	}
	// Who dies while it opens has not looked at the records: a power loss
	// before that still counts.
	l.outlived = end < 3 && (l.p != nil || l.outlived)
	if l.outlived {
		l.counts.process++ // the pages outlive the process, and so does the index
		return nil
	}
	l.counts.power++
	l.m.powerLoss(l.m.now, rng)
	removeIndex(l.t, l.at)
	f, err := os.OpenFile(poolPath(l.at.dir, 1), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(l.m.image, 0)
	return err
}

// untilStopped runs fn and says whether the process died in it.
func untilStopped(fn func() error) (err error, died bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(stopped); !ok {
				panic(p)
			}
			died = true
		}
	}()
	return fn(), false
}

func crash(t testing.TB, seed uint64, n int, m media) (*lives, error) {
	l := &lives{t: t, rng: rand.New(rand.NewPCG(seed, 2)), m: &m}
	return l, l.run(n)
}

func TestPowerLoss(t *testing.T) {
	var sum lives
	const n = 30
	seeds := uint64(12)
	if testing.Short() { // one goroutine: the race detector only makes it slow
		seeds = 4
	}
	for seed := range seeds {
		l, err := crash(t, seed, n, media{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		c, d := &sum.counts, &l.counts
		c.power += d.power
		c.process += d.process
		c.clean += d.clean
		c.inOpen += d.inOpen
		c.discards += d.discards
		c.freed += d.freed
		c.kept += d.kept
		c.moved += d.moved
	}
	t.Logf("%d lives: %+v", seeds*n, sum.counts)
	if c := sum.counts; c.power == 0 || c.process == 0 || c.clean == 0 || c.kept == 0 || c.discards == 0 || c.freed == 0 || c.moved == 0 {
		t.Fatal("something never happened")
	}
}

// A crash test that cannot fail proves nothing: each kind of lost flush or
// drain must break a promise for some seed.
func TestPowerLossFindsLostFlushes(t *testing.T) {
	inLog := func(off int) bool { return off >= dataOffset }
	for name, plant := range map[string]media{
		"records":         {lose: func(m *media, off, n int) bool { return inLog(off) && !m.opening }},
		"superblock":      {lose: func(m *media, off, n int) bool { return !inLog(off) }},
		"one copy":        {lose: func(m *media, off, n int) bool { return off == superBytes }},
		"drain":           {loseIt: func(m *media) bool { return !m.opening }},
		"records at open": {lose: func(m *media, off, n int) bool { return inLog(off) && m.opening }},
		"drain at open":   {loseIt: func(m *media) bool { return m.opening }},
	} {
		found := 0
		for seed := range uint64(80) {
			l, err := crash(t, seed, 30, plant)
			if l.m.lost == 0 {
				t.Fatalf("%s: nothing was lost", name)
			}
			if err != nil {
				if found++; found == 1 {
					t.Logf("%s: seed %d: %v", name, seed, err)
				}
				break
			}
		}
		if found == 0 {
			t.Errorf("%s: losing it breaks no promise", name)
		}
	}
}
