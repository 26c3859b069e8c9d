package pmem

import (
	"bytes"
	"os"
	"testing"

	"healkv/pmem/ckpt"
	"healkv/pmem/store"
)

// fill writes n keys from `first` on, each as large as the others, flushed and
// stable.
func (l *ckptLives) fill(p *Pool, first, n int) {
	l.t.Helper()
	for i := range n {
		l.ts++
		put(p, first+i, l.ts, false)
		if i%32 == 31 || i == n-1 {
			flush(l.t, p)
			p.SetStable(p.Store().Flushed())
		}
		p.Tend()
	}
}

// take has a checkpoint taken: pages of keys are written until one is in force.
func (l *ckptLives) take(p *Pool, first, n int) {
	l.t.Helper()
	for taken, i := p.Checkpoints().Taken, 0; p.Checkpoints().Taken == taken || p.Tending(); i++ {
		l.fill(p, first+i%n, 1)
		if i > 1e5 {
			l.t.Fatalf("no checkpoint: %+v", p.Checkpoints())
		}
	}
}

func (l *ckptLives) begun() *Pool {
	l.t.Helper()
	p, err := l.open()
	if err != nil {
		l.t.Fatal(err)
	}
	begin(l.t, p, p.Recovered().PreviousIncarnation+1)
	return p
}

// newestTable is the newest one in the file.
func (l *ckptLives) newestTable(p *Pool) ckpt.Table {
	l.t.Helper()
	all := p.ckpt.layout.Read(l.file)
	if len(all) == 0 {
		l.t.Fatal("no table")
	}
	return all[0]
}

// powerLoss opens the pool of another boot over those bytes.
func (l *ckptLives) powerLoss(pool []byte) *Pool {
	l.t.Helper()
	copy(l.medium.Pool, pool)
	l.m.image = nil
	l.boot++
	l.medium.BootID = [16]byte{l.boot, 5}
	p, err := l.open()
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// TestCheckpointOverAHole: of what is not flushed a power loss may leave the last
// segment without the one before it. A checkpoint whose images know records of
// both must not be believed: the place of a key would be given up for a record
// that is not there.
func TestCheckpointOverAHole(t *testing.T) {
	const keys = 3000 // no key twice in what is not flushed
	l := newCkptLives(t, 1, keys)
	p := l.begun()
	l.fill(p, 0, keys)
	l.take(p, 0, keys)
	p.SetStable(p.Store().Flushed())
	// Not flushed from here on: a checkpoint becomes due and is made.
	taken := p.Checkpoints().Taken
	segment := uint64(p.log.SegmentBytes())
	from := p.log.Tail()
	for i := 0; p.log.Tail()/segment < from/segment+6; i++ {
		l.ts++
		put(p, keys-1-i, l.ts, false)
	}
	for range 100 {
		p.Tend()
	}
	if c := p.Checkpoints(); c.Taken != taken || !c.Running {
		t.Fatalf("a checkpoint that knows what is not durable should wait: %+v", c)
	}
	lost := 0
	now, held := bytes.Clone(l.medium.Pool), bytes.Clone(l.m.image)
	file := bytes.Clone(l.file.now)
	for number := from/segment + 1; number < p.log.Tail()/segment; number++ {
		at, _ := p.log.ArenaOffset(number * segment)
		pool := bytes.Clone(now)
		hole := pool[dataOffset+at : dataOffset+at+int64(segment)]
		copy(hole, held[dataOffset+at:])
		l.file.now = bytes.Clone(file)
		q := l.powerLoss(pool)
		if r := q.Recovered(); !r.Restored || r.Tail < (number+1)*segment {
			t.Fatalf("without segment %d: tail %d, %s", number, r.Tail, r.How())
		}
		lost++
		// Later, when the log has grown over it, too.
		begin(t, q, q.Recovered().PreviousIncarnation+1)
		l.ts += 1000
		l.fill(q, keys, 30)
		if q = l.powerLoss(bytes.Clone(l.medium.Pool)); q.Recovered().Kept {
			t.Fatal("kept")
		}
	}
	if lost < 4 {
		t.Fatalf("only %d segments lost", lost)
	}
	t.Logf("%d segments lost, each with those behind it there", lost)
}

// TestCheckpointOfAnotherLog: an older copy of the pool comes back under newer
// checkpoints, and grows.
func TestCheckpointOfAnotherLog(t *testing.T) {
	l := newCkptLives(t, 2, 400)
	p := l.begun()
	l.fill(p, 0, 400)
	l.take(p, 0, 400)
	older := bytes.Clone(l.medium.Pool)
	l.take(p, 100, 50)
	l.take(p, 0, 100)
	needs := l.newestTable(p).Needs
	q := l.powerLoss(older)
	if r := q.Recovered(); r.Restored {
		t.Fatalf("a checkpoint of %d over a log to %d: %s", needs, r.Tail, r.How())
	}
	for round := 0; ; round++ {
		begin(t, q, q.Recovered().PreviousIncarnation+1)
		every := q.ckpt.every
		q.ckpt.every = 1 << 40 // or its own would take the place of the newer ones
		l.fill(q, 200, 100)
		q.ckpt.every = every
		q = l.powerLoss(bytes.Clone(l.medium.Pool))
		if q.Recovered().Tail > needs && round > 3 {
			break
		}
	}
}

// TestCheckpointOutlivesItsSegment: the segment in which the log ended when the
// table was made may be given back before the next checkpoint.
func TestCheckpointOutlivesItsSegment(t *testing.T) {
	l := newCkptLives(t, 3, 400)
	p := l.begun()
	l.fill(p, 0, 400)
	l.take(p, 0, 400)
	p.ckpt.every = 1 << 40
	needs := l.newestTable(p).Needs
	for n := 0; ; n++ {
		if _, ok := p.log.IncarnationOf(needs - 1); !ok {
			break
		}
		if n > 1e4 {
			t.Fatal("the segment stays")
		}
		l.fill(p, n%400, 40)
		p.Store().Clean(1<<20, store.Upto(p.Stable()), p.Store().Flushed())
	}
	if q := l.powerLoss(bytes.Clone(l.m.image)); !q.Recovered().Restored {
		t.Fatal(q.Recovered().How())
	}
}

// TestUnsettledPagesAreAskedFor: with files, the pages of what was not settled
// are asked for before the first one is met.
func TestUnsettledPagesAreAskedFor(t *testing.T) {
	p, o := checkpointedFile(t, 12000)
	for i := range 3 {
		put(p, i, 2, true)
	}
	flush(t, p)
	closePool(t, p, true)
	if err := os.Remove(p.indexPath); err != nil {
		t.Fatal(err)
	}
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer closePool(t, p, false)
	asked := 0
	for _, is := range p.keeper.asked {
		if is {
			asked++
		}
	}
	if r := p.Recovered(); !r.Restored || r.Leftovers != 3 || asked == 0 || asked > 3 {
		t.Fatalf("%d pages asked for, %d leftovers: %s", asked, r.Leftovers, r.How())
	}
}
