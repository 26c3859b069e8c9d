package seglog

// Saved is what a Log knows besides the bytes of its arena, for exhaustive
// exploration (heal/explore): between two events it can be taken out and put
// back. Nothing may wait for a release.
type Saved struct {
	Tail, Flushed, Number uint64
	Open                  int // place, -1: none
	Largest               int
	Incarnation           uint32
	Segments              []SavedSegment // by number
}

// SavedSegment is a segment in use, the open one included.
type SavedSegment struct {
	Place       int
	Number      uint64
	Incarnation uint32
	End         int // offset in the segment where its last record ends
}

// Save fills s. Its list is reused.
func (l *Log) Save(s *Saved) {
	assert(l.pending == 0, "saved with segments about to be released")
	*s = Saved{l.next, l.flushed.Load(), l.number, l.open, l.largest, l.inc, s.Segments[:0]}
	for i := range l.segs {
		if x := &l.segs[i]; x.state != segFree {
			end := x.end
			if i == l.open {
				end = l.off
			}
			s.Segments = append(s.Segments, SavedSegment{i, x.number, x.inc, end})
		}
	}
	for i := 1; i < len(s.Segments); i++ {
		for j := i; j > 0 && s.Segments[j].Number < s.Segments[j-1].Number; j-- {
			s.Segments[j], s.Segments[j-1] = s.Segments[j-1], s.Segments[j]
		}
	}
}

// Restore puts back what Save took; the bytes of the segments are the caller's.
// Places are free in the order of Format. No other goroutine uses the log.
func (l *Log) Restore(s *Saved) {
	clear(l.segs)
	for i := range l.table {
		l.table[i].Store(0)
	}
	oldest := uint64(0)
	for i := range s.Segments {
		x := &s.Segments[i]
		l.segs[x.Place] = segment{state: segSealed, inc: x.Incarnation, number: x.Number, end: x.End, counted: SegmentHeaderBytes}
		l.lives[x.Place].set(x.Incarnation, x.End)
		l.table[x.Number&l.mask].Store(x.Number<<placeBits | uint64(x.Place+1))
		if i == 0 {
			oldest = x.Number << l.shift
		}
	}
	l.open, l.off, l.pending = s.Open, 0, 0
	if l.open >= 0 {
		x := &l.segs[l.open]
		l.off, x.state, x.end, x.counted = x.end, segOpen, 0, l.size
		l.lives[l.open].end.Store(0)
	}
	l.free = l.free[:0]
	for i := len(l.segs) - 1; i >= 0; i-- {
		if l.segs[i].state == segFree {
			l.free = append(l.free, int32(i))
		}
	}
	l.next, l.number, l.largest, l.inc = s.Tail, s.Number, s.Largest, s.Incarnation
	l.tail.Store(s.Tail)
	l.flushed.Store(s.Flushed)
	l.oldest.Store(oldest)
	l.account()
}
