package seglog

import (
	"cmp"
	"fmt"
	"slices"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Salvage is Recover for an arena that Recover calls damaged: it fences the
// damage off instead of giving up. Records with a damaged body stay where they
// are, to be refused when they are read; behind a damaged header the walk goes
// on at the next genuine record, and what lies between is an Extent; a segment
// whose header is lost is found again by its records. genuine tells records
// from bytes of a value; incarnation is the newest life that may have appended.
//
// before is called before the arena is changed, as Recover changes it: lost says
// that a segment may be gone of which the arena will show no trace afterwards,
// which the caller notes durably. Errors: ErrConfig, ErrAlien, and
// *Damage for what cannot be fenced off: such a pool needs a full copy.
func Salvage(c Config, durable, floor uint64, incarnation uint32, genuine Genuine, before func(lost bool) error) (*Log, RecoverInfo, error) {
	var info RecoverInfo
	if p := c.problem(); p != "" {
		return nil, info, fmt.Errorf("%w: %s (arena %d, segment %d)", ErrConfig, p, len(c.Arena), c.SegmentBytes)
	}
	l := newLog(c)
	s := salvage{recovery: recovery{l: l, claim: durable, torn: numberMax, life: incarnation}, genuine: genuine, durable: durable, floor: floor}
	if err := s.headers(); err != nil {
		return nil, info, err
	}
	s.through()
	tail := max(s.tail, floor)
	refound := s.uncertain()
	lost := s.lost || s.cut || s.unknown || refound > 0
	if err := before(lost); err != nil {
		return nil, info, err
	}
	s.adopt(tail, floor)
	if s.unknown && tail > floor {
		s.extents = append(s.extents, Extent{floor, tail})
	}
	info = RecoverInfo{Tail: l.Tail(), Shown: s.shown(), Oldest: l.Oldest(), Durable: min(s.claim, l.Tail()), Records: s.records, Segments: len(s.valid),
		Dropped: s.dropped, Torn: true, Repaired: s.repaired, Extents: s.extents, Refound: refound, Cut: s.cut, Found: len(s.found) - refound}
	return l, info, nil
}

// shown is where the log ends by its own account. Blanks from there to a
// position that only somebody else names, such as an index that was kept, are
// what an older copy of the log looks like.
func (s *salvage) shown() uint64 {
	end := s.l.Tail()
	if plant.Is(plant.BlankEnd) {
		return end
	}
	for _, x := range slices.Backward(s.extents) {
		if x.From >= end || x.To < end || !s.blank(x.From) {
			break
		}
		end = x.From
	}
	return end
}

// blank says whether no record was ever begun at a position of the log.
func (s *salvage) blank(pos uint64) bool {
	img, _ := s.l.RecordLife(pos)
	for _, b := range img[:min(len(img), record.HeaderBytes)] {
		if b != 0 {
			return false
		}
	}
	return true
}

type salvage struct {
	recovery
	genuine        Genuine
	durable, floor uint64
	suspects       []segmentHeader // of places whose header says nothing that can be believed
	extents        []Extent
	found          []uint64 // numbers of segments found again by their records
	lost           bool     // a segment is missing of which positions are known
	cut            bool     // the log was ended where nothing says that it did
	unknown        bool     // a place may have been a segment, and which is lost
}

// headers sorts the places, and finds segments again whose header is lost.
func (s *salvage) headers() error {
	l := s.l
	for i := range l.segs {
		h := readSegmentHeader(l.place(i), i, l.tag, l.size)
		switch {
		case h.state == headerFree:
		case h.state == headerValid && h.number<<l.shift < s.floor:
			s.discarded = append(s.discarded, h)
		case h.state == headerValid && h.number < PositionMax>>l.shift:
			s.valid = append(s.valid, h)
		default: // one of another pool too: it was written to the wrong place
			s.suspects = append(s.suspects, h)
		}
	}
	s.order()
	for i := range l.segs {
		if number, inc, ok := s.overrun(i, s.durable, s.floor); ok {
			s.suspects = append(s.suspects, segmentHeader{state: headerFree, place: i, number: number, inc: inc})
		}
	}
	s.discarded = slices.DeleteFunc(s.discarded, func(h segmentHeader) bool {
		number, inc, ok := s.overlaid(&h, s.durable, s.floor)
		if ok {
			s.suspects = append(s.suspects, segmentHeader{state: headerFree, place: h.place, number: number, inc: inc})
		}
		return ok
	})
	for i := 0; i < len(s.valid); i++ {
		// Twice the same number, or a header over another segment's records: an
		// old one that came back, or one written to the wrong place.
		if h := &s.valid[i]; !s.anchored(h) || i+1 < len(s.valid) && s.valid[i+1].number == h.number && s.reach(h) < s.reach(&s.valid[i+1]) {
			if _, _, ok := s.identify(h.place, h.number); ok || i+1 < len(s.valid) && s.valid[i+1].number == h.number {
				s.suspects = append(s.suspects, *h)
				s.valid = slices.Delete(s.valid, i, i+1)
				i--
			}
		} else if i+1 < len(s.valid) && s.valid[i+1].number == h.number {
			s.suspects = append(s.suspects, s.valid[i+1])
			s.valid = slices.Delete(s.valid, i+1, i+2)
			i--
		}
	}
	for _, h := range s.suspects {
		number, inc, ok := h.number, h.inc, h.state == headerFree && !s.has(h.number)
		if h.state != headerFree {
			number, inc, ok = s.identify(h.place, 0)
		}
		switch torn := s.tornNumbers(&h); {
		case ok && number<<l.shift >= s.floor:
			s.found = append(s.found, number)
			s.valid = append(s.valid, segmentHeader{state: headerValid, place: h.place, number: number, inc: inc,
				end: readSeal(l.place(h.place), number, inc, l.size)})
			s.order()
		case h.state == headerBad && h.torn && torn:
			s.bad = append(s.bad, h)
		default:
			s.unknown = true
			s.bad = append(s.bad, segmentHeader{state: headerBad, place: h.place})
		}
	}
	for _, b := range s.bad {
		for _, n := range [...]uint64{b.number, b.claim2} {
			if n<<l.shift >= s.floor && n != 0 {
				s.torn = min(s.torn, n)
				s.newest = max(s.newest, n)
			}
		}
	}
	if n := len(s.valid); n > 0 {
		if s.newest = max(s.newest, s.valid[n-1].number); s.valid[n-1].number-s.valid[0].number >= uint64(len(l.table)) {
			return &Damage{s.valid[0].number << l.shift, fmt.Errorf("segment numbers %d to %d spread over more than the table's %d",
				s.valid[0].number, s.valid[n-1].number, len(l.table))}
		}
	}
	return nil
}

// uncertain is how many of the segments found again may have been given back
// before their header was hit, so that to have them again may bring back what
// was deleted: records that nothing in the log supersedes any more, since the
// tombstone that did was dropped. A tombstone is dropped in the oldest live
// segment only (store/tombstones.go), so all older records of its key stood
// below that one. If a segment that was certainly there all along lies below,
// none of it was dropped; nor if none lies above, since then no tombstone that
// was dropped can be newer than what was found.
func (s *salvage) uncertain() (n int) {
	if plant.Is(plant.DoubtRefound) {
		return 0
	}
	var certain []uint64
	for i := range s.valid {
		if !slices.Contains(s.found, s.valid[i].number) {
			certain = append(certain, s.valid[i].number)
		}
	}
	for _, number := range s.found {
		below := len(certain) > 0 && certain[0] < number
		newest := s.valid[len(s.valid)-1].number == number
		if !below && !newest || plant.Is(plant.DoubtAlways) {
			n++
		}
	}
	return n
}

func (s *salvage) order() {
	slices.SortFunc(s.valid, func(a, b segmentHeader) int { return cmp.Compare(a.number, b.number) })
}

// tornNumbers says whether a header with neither copy whole can be one that a
// crash cut off while the segment was begun: nothing of it was durable then.
func (s *salvage) tornNumbers(h *segmentHeader) bool {
	newest := s.floor >> s.l.shift
	if n := len(s.valid); n > 0 {
		newest = max(newest, s.valid[n-1].number)
	}
	for _, n := range [...]uint64{h.number, h.claim2} {
		if n != 0 && n<<s.l.shift >= s.floor && (n > newest+uint64(len(s.l.segs)) || n<<s.l.shift < s.durable) {
			return false
		}
	}
	return true
}

// anchored says whether the segment's first record is one of its own.
func (s *salvage) anchored(h *segmentHeader) bool {
	b := s.l.place(h.place)[SegmentHeaderBytes:]
	var hd record.Header
	pad, err := step(b, h.number<<s.l.shift+SegmentHeaderBytes, h.inc, &hd)
	return pad || err == nil || err == errBlank && h.end <= SegmentHeaderBytes
}

// reach is how many records of a place are genuine under its header.
func (s *salvage) reach(h *segmentHeader) (n int) {
	b := s.l.place(h.place)
	for off := SegmentHeaderBytes; off < len(b); n++ {
		if off = nextRecord(b, h.number<<s.l.shift, off, h.inc, s.genuine); off < len(b) {
			off += record.ImageBytes(b[off:])
		}
	}
	return n
}

// identifyMost bounds how many places of a record are tried for a number,
// identifyLives how many lives before the oldest one that is known.
const (
	identifyMost  = 256
	identifyLives = 16
)

// identify finds out by its records which segment lies at a place: their seeds
// are made of position and incarnation. Behind the end of the present one there
// may be records of an earlier use, so the highest number counts.
func (s *salvage) identify(place int, except uint64) (number uint64, inc uint32, ok bool) {
	l := s.l
	top := s.top(s.durable, s.floor)
	bottom := max(1, top-min(top, uint64(len(l.table))), s.floor>>l.shift)
	b := l.place(place)
	var h record.Header
	for off, tried := SegmentHeaderBytes, 0; off+record.HeaderBytes <= len(b) && tried < identifyMost; off += record.Align {
		img := b[off:]
		if k := record.KindOf(img); k != record.Put && k != record.Delete || record.KeyLen(img) == 0 || record.KeyLen(img) > record.KeyBytesMax ||
			record.ValueLen(img) > record.ValueBytesMax || record.ImageBytes(img) > len(img) || !record.SoundBody(img) {
			continue
		}
		if record.Decode(img, &h); !s.genuine(&h, img) {
			continue
		}
		tried++
		for n := top; n >= bottom && n > number; n-- {
			if n == except || s.has(n) {
				continue
			}
			low, high := s.livesOf(n)
			if low == 0 { // older than all that are there
				low = high - min(high, identifyLives)
			}
			for life := low; life <= high && life-low < livesMost; life++ {
				if record.Sound(img, record.Seed(n<<l.shift+uint64(off), life)) {
					number, inc, ok = n, life, true
				}
			}
		}
	}
	return number, inc, ok
}

func (s *recovery) has(number uint64) bool {
	_, found := slices.BinarySearchFunc(s.valid, number, func(h segmentHeader, n uint64) int { return cmp.Compare(h.number, n) })
	return found
}

// through walks from the segment of durable to the end, and through every
// earlier one that has no seal. The log ends where something does not verify
// above all that any record claims to have been durable.
func (s *salvage) through() {
	l := s.l
	first := 0
	for i := range s.valid {
		if (s.valid[i].number+1)<<l.shift >= s.durable {
			break
		}
		first = i + 1
	}
	first = min(first, max(0, len(s.valid)-1))
	for i := first; i < len(s.valid); i++ {
		s.probe(&s.valid[i], SegmentHeaderBytes)
	}
	s.tailSeg = -1
	for i := range s.valid {
		h := &s.valid[i]
		base := h.number << l.shift
		if i < first && h.end != 0 {
			s.tail, s.tailSeg, s.cause = base+uint64(h.end), i, nil
			continue
		}
		if h.number > s.torn {
			if s.claim <= base {
				break
			}
			s.extents = append(s.extents, Extent{s.torn << l.shift, (s.torn + 1) << l.shift})
			s.lost = true
			s.torn = numberMax
		}
		more := i < len(s.valid)-1
		end, over := s.segment(h, more)
		if over && more && h.end == 0 && slices.Contains(s.found, h.number) && !plant.Is(plant.DoubtCut) {
			// A power loss may have ended the log here and left a part of what was
			// not flushed, or a seal was lost with the header, and there was more.
			s.cut = true
		}
		if h.end == 0 {
			h.end, h.whole = end, false
		}
		s.tail, s.tailSeg, s.cause = base+uint64(end), i, nil
		if over {
			s.cause = errBlank // the seal is to be written
			break
		}
	}
	if s.claim > s.tail && s.claim > s.floor {
		// A segment that was begun later is lost altogether.
		s.extents = append(s.extents, Extent{max(s.tail, s.floor), s.claim})
		s.tail, s.cause, s.lost = s.claim, nil, true
	}
}

// segment walks through one segment: where it ends, and whether the log does.
func (s *salvage) segment(h *segmentHeader, more bool) (end int, over bool) {
	l := s.l
	b, base := l.place(h.place), h.number<<l.shift
	limit := h.end
	if limit == 0 {
		limit = l.size
	}
	var hd record.Header
	off := SegmentHeaderBytes
	for off < limit {
		pos := base + uint64(off)
		pad, err := step(b[off:limit], pos, h.inc, &hd)
		if err == nil {
			if !pad && !record.SoundBody(b[off:]) && pos >= s.claim {
				return off, true
			}
			if !pad {
				s.records++
			}
			off += hd.Bytes()
			continue
		}
		if pos >= s.claim {
			return off, true // nothing from here on was promised to anybody
		}
		next := limit
		if l.size-off >= record.HeaderBytes {
			next = nextRecord(b[:limit], base, off+record.Align, h.inc, s.genuine)
		}
		if next == limit && h.end == 0 {
			switch inside := s.claim < base+uint64(l.size); {
			case inside:
				next = int(s.claim - base)
			case err == errBlank || l.size-off < record.HeaderBytes:
				return off, false // where a segment without its seal ends
			}
		}
		s.extents = append(s.extents, Extent{pos, base + uint64(next)})
		off = next
	}
	return off, h.end == 0 && !more
}
