package seglog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

var (
	// ErrConfig is wrapped when the arena and the configuration do not fit.
	ErrConfig = errors.New("seglog: unusable configuration")
	// ErrAlien is wrapped when a segment carries another pool's tag.
	ErrAlien = errors.New("seglog: segment of another pool")
)

// RecoverInfo is what Recover found.
type RecoverInfo struct {
	Tail    uint64 // end of the last record that counts
	Shown   uint64 // where the log ends by its own account: below Tail if Salvage has met nothing but blanks from there on
	Oldest  uint64 // start of the oldest live segment
	Durable uint64 // highest position any header, or the caller, claims to be durable
	Records int    // verified with their bodies: those from the segment of `durable` on

	Segments int      // live
	Dropped  int      // segments wholly above the tail, given back
	Torn     bool     // something stood at the tail that is no record
	Extents  []Extent // by Salvage: ranges whose records are not known
	Found    int      // by Salvage: segments found again without their headers, which nothing speaks against
	Refound  int      // by Salvage: those that may have been given back before
	Cut      bool     // by Salvage: the log ends in a segment found again without its header and seal, and segments begun later were there
	Repaired []Range  // written by Recover; must be flushed before the first append counts
}

// Recover finds the log in the arena after a crash. durable is the position
// the caller knows to have been flushed (superblock), 0 if none; below floor
// everything was discarded on purpose (Discard) and no position is given out
// again, 0 if it never was.
//
// Records of segments below durable are not read here: Scan verifies them when
// the index is rebuilt. What lies above durable is verified with its body.
// Recover never panics on any arena. Errors: ErrConfig, ErrAlien, and *Damage
// if something that was durable does not verify; it then wrote nothing. The
// caller flushes again what lies between the recovered durable position and
// the tail and what Unflushed names, calls ClearReleased and flushes what
// that returns, then calls SetFlushed (H21).
//
// The first append opens a new segment.
func Recover(c Config, durable, floor uint64) (*Log, RecoverInfo, error) {
	var info RecoverInfo
	if p := c.problem(); p != "" {
		return nil, info, fmt.Errorf("%w: %s (arena %d, segment %d)", ErrConfig, p, len(c.Arena), c.SegmentBytes)
	}
	l := newLog(c)
	r := recovery{l: l, heads: c.Heads, claim: durable, torn: numberMax, life: c.Incarnation}
	if err := r.readHeaders(durable, floor); err != nil {
		return nil, info, err
	}
	if err := r.findEnd(durable); err != nil {
		return nil, info, err
	}
	tail := max(r.tail, floor)
	if plant.Is(plant.RecoverFloor) {
		tail = r.tail
	}
	if r.claim > tail && !plant.Is(plant.RecoverDamage) {
		cause := r.cause
		if cause == nil {
			cause = fmt.Errorf("the log ends here and was durable through %d", r.claim)
		}
		return nil, info, &Damage{r.tail, cause}
	}
	r.adopt(tail, floor)
	info = RecoverInfo{Tail: l.Tail(), Shown: l.Tail(), Oldest: l.Oldest(), Durable: r.claim, Records: r.records,
		Segments: len(r.valid), Dropped: r.dropped, Torn: r.cause != nil && r.cause != errBlank, Repaired: r.repaired}
	if plant.Is(plant.RecoverRepair) {
		info.Repaired = nil
	}
	return l, info, nil
}

type recovery struct {
	l     *Log
	heads []byte          // Config.Heads
	valid []segmentHeader // by number
	bad   []segmentHeader // torn while created, or damaged
	// Below the floor: a Discard was cut off, adopt finishes it.
	discarded []segmentHeader
	claim     uint64 // highest durable position claimed
	tail      uint64 // where the valid prefix ends; 0: no segment
	tailSeg   int    // index in valid of the segment it ends in, -1: none
	cause     error  // what stands at the tail
	life      uint32 // the newest that may have appended; 0: not known
	newest    uint64 // highest number in use by any header
	torn      uint64 // lowest number of a segment with a torn header, or none: the log ends before it
	records   int
	dropped   int
	repaired  []Range
}

// head is the header at a place and what follows it.
func (r *recovery) head(place int) []byte {
	if r.heads != nil {
		return r.heads[place*HeadBytes:][:HeadBytes]
	}
	return r.l.place(place)
}

func (r *recovery) readHeaders(durable, floor uint64) error {
	for i := range r.l.segs {
		h := readSegmentHeader(r.head(i), i, r.l.tag, r.l.size)
		switch h.state {
		case headerValid:
			if h.number >= PositionMax>>r.l.shift {
				return &Damage{0, fmt.Errorf("segment number %d above the limit %d", h.number, uint64(PositionMax)>>r.l.shift)}
			}
			if h.number<<r.l.shift < floor {
				r.discarded = append(r.discarded, h) // its seals may be zeroed already
				continue
			}
			r.valid = append(r.valid, h)
		case headerBad:
			if r.l.written && !h.torn {
				return &Damage{0, fmt.Errorf("the segment header at place %d is damaged", i)}
			}
			r.bad = append(r.bad, h)
		case headerBlank:
			if r.l.written && !plant.Is(plant.DamageBlank) {
				return &Damage{0, fmt.Errorf("the segment header at place %d is blank, which no header ever is", i)}
			}
		case headerStray:
			return &Damage{0, fmt.Errorf("the segment header at place %d says that another place is free", i)}
		case headerAlien:
			return fmt.Errorf("%w: place %d has tag %#x, this pool's is %#x", ErrAlien, i,
				binary.LittleEndian.Uint64(r.head(i)[offTag:]), r.l.tag)
		}
	}
	slices.SortFunc(r.valid, func(a, b segmentHeader) int { return cmp.Compare(a.number, b.number) })
	for i := range r.valid {
		if i > 0 && r.valid[i].number == r.valid[i-1].number {
			return &Damage{r.valid[i].number << r.l.shift, fmt.Errorf("segment number %d twice", r.valid[i].number)}
		}
		r.newest = r.valid[i].number
	}
	for i := range r.l.segs {
		if n, _, ok := r.overrun(i, durable, floor); ok && !r.cutOff(n, durable) {
			return &Damage{0, fmt.Errorf("the segment header at place %d says that it is free, and segment %d was begun there later", i, n)}
		}
	}
	for i := range r.discarded {
		if n, _, ok := r.overlaid(&r.discarded[i], durable, floor); ok && !r.cutOff(n, durable) {
			return &Damage{0, fmt.Errorf("the segment header at place %d is a discarded one, and segment %d was begun there later", r.discarded[i].place, n)}
		}
	}
	for i := range r.valid {
		if n, _, ok := r.overlaid(&r.valid[i], durable, floor); ok {
			return &Damage{0, fmt.Errorf("the segment header at place %d is an old one, and segment %d was begun there later", r.valid[i].place, n)}
		}
	}
	if n := len(r.valid); n > 0 && r.newest-r.valid[0].number >= uint64(len(r.l.table)) {
		return &Damage{r.valid[0].number << r.l.shift, fmt.Errorf("segment numbers %d to %d spread over more than the table's %d",
			r.valid[0].number, r.newest, len(r.l.table))}
	}
	// A header torn while it was created holds zeroes or the number of a
	// segment begun since the last flush: perhaps not the newest one, of which
	// more may have reached the media. Below what was durable, and far above,
	// it was a segment once.
	base := max(r.newest, floor>>r.l.shift)
	limit := base + uint64(len(r.l.segs)-len(r.valid))
	for _, b := range r.bad {
		for _, n := range [...]uint64{b.number, b.claim2} {
			if n<<r.l.shift < floor {
				continue // torn while a Discard zeroed it, or zero
			}
			if n != 0 && (n > limit || n<<r.l.shift < durable) {
				return &Damage{min(n, numberMax) << r.l.shift, fmt.Errorf("both copies of the segment header at place %d are damaged", b.place)}
			}
			if n != 0 {
				r.torn = min(r.torn, n)
			}
			base = max(base, n)
		}
	}
	r.newest = base
	return nil
}

// cutOff takes a segment that has records and no header for one that a power
// loss cut off when it was begun, if nothing says that its header was flushed: then
// the log ends before it. Records behind that may still say so.
func (r *recovery) cutOff(number, durable uint64) bool {
	if number<<r.l.shift+SegmentHeaderBytes < durable {
		return false
	}
	if !plant.Is(plant.DoubtHole) {
		r.torn = min(r.torn, number)
	}
	return true
}

// findEnd walks from the segment of durable on.
func (r *recovery) findEnd(durable uint64) error {
	n := len(r.valid)
	if n == 0 {
		return nil
	}
	first := n - 1
	for i := range r.valid {
		// >=: a segment that ends full may be durable through its end without
		// its seal, which is written when the next one is opened.
		if (r.valid[i].number+1)<<r.l.shift >= durable {
			first = i
			break
		}
	}
	for i := range first {
		if r.valid[i].end == 0 {
			return &Damage{r.valid[i].number << r.l.shift, errNoSeal}
		}
	}
	// Should the first one follow a torn one, the log ends before both.
	if r.tailSeg = first - 1; first > 0 {
		r.tail = r.valid[first-1].number<<r.l.shift + uint64(r.valid[first-1].end)
	}
	ended := false
	for i := first; i < n; i++ {
		from := SegmentHeaderBytes
		if !ended && r.valid[i].number > r.torn && !plant.Is(plant.RecoverTorn) {
			r.cause, ended = errTornHeader, true
		}
		if !ended {
			var cause error
			from, cause = r.walk(&r.valid[i])
			r.tail, r.tailSeg, r.cause = r.valid[i].number<<r.l.shift+uint64(from), i, cause
			ended = cause != nil
		}
		if ended {
			r.probe(&r.valid[i], from)
		}
	}
	for _, b := range r.bad {
		// Should a whole segment hide behind a bad header, its records say so.
		for _, number := range [...]uint64{b.number, b.claim2} {
			if b.number = number; number != 0 {
				r.probe(&b, SegmentHeaderBytes)
			}
		}
	}
	return nil
}

// walk verifies a segment from its start; it returns the offset where it
// ended, and why if that is not where a seal says.
func (r *recovery) walk(s *segmentHeader) (off int, cause error) {
	var h record.Header
	b, base := r.l.place(s.place), s.number<<r.l.shift
	end := s.end
	if end == 0 {
		end = r.l.size
	}
	for off = SegmentHeaderBytes; off < end; {
		pos := base + uint64(off)
		pad, err := step(b[off:end], pos, s.inc, &h)
		if err == nil && !pad {
			if err = record.VerifyBody(b[off:], &h); plant.Is(plant.RecoverBody) {
				err = nil
			}
		}
		if err == nil && h.Durable > pos {
			err = fmt.Errorf("the record claims that the log was durable through %d", h.Durable)
		}
		if err != nil {
			if s.end == 0 && r.l.size-off < record.HeaderBytes {
				err = errBlank // no room for a header: the segment ended full
			}
			return off, err
		}
		r.claim = max(r.claim, h.Durable)
		if !pad {
			r.records++
		}
		off += h.Bytes()
	}
	if s.end == 0 {
		return off, errBlank
	}
	return off, nil
}

// probe looks for headers from off on, record boundary or not, and takes note
// of what they claim to be durable. Their seed keeps bytes of other uses out.
func (r *recovery) probe(s *segmentHeader, off int) {
	var h record.Header
	b, base := r.l.place(s.place), s.number<<r.l.shift
	for ; off+record.HeaderBytes <= len(b); off += record.Align {
		pos := base + uint64(off)
		// Cheap tests first: this runs over a whole segment of old bytes.
		if d := record.Durable(b[off:]); d <= r.claim || d > pos {
			continue
		}
		if _, err := step(b[off:], pos, s.inc, &h); err == nil || err == record.ErrShort {
			r.claim = max(r.claim, h.Durable)
		}
	}
}

// adopt builds the log's state and repairs the arena: a seal at the tail, no
// headers above it.
func (r *recovery) adopt(tail, floor uint64) {
	l := r.l
	used := make([]bool, len(l.segs))
	keep, drop := r.valid, []segmentHeader(nil)
	if len(keep) > 0 {
		keep, drop = keep[:r.tailSeg+1], keep[r.tailSeg+1:]
	}
	for i := range keep {
		s := &keep[i]
		used[s.place] = true
		if i == r.tailSeg && r.cause != nil {
			s.end = int(r.tail - s.number<<l.shift)
			if s.end+record.HeaderBytes <= l.size {
				at := s.place<<l.shift + s.end
				blank(l.arena[at:])
				r.repaired = append(r.repaired, Range{at, record.HeaderBytes})
			}
			s.whole = false
		}
		if !s.whole {
			repairSegmentHeader(l.place(s.place), s.number, l.tag, s.inc, s.end)
			r.repaired = append(r.repaired, Range{s.place << l.shift, SegmentHeaderBytes})
		}
		l.segs[s.place] = segment{state: segSealed, inc: s.inc, number: s.number, end: s.end,
			live: s.end - SegmentHeaderBytes, counted: SegmentHeaderBytes}
		l.lives[s.place].set(s.inc, s.end)
		l.table[s.number&l.mask].Store(s.number<<placeBits | uint64(s.place+1))
	}
	for _, h := range slices.Concat(drop, r.discarded, r.bad) {
		if !plant.Is(plant.RecoverDropped) {
			l.settle(h.place, h.number, h.inc, tail)
		}
		r.repaired = append(r.repaired, Range{h.place << l.shift, SegmentHeaderBytes})
		r.dropped++
	}
	r.valid = keep
	for i := len(l.segs) - 1; i >= 0; i-- {
		if !used[i] {
			l.free = append(l.free, int32(i))
			// One that was given back just now is among those that are not settled yet.
			if f, ok := l.settled(i, r.head(i)); !ok || f.at == 0 || f.at >= r.claim {
				l.unflushed = append(l.unflushed, int32(i))
			}
		}
	}
	if len(keep) > 0 {
		l.oldest.Store(keep[0].number << l.shift)
	}
	if l.number = max(r.newest, tail>>l.shift) + 1; plant.Is(plant.RecoverNumber) {
		l.number = tail>>l.shift + 1
	}
	l.setTail(tail)
	l.account()
}
