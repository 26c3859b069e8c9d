package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// op is one step of a sequence. An error is a broken promise.
type op func(l *life) error

// room says whether n bytes of record fit, and makes room as the worker does.
func (l *life) room(n int) bool {
	return l.p.Store().Fits(n) && l.p.Store().FreeBytes() > uint64(2*n)
}

func (l *life) append(kind record.Kind, key, bytes int) error {
	s := l.p.Store()
	if !l.room(record.Bytes(3, bytes)) {
		return nil
	}
	l.ts++
	name := keyNames[key]
	var e store.Entry
	s.Find(&e, s.Hash(name), name)
	h := record.Header{Kind: kind, TS: l.ts, OwnerNode: 1, OwnerIncarnation: 1, Epoch: l.view}
	if s.Put(&e, &h, name, fill(l.buf[:bytes], key, l.ts), true) == 0 {
		return errors.New("the index is full")
	}
	return nil
}

func put(key, bytes int) op { return func(l *life) error { return l.append(record.Put, key, bytes) } }
func del(key int) op        { return func(l *life) error { return l.append(record.Delete, key, 0) } }

// adopt takes a record over from a peer, as a transfer does; a bad one is
// noticed on the own copy and taken back.
func adopt(key, bytes int, bad bool) op {
	return func(l *life) error {
		s := l.p.Store()
		if !l.room(record.Bytes(3, bytes)) {
			return nil
		}
		l.ts++
		name := keyNames[key]
		h := record.Header{Kind: record.Put, TS: l.ts, OwnerNode: 4, OwnerIncarnation: 9, Flags: record.FlagAdopted, Hash: s.Hash(name)}
		record.Encode(l.img[:], &h, name, fill(l.buf[:bytes], key, l.ts), 0)
		if bad {
			l.img[record.HeaderBytes+(3+bytes)/2]++
		}
		var e store.Entry
		s.Find(&e, h.Hash, name)
		_, err := s.PutVerified(&e, &h, l.img[:], true)
		if bad != errors.Is(err, record.ErrBody) {
			return fmt.Errorf("a transferred record, bad %v: %v", bad, err)
		}
		return nil
	}
}

func flush(l *life) error { return l.p.Flush() }

// later keeps the drain of a flush until land; a crash may come first.
func (l *life) later(job func()) { l.job = job }

// start begins a flush that goes on beside what follows, as the worker does;
// land ends it.
func start(l *life) error {
	if l.p.Flushing() {
		return nil
	}
	return l.p.StartFlush()
}

func land(l *life) error {
	if !l.p.Flushing() {
		return nil
	}
	l.job()
	under, err := l.p.FinishFlush()
	if under {
		return errors.New("a flush whose drain has ended is under way")
	}
	return err
}

// stable: everything flushed is durable everywhere, and is unlocked.
func stable(l *life) error {
	s := l.p.Store()
	pos := s.Flushed()
	for i, name := range keyNames {
		if v, ok := l.m.current(i, l.p.Super().Base, s.Tail()); ok && v.pos < pos {
			s.Unlock(s.Hash(name), v.pos)
		}
	}
	l.m.said = max(l.m.said, pos)
	l.p.SetStable(pos)
	return nil
}

func marker(l *life) error {
	if !l.room(record.Bytes(0, 40)) {
		return nil
	}
	l.p.Store().AppendMarker(&record.Header{Kind: record.Marker, Epoch: l.view, Seq: l.p.Stable()}, fill(l.buf[:40], 0, uint64(l.view)))
	return nil
}

// view is what an install does: a marker, flushed, and the view's number in the
// superblock.
func view(l *life) error {
	l.view++
	if err := marker(l); err != nil {
		return err
	}
	if err := l.p.Flush(); err != nil {
		return err
	}
	return l.p.WriteSuperblock(func(s *pmem.Super) { s.Complete, s.ViewEpoch = true, l.view })
}

func lost(l *life) error {
	l.lost++
	return l.p.WriteSuperblock(func(s *pmem.Super) { s.LostThrough = l.lost })
}

func discard(l *life) error {
	return l.p.Discard(l.p.Super().Incarnation)
}

func complete(l *life) error {
	return l.p.WriteSuperblock(func(s *pmem.Super) { s.Complete = true })
}

// clean moves and frees, as the worker does between bursts.
func clean(l *life) error {
	r := l.p.Store().Clean(64<<10, store.Upto(l.p.Stable()), l.p.Store().Flushed())
	l.counts.Freed += r.FreedSegments
	l.counts.Moved += r.MovedRecords
	return r.Err
}

func begin(l *life) error {
	if err := l.p.Begin(l.p.Super().Incarnation + 1); err != nil {
		return err
	}
	l.begun = true
	return nil
}

// restart: the process dies and another one opens the pool, in the same boot.
func restart(l *life) error {
	l.reopen()
	return begin(l)
}

func (l *life) reopen() {
	kept := l.begun
	if err := l.m.look(l.p); err != nil {
		l.fail("%w", err)
	}
	l.p, l.begun = nil, false
	l.medium.Watch, l.medium.Later = l.rec.Watch, l.later
	p, err := l.medium.Open(identity)
	if err != nil {
		l.fail("process crash: refused: %w", err)
	}
	at, err := l.m.compare(p, kept && !l.failed)
	if err != nil {
		l.fail("process crash: %w", err)
	}
	if l.failed && !p.Recovered().FailedFlush {
		l.fail("the next process does not know that a flush failed")
	}
	l.p, l.failed = p, false
	l.m.flushed, l.m.gen, l.m.said = max(l.m.flushed, at.tail), max(l.m.gen, at.gen), max(l.m.said, at.stable)
}

type died struct{}

// killedIn: the process dies at drain n of o, and another one opens the pool.
func killedIn(o op, n int) op {
	return func(l *life) (err error) {
		at := l.rec.Drains + n
		dies := func() (dead bool, err error) {
			defer func() {
				l.rec.FailDrain = nil
				if p := recover(); p != nil {
					if _, ok := p.(died); !ok {
						panic(p)
					}
					dead = true
				}
			}()
			l.rec.FailDrain = func(number int) error {
				if number == at {
					panic(died{})
				}
				return nil
			}
			return false, o(l)
		}
		dead, err := dies()
		if err != nil || !dead {
			return err
		}
		l.m.lookSuper(l.medium.Pool)
		return restart(l)
	}
}

// failing: the medium refuses a flush; the node stops and is started again.
func failing(l *life) error {
	if err := put(3, 20)(l); err != nil {
		return err
	}
	l.rec.FailDrain = func(int) error { return errors.New("input/output error") }
	err := l.p.Flush()
	l.rec.FailDrain = nil
	if err == nil {
		return nil // nothing was there to flush
	}
	if !errors.Is(err, pmem.ErrFlush) {
		return err
	}
	if again := l.p.Flush(); !errors.Is(again, pmem.ErrFlush) {
		return fmt.Errorf("a flush after a failed one: %v", again)
	}
	l.failed = true
	l.m.lookSuper(l.medium.Pool)
	return restart(l)
}

// closing is a clean end and a new start.
func closing(l *life) error {
	if err := l.p.Close(true); err != nil {
		return err
	}
	l.m.lookSuper(l.medium.Pool)
	if err := l.m.look(l.p); err != nil {
		return err
	}
	l.m.gen, l.m.flushed = l.p.Super().Generation, l.m.scanned
	l.p, l.begun = nil, false
	l.rec.Look() // the machine is switched off
	l.medium.Watch, l.medium.Later = l.rec.Watch, l.later
	p, err := l.medium.Open(identity)
	if err != nil {
		return err
	}
	at, err := l.m.compare(p, true)
	if err != nil {
		return err
	}
	if !p.Recovered().Clean {
		return errors.New("closed in order, and not clean")
	}
	l.p = p
	l.m.flushed, l.m.gen = at.tail, at.gen
	return begin(l)
}

// many is a sequence of puts that fills a segment and more.
func many(n, bytes int) op {
	return func(l *life) error {
		for i := range n {
			if err := l.append(record.Put, i%keys, bytes); err != nil {
				return err
			}
			l.rec.Observe()
		}
		return nil
	}
}

// turn is a burst of the worker: appends, the stable position, a flush, the
// cleaner.
func turn(n, bytes int) op {
	return func(l *life) error {
		for _, o := range [...]op{many(n, bytes), stable, flush, clean} {
			if err := l.step(o); err != nil {
				return err
			}
		}
		return nil
	}
}

// randomOps is a sequence by chance.
func randomOps(rng *rand.Rand, n int) []op {
	seq := make([]op, 0, n)
	for range n {
		k, bytes := rng.IntN(keys), rng.IntN(120)
		if rng.IntN(12) == 0 {
			bytes = rng.IntN(700)
		}
		switch x := rng.IntN(100); {
		case x < 30:
			seq = append(seq, put(k, bytes))
		case x < 36:
			seq = append(seq, del(k))
		case x < 44:
			seq = append(seq, adopt(k, bytes, rng.IntN(5) == 0))
		case x < 52:
			seq = append(seq, flush)
		case x < 57:
			seq = append(seq, start)
		case x < 60:
			seq = append(seq, land)
		case x < 68:
			seq = append(seq, stable)
		case x < 78:
			seq = append(seq, clean)
		case x < 82:
			seq = append(seq, view)
		case x < 85:
			seq = append(seq, lost)
		case x < 89:
			seq = append(seq, turn(1+rng.IntN(12), bytes))
		case x < 91:
			seq = append(seq, discard)
		case x < 93:
			seq = append(seq, complete)
		case x < 95:
			seq = append(seq, restart)
		case x < 97:
			seq = append(seq, killedIn([...]op{flush, view, lost, discard, restart, land}[rng.IntN(6)], rng.IntN(3)))
		case x < 98:
			seq = append(seq, failing)
		default:
			seq = append(seq, closing)
		}
	}
	return seq
}
