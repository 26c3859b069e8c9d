package store

import (
	"sync"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// Scrubber goes through the log from its oldest segment to its tail, again and
// again, and verifies what nobody may have read for long: record headers and
// bodies, and the headers of sealed segments. What it finds takes the way of
// what a read finds. One goroutine, not the worker: a page that has to come
// from a medium must not hold that up.
//
// What is damaged and nobody's current record is counted, and goes when its
// segment is cleaned.
type Scrubber struct {
	s      *Store
	r      *Reader
	at     uint64
	number uint64 // of the segment whose header was looked at last
}

// ScrubCounts is what scrubbers of the store did.
type ScrubCounts struct {
	Bytes   uint64 // of log
	Laps    uint64 // times the tail was reached
	Hurt    uint64 // records and ranges that did not verify
	Headers uint64 // segment headers that were not as they should be
	Mended  uint64 // of those: written again
}

type scrubbed struct {
	bytes, laps, hurt, headers, mended atomic.Uint64

	mu  sync.Mutex
	bad []uint64    // numbers of segments whose headers the worker is to write again
	due atomic.Bool // bad is not empty
}

// NewScrubber makes one. Close gives its Reader back.
func (s *Store) NewScrubber() *Scrubber { return &Scrubber{s: s, r: s.NewReader()} }

// Close ends it.
func (x *Scrubber) Close() { x.r.Close() }

// Scrubbed counts. Any goroutine.
func (s *Store) Scrubbed() ScrubCounts {
	t := &s.scrubbed
	return ScrubCounts{t.bytes.Load(), t.laps.Load(), t.hurt.Load(), t.headers.Load(), t.mended.Load()}
}

// Step verifies about so many bytes of log. lap says that it has come to the
// tail, which is as good a moment as any to rest. ErrShut after Shut.
func (x *Scrubber) Step(bytes int) (lap bool, err error) {
	s := x.s
	if !x.r.enter() {
		return false, ErrShut
	}
	defer x.r.leave()
	x.at = max(x.at, s.log.Oldest())
	tail := s.log.Tail()
	from := x.at
	defer func() { s.scrubbed.bytes.Add(x.at - min(from, x.at)) }()
	w := s.log.WalkInUse(x.at, tail)
	var h record.Header
	for x.at-from < uint64(bytes) {
		x.header(w.Pos())
		pos, img := w.Next(&h)
		x.at = w.Pos()
		if img == nil {
			gap := w.Skip(s.genuine)
			if gap == (seglog.Extent{}) {
				break
			}
			s.scrubbed.hurt.Add(1)
			s.passable(gap) // the worker finds out what leads there
			x.at = w.Pos()
			continue
		}
		if record.SoundBody(img) || plant.Is(plant.DamageScrub) {
			continue
		}
		s.scrubbed.hurt.Add(1)
		s.noteAt(h.Hash, pos)
	}
	if x.at < tail && w.Err() == nil && !w.Done() {
		return false, nil
	}
	x.at, x.number = 0, 0
	s.scrubbed.laps.Add(1)
	return true, nil
}

// header looks at the header of the segment of pos, once a lap.
func (x *Scrubber) header(pos uint64) {
	number := pos / uint64(x.s.log.SegmentBytes())
	if number == x.number {
		return
	}
	x.number = number
	if x.s.log.HeaderWhole(number) {
		return
	}
	t := &x.s.scrubbed
	t.headers.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.bad) < holesMax {
		t.bad = append(t.bad, number)
		t.due.Store(true)
	}
}

// mend writes damaged segment headers again. They go out with the next flush
// that begins, and where nobody writes there would be none. Worker only.
func (s *Store) mend() {
	mended := false
	t := &s.scrubbed
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, number := range t.bad {
		if s.log.Mend(number) {
			t.mended.Add(1)
			mended = true
		}
	}
	if mended && !plant.Is(plant.MendUnflushed) {
		s.log.Pad() // no room for it: then the next write that fits does
	}
	t.bad = t.bad[:0]
	t.due.Store(false)
}
