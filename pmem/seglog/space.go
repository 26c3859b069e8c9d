package seglog

import (
	"math"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Fits says whether a record of n bytes can be appended now.
func (l *Log) Fits(n int) bool {
	if l.open >= 0 && l.off+n <= l.size {
		return true
	}
	if n > l.size-SegmentHeaderBytes {
		return false
	}
	if len(l.free) == 0 {
		l.collect()
	}
	return len(l.free) > 0 && l.slotFree()
}

// FreeBytes is how many bytes of records can be appended for certain, if none
// is larger than the largest appended so far: each segment may waste that much
// at its end. Three loads; any goroutine.
func (l *Log) FreeBytes() uint64 {
	free, end, tail := l.room.Load(), l.openEnd.Load(), l.tail.Load()
	if end > tail {
		free += end - tail
	}
	return free
}

// account brings room and openEnd up to date after the free segments, the open
// one or the largest record changed.
func (l *Log) account() {
	waste := l.largest - record.Align
	l.room.Store(uint64(max(0, len(l.free)*(l.size-SegmentHeaderBytes-waste))))
	end := uint64(0)
	if l.open >= 0 {
		end = l.segs[l.open].number<<l.shift + uint64(max(0, l.size-waste))
	}
	l.openEnd.Store(end)
}

// FreeSegments is how many segments are free or will be after the next flush.
func (l *Log) FreeSegments() int { return len(l.free) + l.pending }

// Pending says that released segments wait for a flush.
func (l *Log) Pending() bool { return l.pending != 0 }

// Freed counts the segments that became free again after a Release, which they
// do in the order of their release.
func (l *Log) Freed() uint64 { return l.freed }

// Collect makes released segments free as far as flushes allow. Fits and an
// append without a free segment do it too.
func (l *Log) Collect() {
	if l.pending != 0 {
		l.collect()
	}
}

// collect takes released segments one step on when what was written to their
// headers is flushed (L4): a flush to a position above the tail of that moment
// began after it. Two steps, because a header of which only a part reached the
// media must read as free: first the magic alone, then the rest.
func (l *Log) collect() {
	flushed := l.flushed.Load()
	if l.pending == 0 || flushed <= l.pendingAt && !plant.Is(plant.LogReuseEarly) {
		return
	}
	lowest := uint64(math.MaxUint64)
	for i := range l.segs {
		s := &l.segs[i]
		if s.state != segReleased && s.state != segCleared {
			continue
		}
		if flushed > s.releasedAt || plant.Is(plant.LogReuseEarly) {
			if s.state == segCleared || plant.Is(plant.LogOneStep) {
				*s = segment{}
				l.free = append(l.free, int32(i))
				l.pending--
				l.freed++
				continue
			}
			putFree(l.place(i), i, l.tag, s.was, s.inc, l.next)
			s.state, s.releasedAt = segCleared, l.next
		}
		lowest = min(lowest, s.releasedAt)
	}
	l.pendingAt = lowest
	l.account()
}

// ClearReleased does the second step of releases whose process died after the
// first: it writes what stands behind the magic. As there, the magic must be
// flushed before (L4), which Unflushed sees to. It returns what must be flushed
// before the first append.
func (l *Log) ClearReleased(dst []Range) []Range {
	assert(l.open < 0 && l.pending == 0, "L4: releases are finished before the first append")
	for _, i := range l.unflushed {
		place := int(i)
		if f, ok := l.settled(place, l.place(place)); !ok {
			number, inc := l.gone(place)
			l.settle(place, number, inc, l.next)
		} else if f.at == 0 { // an earlier version's
			putFree(l.place(place), place, l.tag, f.number, f.inc, max(l.next, formatted))
		} else {
			continue
		}
		dst = append(dst, Range{place << l.shift, SegmentHeaderBytes})
	}
	l.unflushed = nil
	return dst
}

// Pad appends 64 bytes that mean nothing and that no Scan reports. The cleaner
// uses it when the log is flushed and nobody appends: released segments become
// free with the next flush, and a flush needs a tail that moved.
func (l *Log) Pad() bool {
	if !l.Fits(padBytes) {
		return false
	}
	dst := l.reserve(padBytes)
	putPad(dst, l.next, l.inc, l.flushed.Load())
	l.commit(padBytes)
	l.segs[l.open].live -= padBytes
	return true
}

// Dead reports that nothing refers to the n bytes at pos any more.
func (l *Log) Dead(pos uint64, n int) {
	i := l.lookup(pos)
	if i < 0 {
		return
	}
	s := &l.segs[i]
	if int(pos)&(l.size-1) >= s.counted {
		return // the count will see for itself
	}
	s.live = max(0, s.live-n) // n comes from the record: a flipped bit in it must not end the process
}

// CountedAt says whether dead reports for pos count.
func (l *Log) CountedAt(pos uint64) bool {
	i := l.lookup(pos)
	return i >= 0 && int(pos)&(l.size-1) < l.segs[i].counted
}

// Uncounted names a sealed segment whose live bytes are not known because it
// was there before Recover. The caller walks it in order with Walk, reports
// what is dead by Dead and how far it came by Counted.
func (l *Log) Uncounted() (number uint64, ok bool) {
	for i := range l.segs {
		if s := &l.segs[i]; s.state == segSealed && s.counted < l.size && (!ok || s.number < number) {
			number, ok = s.number, true
		}
	}
	return number, ok
}

// Counted moves the count of a segment to pos; everything when pos is its end.
func (l *Log) Counted(pos uint64) {
	i := l.lookup(pos - 1) // the end of a full segment is the next one's start
	assert(i >= 0, "count of a segment that is not live")
	s := &l.segs[i]
	s.counted = int(pos - s.number<<l.shift)
	if s.counted >= s.end {
		s.counted = l.size
	}
}

// worthOf divides: a victim must have at least this part of its records dead
// even when space is short.
const worthOf = 32

// Victim names the sealed segment that is best cleaned next: entirely below
// `below`, counted, and with the most to gain for what it costs: dead bytes
// times age over what must be looked at and moved. What has not died in an old
// segment will not soon; a young one empties itself while one waits (Rosenblum
// and Ousterhout, SOSP'91). There must be enough dead bytes: a share of its records at least as large as the free share of the
// log, so that nothing is moved for little while there is room, and more than
// the largest record, which is what the ends of segments may waste. When live
// segments spread over half of the table, the oldest is taken whatever is dead
// in it, so that the table never runs out.
//
// What a life left empty at the end of its last segment counts as dead: lives
// that end soon would eat the log up otherwise, a segment each.
//
// Moving a victim's live records makes no dead bytes, so a caller that only
// cleans comes to an end: every victim takes at least a 32nd of a segment of
// dead bytes out of the log, and the forced ones stop when the segments stand
// together.
func (l *Log) Victim(below uint64) (number uint64, ok bool) {
	best, oldest, most := -1, -1, 0.0
	share := l.FreeSegments()
	for i := range l.segs {
		s := &l.segs[i]
		if s.state != segSealed || (s.number+1)<<l.shift > below || s.notBefore > l.next {
			continue
		}
		if s.number == (l.next-1)>>l.shift {
			continue // the tail's, after Recover: without it the log would end below what is durable
		}
		if oldest < 0 || s.number < l.segs[oldest].number {
			oldest = i
		}
		if s.counted < l.size {
			continue
		}
		used := s.end - SegmentHeaderBytes
		dead := used - s.live
		if rest := l.size - s.end; rest > l.largest { // less may be the end of a full one
			used, dead = used+rest, dead+rest
		}
		if used > 0 && (dead*worthOf < used || dead <= l.largest || dead*len(l.segs) < used*share) {
			continue
		}
		if worth := l.worth(s, used, dead); best < 0 || worth > most || worth == most && s.number < l.segs[best].number {
			best, most = i, worth
		}
	}
	if oldest >= 0 && l.number-l.segs[oldest].number > uint64(len(l.table)/2) {
		best = oldest
	}
	if best < 0 {
		return 0, false
	}
	return l.segs[best].number, true
}

// OldestSealed is the oldest segment that is sealed and entirely below the bound,
// if it may be a victim now.
func (l *Log) OldestSealed(below uint64) (number uint64, ok bool) {
	best := -1
	for i := range l.segs {
		if s := &l.segs[i]; s.state == segSealed && (best < 0 || s.number < l.segs[best].number) {
			best = i
		}
	}
	if best < 0 {
		return 0, false
	}
	s := &l.segs[best]
	ok = (s.number+1)<<l.shift <= below && s.notBefore <= l.next && s.number != (l.next-1)>>l.shift && s.counted >= l.size
	return s.number, ok
}

// Unzeroed says that a released segment's header may not be zeroed on the media:
// a power loss could bring it back.
func (l *Log) Unzeroed() bool {
	if l.pending == 0 {
		return false
	}
	for i := range l.segs {
		if l.segs[i].state == segReleased {
			return true
		}
	}
	return false
}

// worth orders victims.
func (l *Log) worth(s *segment, used, dead int) float64 {
	if l.byDead {
		return float64(dead)
	}
	age := float64(l.number - s.number)
	return float64(dead) * age / float64(max(1, used+s.live))
}

// ByDead makes Victim go by dead bytes alone (greedy), to compare with.
func (l *Log) ByDead(on bool) { l.byDead = on }

// LiveBytes is the sum of Live over all segments.
func (l *Log) LiveBytes() (n uint64) {
	for i := range l.segs {
		if l.segs[i].number != 0 {
			n += uint64(l.segs[i].live)
		}
	}
	return n
}

// Crowded says that live segments spread over half of the table: Victim will
// name the oldest one, and cleaning is due however much is free.
func (l *Log) Crowded() bool {
	o := l.oldest.Load()
	return o != 0 && l.number-o>>l.shift > uint64(len(l.table)/2)
}

// Postpone keeps a segment from being a victim until another segment's worth
// was appended: something in it cannot be moved yet.
func (l *Log) Postpone(number uint64) {
	if i := l.lookup(number << l.shift); i >= 0 {
		l.segs[i].notBefore = l.next + uint64(l.size)
	}
}

// Live is the bytes of records in the segment not reported dead.
func (l *Log) Live(number uint64) int {
	i := l.lookup(number << l.shift)
	if i < 0 {
		return 0
	}
	return l.segs[i].live
}

// Forgive ends all postponements.
func (l *Log) Forgive() {
	for i := range l.segs {
		l.segs[i].notBefore = 0
	}
}

// Bounds are the positions of the segment's first record and behind its last.
func (l *Log) Bounds(number uint64) (start, end uint64) {
	base := number << l.shift
	i := l.lookup(base)
	switch {
	case i < 0:
		return 0, 0
	case i == l.open:
		return base + SegmentHeaderBytes, l.next
	}
	return base + SegmentHeaderBytes, base + uint64(l.segs[i].end)
}

// Retire takes a sealed segment out of the choice of victims: the caller found
// that nothing refers to it any more.
func (l *Log) Retire(number uint64) {
	i := l.lookup(number << l.shift)
	assert(i >= 0 && l.segs[i].state == segSealed, "only a sealed segment is retired")
	l.segs[i].state = segRetired
	l.lives[i].retired.Store(true)
}

// Release gives a retired segment back. Preconditions, the caller's (H25): the
// log is flushed through the tail as it stood when the segment was examined,
// and every reader that could know a position in it has left.
func (l *Log) Release(number uint64) {
	i := l.lookup(number << l.shift)
	assert(i >= 0 && l.segs[i].state == segRetired, "only a retired segment is released")
	l.table[number&l.mask].Store(0)
	freeSegmentHeader(l.place(i))
	l.segs[i] = segment{state: segReleased, inc: l.segs[i].inc, was: number, releasedAt: l.next}
	if l.pending == 0 || l.next < l.pendingAt {
		l.pendingAt = l.next
	}
	l.pending++
	if l.oldest.Load() == number<<l.shift {
		l.findOldest()
	}
}

func (l *Log) findOldest() {
	oldest := uint64(0)
	for i := range l.segs {
		if s := &l.segs[i]; s.number != 0 && (oldest == 0 || s.number < oldest) {
			oldest = s.number
		}
	}
	l.oldest.Store(oldest << l.shift)
}

// Discard drops every record: a full copy begins. Positions go on growing: the
// tail stays, and a later Recover is given it as its floor. Discard returns
// what it wrote; Recover takes any part of that, torn or not, below its floor.
//
// Preconditions: no reader, no pin, and the caller's index is empty or will
// not be used again.
func (l *Log) Discard(dst []Range) []Range {
	l.seal()
	l.free = l.free[:0]
	for i := range l.table {
		l.table[i].Store(0)
	}
	for i := len(l.segs) - 1; i >= 0; i-- {
		if f, ok := readFree(l.place(i)); !ok { // else it says what lay there
			f.number, f.inc = l.segs[i].number, l.segs[i].inc
			putFree(l.place(i), i, l.tag, f.number, f.inc, formatted) // below the floor whatever a power loss leaves
		}
		l.segs[i] = segment{}
		l.free = append(l.free, int32(i))
		dst = append(dst, Range{i << l.shift, SegmentHeaderBytes})
	}
	l.pending = 0
	l.oldest.Store(0)
	l.account()
	return dst
}
