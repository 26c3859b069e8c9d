package store

import (
	"sync"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// A hole is a range of the log behind a damaged header: which records stood
// there is not known. Whether one of them is current only the index can say, so
// it is gone through for words that lead into holes (hunt); those become Hurts.
// A hole into which nothing leads any more is as good as dead: the cleaner may
// free its segment, and a list of records may leave it out.
type hole struct {
	seglog.Extent
	hunted bool
}

// holesMax bounds them. What does not fit stays postponed.
const holesMax = 1024

type holes struct {
	mu  sync.Mutex
	all []hole

	hunting bool // the worker's, as what follows
	at      uint64
	upTo    int // of all: what this hunt looks for
}

// passable says whether nothing leads into the range any more. A range that is
// not known becomes a hole. Any goroutine.
func (s *Store) passable(x seglog.Extent) bool {
	t := &s.holes
	t.mu.Lock()
	hunted, known := false, false
	for i := range t.all {
		if t.all[i].Extent == x {
			hunted, known = t.all[i].hunted, true
		}
	}
	if !known && len(t.all) < holesMax {
		t.all = append(t.all, hole{Extent: x})
		s.holesDue.Store(true)
	}
	t.mu.Unlock()
	return hunted && !s.hurtIn(x) || plant.Is(plant.DamageMoved)
}

// hurtIn says whether a damaged record in the range is still referred to.
func (s *Store) hurtIn(x seglog.Extent) bool {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.list {
		if id := h.hurt.id(); id.pos >= x.From && id.pos < x.To {
			return true
		}
	}
	return false
}

// hunt goes through the index for words that lead into new holes, spending
// about budget. Worker only.
func (s *Store) hunt(budget *int) {
	t := &s.holes
	if !t.hunting {
		t.mu.Lock()
		t.upTo, t.at = len(t.all), 0
		t.mu.Unlock()
		t.hunting = true
	}
	t.mu.Lock()
	search := append([]hole(nil), t.all[:t.upTo]...)
	t.mu.Unlock()
	for *budget > 0 {
		*budget -= 16 << 10 // a page
		t.at = s.x.Range(t.at, func(w index.Word, hash, mask uint64) {
			for i := range search {
				if pos := w.Pos(); !search[i].hunted && pos >= search[i].From && pos < search[i].To {
					s.noteWord(pos, hash, mask)
				}
			}
		})
		if t.at != 0 {
			continue
		}
		t.hunting = false
		t.mu.Lock()
		full := s.Damage().Open >= hurtsMax
		for i := range t.all[:t.upTo] {
			t.all[i].hunted = t.all[i].hunted || !full
		}
		s.holesDue.Store(t.upTo < len(t.all) || full)
		t.mu.Unlock()
		s.clean.idleTail = 0
		s.log.Forgive() // what was postponed because of them
		return
	}
}

// noteWord queues what a word leads to if that is damaged.
func (s *Store) noteWord(pos, hash, mask uint64) {
	switch img, is := s.soundness(pos); is {
	case headHurt:
		s.note(Hurt{Pos: pos, Hash: hash, Mask: mask, TS: TSUnknown})
	case bodyHurt:
		s.note(Hurt{Pos: pos, Hash: record.Hash(img), Mask: ^uint64(0), TS: record.TS(img)})
	}
}

// released forgets the holes of a segment that goes. Worker only.
func (s *Store) released(number uint64) {
	t := &s.holes
	size := uint64(s.log.SegmentBytes())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hunting {
		return // indexes into the list are in use
	}
	kept := t.all[:0]
	for _, x := range t.all {
		if x.From/size != number {
			kept = append(kept, x)
		}
	}
	t.all = kept
}

// genuine is the store's seglog.Genuine.
func (s *Store) genuineRecord(h *record.Header, img []byte) bool {
	return s.Hash(record.Key(img)) == h.Hash
}

// skip takes a walk over a hole that nothing leads into. False: it must wait.
func (s *Store) skip(w *seglog.Walker) bool {
	if w.Err() == nil {
		return false
	}
	try := *w
	gap := try.Skip(s.genuine)
	if gap == (seglog.Extent{}) || !s.passable(gap) {
		return false
	}
	*w = try
	return true
}
