package store

import (
	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

type walker = seglog.Walker

// waitingMax is how many emptied segments may wait for a flush, for readers,
// and for the log to free them.
const waitingMax = 32

// countBusy is what counting may spend of a busy turn: the looks at 32 records,
// some microseconds. All that a step may spend would be a tenth of a millisecond
// in every turn until all records of the log were looked at.
const countBusy = 32 * headerCost

// headerCost is what a look at a record takes from the budget: about what
// copying as many bytes costs, a header's line and a bucket's.
const headerCost = 128

type cleaner struct {
	pressed   bool   // nothing is left to guarantee, see Press
	uncounted bool   // there are segments whose live bytes are not known
	counting  uint64 // number of the segment being counted, 0: none
	victim    uint64 // number of the segment being examined, 0: none
	walk      walker // through counting or victim, never both
	ahead     ahead

	pace  pacer
	sweep sweep
	// Tombstones were dropped out of the victim.
	droppedHere bool

	moved int // bytes moved out of the victim
	debt  int // and, with those, out of the segments in the queue

	waiting  int                 // length of the queue
	released int                 // its first ones are released, but not freed by the log yet
	freed    uint64              // seglog's count of freed segments when the queue's first was the next
	queue    [waitingMax]emptied // in order of examination

	// After finding no victim: not again before the tail or the bound has
	// moved on by a segment's part.
	idleTail, idleBound uint64
	idleRounds          int // begun in vain; every 64th forgives what was postponed

	movedAll, cleaned, dropped uint64 // for Space
}

// emptied is a segment nothing refers to any more.
type emptied struct {
	number uint64
	tail   uint64 // the log must be flushed through here (H25)
	epoch  uint64 // readers that entered before must have left (S3)
	moved  int
	drops  bool // tombstones were dropped out of it
}

// CleanResult is what one step of Clean did.
type CleanResult struct {
	MovedBytes    int
	MovedRecords  int
	LookedAt      int // records examined or counted
	Counted       int // of these
	FreedSegments int
	Dropped       int // tombstones
	// Idle: there is nothing to gain below the bound and nothing to wait for.
	Idle bool
	// Err is a *seglog.Damage if a segment could not be examined; it is left
	// alone for a while.
	Err error
}

// Clean does one bounded step: it gives back what has become free, counts
// segments found at Open, and moves live records out of sparse segments,
// spending about budgetBytes, or what the pace allows if that is less (see
// beginOf), or more where much was appended since the last step; counting takes
// little of a busy turn as long as space is not wanted. flushed is how
// far the log is durable. Worker only.
func (s *Store) Clean(budgetBytes int, b Bounds, flushed uint64) (r CleanResult) {
	c := &s.clean
	s.releasePages()
	s.releaseSegments(&r, b.Below, flushed)
	sweeps, dropped := s.sweeps(&b), c.dropped
	work := s.work(budgetBytes, sweeps)
	if s.scrubbed.due.Load() {
		s.mend()
	}
	if s.holesDue.Load() {
		s.hunt(&budgetBytes)
		r.LookedAt++
	}
	counting := budgetBytes
	if b.Busy && s.gained() >= s.targets() && !s.urgent() && !plant.Is(plant.CountBusy) {
		counting = min(counting, countBusy)
	}
	if b.Later && s.gained() >= s.targets() && !s.urgent() {
		counting = 0
	}
	for more := true; more && r.Err == nil; {
		switch {
		case c.victim != 0 && work > 0:
			s.examine(&r, &work, &b)
		case c.victim == 0 && c.counting == 0 && work > 0 && c.waiting < waitingMax && s.begin(b.Below, sweeps):
		case c.victim == 0 && c.uncounted && counting > 0 && s.x.Sure(): // in doubt it would load the index page by page
			n := r.LookedAt
			s.count(&r, &counting)
			r.Counted += r.LookedAt - n
		default:
			more = false
		}
	}
	c.movedAll += uint64(r.MovedBytes)
	r.Dropped = int(c.dropped - dropped)
	s.rest(work)
	s.collect()
	r.Idle = c.victim == 0 && !c.uncounted && c.waiting == 0 && !s.log.Pending()
	return r
}

// collect sees to it that released segments become free.
func (s *Store) collect() {
	s.log.Collect()
	s.settle()
	if s.log.Pending() && s.log.Flushed() == s.log.Tail() {
		// Nobody appends: they would wait for ever for the flush they need.
		s.log.Pad()
	}
}

// settle takes what the log has freed off the debt.
func (s *Store) settle() {
	c := &s.clean
	n := int(s.log.Freed() - c.freed)
	if n == 0 {
		return
	}
	for _, w := range c.queue[:n] {
		s.setDebt(c.debt - w.moved)
	}
	copy(c.queue[:], c.queue[n:c.waiting])
	c.waiting, c.released, c.freed = c.waiting-n, c.released-n, s.log.Freed()
}

// releasePages lets the index use pages again that no reader can be in.
func (s *Store) releasePages() {
	if s.pageEpoch != 0 && s.left(s.pageEpoch) {
		s.x.Release()
		s.pageEpoch = 0
	}
	if s.pageEpoch == 0 && s.x.Retired() > 0 {
		s.pageEpoch = s.retire()
	}
}

func (s *Store) releaseSegments(r *CleanResult, bound, flushed uint64) {
	c := &s.clean
	flushed = min(flushed, s.log.Flushed())
	for c.released < c.waiting {
		w := &c.queue[c.released]
		// The bound once more: a pin made since may cover it.
		if flushed < w.tail && !plant.Is(plant.H25Free) || (w.number+1)*uint64(s.log.SegmentBytes()) > bound && !plant.Is(plant.StorePin) || !s.left(w.epoch) {
			break
		}
		if w.drops && s.log.Unzeroed() && !plant.Is(plant.TombstoneUnflushed) {
			break
		}
		s.log.Release(w.number)
		s.released(w.number)
		c.released++
		r.FreedSegments++
	}
}

// begin chooses the next victim; false if there is none.
func (s *Store) begin(bound uint64, sweeps bool) bool {
	c := &s.clean
	if s.gained() >= s.begins() && !s.urgent() && !sweeps {
		return false
	}
	if sweeps && s.sweepWaits(bound) {
		return false
	}
	if c.idleRounds >= 64 {
		c.idleRounds, c.idleTail = 0, 0
		s.log.Forgive()
	}
	part := uint64(s.log.SegmentBytes() / 8)
	if tail := s.log.Tail(); tail < c.idleTail+part && bound < c.idleBound+part && bound >= c.idleBound && c.idleTail != 0 {
		c.idleRounds++
		return false
	}
	number, ok := s.victimOf(bound, sweeps)
	if ok {
		// What is known to be live, pads and all, must fit into the debt; a
		// victim that does not waits until those before it are free.
		live := s.log.Live(number)
		if c.debt != 0 && c.debt+live > s.debtMax() {
			return false
		}
	}
	if !ok {
		c.idleTail, c.idleBound = s.log.Tail(), bound
		c.idleRounds++
		return false
	}
	c.idleTail = 0
	start, end := s.log.Bounds(number)
	c.victim, c.moved, c.walk, c.droppedHere = number, 0, s.log.Walk(start, end), false
	c.ahead = ahead{}
	return true
}

// examine moves live records out of the victim until the budget is spent.
func (s *Store) examine(r *CleanResult, budget *int, b *Bounds) {
	c := &s.clean
	if (c.victim+1)*uint64(s.log.SegmentBytes()) > b.Below {
		// A pin made since covers it. What was moved stays moved.
		s.abandon()
		return
	}
	var h record.Header
	for *budget > 0 {
		c.ahead.look(s, &c.walk)
		pos, img := c.walk.Next(&h)
		if img == nil {
			if s.skip(&c.walk) {
				continue
			}
			s.finish(r)
			return
		}
		*budget -= headerCost
		r.LookedAt++
		c.pace.saw(h.Bytes())
		moved, ok, err := s.move(pos, &h, img, b)
		if !ok {
			r.Err = err
			s.log.Postpone(c.victim)
			s.abandon()
			return
		}
		if moved > 0 {
			*budget -= moved
			c.moved += moved
			s.setDebt(c.debt + moved)
			r.MovedBytes += moved
			r.MovedRecords++
		}
	}
}

// affords says whether the cleaner can take on n more bytes of debt.
func (s *Store) affords(n int) bool {
	return s.clean.debt+n <= s.debtMax() && s.log.Fits(n)
}

// move appends the record once more if the index refers to it. ok is false if
// it must stay where it is: locked, no room, or damaged (err).
func (s *Store) move(pos uint64, h *record.Header, img []byte, b *Bounds) (bytes int, ok bool, err error) {
	n := h.Bytes()
	if h.Kind == record.Marker {
		if pos != s.lastMarker || plant.Is(plant.StoreMoveMarker) {
			return 0, true, nil
		}
		if !s.affords(n) {
			return 0, false, nil
		}
		h.Flags |= record.FlagRelocated
		s.setMarker(s.log.AppendCopy(h, img))
		return n, true, nil
	}
	var cur index.Cursor
	if !s.own(&cur, h.Hash, pos) {
		return 0, true, nil
	}
	w := cur.Word()
	if !w.Locked() && s.gone(pos, h, b) {
		return 0, true, nil
	}
	if w.Locked() && !plant.Is(plant.StoreMoveLocked) || !s.affords(n) {
		return 0, false, nil
	}
	// A damaged body must not get a place where it would look new.
	if err := record.VerifyBody(img, h); err != nil && !plant.Is(plant.StoreMoveDamaged) {
		s.NoteRecord(h.Hash, pos)
		return 0, false, &seglog.Damage{Pos: pos, Cause: err}
	}
	h.Flags = b.flags(pos, h.Flags)
	to := s.log.AppendCopy(h, img)
	s.x.Store(&cur, w.WithPos(to))
	if h.Kind == record.Delete && !s.log.CountedAt(pos) {
		s.tombstones.Add(1)
	}
	s.log.Dead(pos, n)
	return n, true, nil
}

// finish ends an examination: from here on nothing leads into the segment.
func (s *Store) finish(r *CleanResult) {
	c := &s.clean
	if err := c.walk.Err(); err != nil {
		r.Err = err
		s.log.Postpone(c.victim)
		s.abandon()
		return
	}
	s.log.Retire(c.victim)
	c.queue[c.waiting] = emptied{c.victim, s.log.Tail(), s.retire(), c.moved, c.droppedHere}
	c.droppedHere = false
	c.waiting++
	c.cleaned++
	c.victim = 0
}

// abandon gives a victim up. What was moved out of it is no debt any more: no
// segment will come back for it soon.
func (s *Store) abandon() {
	c := &s.clean
	s.setDebt(c.debt - c.moved)
	c.victim, c.moved = 0, 0
}

// count goes through a segment that was there at Open and reports what the
// index does not refer to as dead.
func (s *Store) count(r *CleanResult, budget *int) {
	c := &s.clean
	if c.counting == 0 {
		number, ok := s.log.Uncounted()
		if !ok {
			c.uncounted, c.idleTail = false, 0
			return
		}
		start, end := s.log.Bounds(number)
		c.counting, c.walk, c.ahead = number, s.log.Walk(start, end), ahead{}
	}
	var h record.Header
	for *budget > 0 {
		c.ahead.look(s, &c.walk)
		before := c.walk.Pos()
		pos, img := c.walk.Next(&h)
		if img == nil && c.walk.Skip(s.genuine) != (seglog.Extent{}) {
			s.log.Counted(c.walk.Pos()) // what could not be read counts as live
			continue
		}
		if img == nil {
			// At its end, or damaged: what lies behind the damage counts as live.
			_, end := s.log.Bounds(c.counting)
			s.log.Counted(end)
			s.log.Dead(before, int(c.walk.Pos()-before)) // pads
			c.counting, r.Err = 0, c.walk.Err()
			return
		}
		*budget -= headerCost
		r.LookedAt++
		s.log.Counted(c.walk.Pos())
		s.log.Dead(before, int(pos-before)) // pads
		var cur index.Cursor
		switch {
		case h.Kind == record.Marker && pos == s.lastMarker:
		case h.Kind == record.Marker || !s.own(&cur, h.Hash, pos):
			s.log.Dead(pos, h.Bytes())
		case h.Kind == record.Delete:
			s.tombstones.Add(1)
		}
	}
}
