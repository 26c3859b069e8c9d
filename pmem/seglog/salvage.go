package seglog

import (
	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Extent is a range of log positions whose records are not known, keys
// included: a header in it does not verify.
type Extent struct{ From, To uint64 }

// Genuine says whether an image is one that this log was given, and not bytes
// of a value that look like one: that its key has the hash its header names,
// which nobody outside can compute.
type Genuine func(h *record.Header, img []byte) bool

// nextRecord is the offset in b, from off on, of the first record that can be
// told from other bytes; len(b) if there is none. b begins at the position
// base. Behind a damaged header lengths mean nothing, so every offset where one
// could stand is tried. What a client wrote into a value must not be taken for
// a record: only keyed ones count, whole, with the right hash.
func nextRecord(b []byte, base uint64, off int, inc uint32, genuine Genuine) int {
	var h record.Header
	for off = (off + record.Align - 1) &^ (record.Align - 1); off+record.HeaderBytes <= len(b); off += record.Align {
		img := b[off:]
		// Cheap tests first.
		if k := record.KindOf(img); k != record.Put && k != record.Delete || record.KeyLen(img) == 0 || record.KeyLen(img) > record.KeyBytesMax ||
			record.ValueLen(img) > record.ValueBytesMax || record.ImageBytes(img) > len(img) {
			continue
		}
		if record.VerifyHeader(img, record.Seed(base+uint64(off), inc), &h) == nil && record.SoundBody(img) && (genuine(&h, img) || plant.Is(plant.DamageForged)) {
			return off
		}
	}
	return len(b)
}

// Skip goes on behind a header that did not verify: to the next record that is
// genuine, or to the end of the segment. It returns the range passed over; an
// empty one if the walk had not ended there.
func (w *Walker) Skip(genuine Genuine) (gap Extent) {
	if w.err == nil || w.seg == nil {
		return gap
	}
	w.err = nil
	off := nextRecord(w.seg, w.base, int(w.pos-w.base)+record.Align, w.inc, genuine)
	gap = Extent{w.pos, w.base + uint64(off)}
	w.pos = gap.To
	return gap
}

// Gap is the range from a damaged header at pos to the next genuine record of
// its segment. Worker only.
func (l *Log) Gap(pos uint64, genuine Genuine) Extent {
	w := l.Walk(pos, l.Tail())
	if w.enter(); w.seg == nil || w.pos != pos {
		return Extent{}
	}
	w.err = errBlank
	return w.Skip(genuine)
}

// ScanAround is Scan that damage does not end: a record whose body does not
// verify is shown with sound false, and what lies behind a header that does not
// is passed to gap.
func (l *Log) ScanAround(from, to uint64, genuine Genuine, fn func(pos uint64, h *record.Header, img []byte, sound bool) bool, gap func(Extent)) error {
	var h record.Header
	w := l.Walk(from, to)
	for {
		pos, img := w.Next(&h)
		if img == nil {
			if x := w.Skip(genuine); x != (Extent{}) {
				if !plant.Is(plant.DamageGap) {
					gap(x)
				}
				continue
			}
			return w.Err()
		}
		if sound := record.VerifyBody(img, &h) == nil; !fn(pos, &h, img[:h.Bytes():h.Bytes()], sound) {
			return nil
		}
	}
}

// WalkInUse is Walk for who holds no pin but is announced as a reader: it keeps
// off segments that were retired before.
func (l *Log) WalkInUse(from, to uint64) Walker {
	w := l.Walk(from, to)
	w.keepOff = true
	return w
}

// inUse says whether the segment at a place is not retired, and still that
// segment: had the place been given to another one, whose flag is what was
// loaded, the table would say so now.
func (l *Log) inUse(number uint64, place int) bool {
	return !l.lives[place].retired.Load() && l.lookup(number<<l.shift) == place
}

// HeaderWhole says whether the header of a segment is as it should be; true for
// one that is open, or not live. Any goroutine that may read the segment.
func (l *Log) HeaderWhole(number uint64) bool {
	i := l.lookup(number << l.shift)
	if i < 0 || !l.inUse(number, i) {
		return true
	}
	end := l.lives[i].end.Load() // pairs with the store after the seal
	if end == 0 {
		return true
	}
	h := readSegmentHeader(l.place(i), i, l.tag, l.size)
	return h.state == headerValid && h.whole && h.number == number && h.inc == l.lives[i].inc.Load() && h.end == int(end)
}

// Mend writes the header of a sealed segment as it should be; it goes out with
// the next flush. Worker only.
func (l *Log) Mend(number uint64) bool {
	i := l.lookup(number << l.shift)
	if i < 0 || l.segs[i].state != segSealed && l.segs[i].state != segRetired {
		return false
	}
	s := &l.segs[i]
	repairSegmentHeader(l.place(i), s.number, l.tag, s.inc, s.end)
	l.mended = append(l.mended, Range{i << l.shift, SegmentHeaderBytes})
	return true
}
