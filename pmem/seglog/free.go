package seglog

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// The header of a free place says so twice and has no number where a segment's
// has one, so that neither a flipped bit nor a half that is lost brings back
// what was there. It also says which place of which pool it is of, and which
// segment lay there last: one that was written to the wrong place, or that came
// back over a segment that was begun later, is told from a true one by that.
// Otherwise a segment would be gone without a trace.
//
//	 0 u64 free magic
//	16 u32 place + 1 | 20 u32 CRC-32C over [16,20), [24,40), [48,56)
//	24 u32 incarnation | 28 u32 pool tag, folded
//	32 u64 number of the segment that lay here last; 0: none is known
//	48 u64 the log's tail when it was written; 0: not known, and not in the CRC
//	56 u64 free magic
//
// Whoever finds that the log is durable beyond the tail at 48 knows that the
// header is, too: a flush takes along what was released before it began. So an
// opening need not flush the headers of all free places again.
//
// Where the checksum does not match, a crash has cut the writing off (or an
// earlier version wrote it): then it is free, and nothing more is known.
type freeHeader struct {
	place  int
	pool   uint32 // foldTag of the pool's tag
	number uint64
	inc    uint32
	at     uint64 // the tail when it was written; 0: not known
}

const (
	offFreePlace  = 16
	offFreeCRC    = 20
	offFreeInc    = 24
	offFreePool   = 28
	offFreeNumber = 32
	offFreeAt     = 48
)

// formatted is the tail that a header is given which is on the media before any
// record can be, or need not be there: less than any position.
const formatted = 1

func foldTag(tag uint64) uint32 { return uint32(tag>>32) ^ uint32(tag) }

func freeCRC(b []byte) uint32 {
	sum := crc32.Update(crc32.Checksum(b[offFreePlace:offFreeCRC], castagnoli), castagnoli, b[offFreeInc:offNumber2])
	if at := b[offFreeAt : offFreeAt+8]; binary.LittleEndian.Uint64(at) != 0 {
		sum = crc32.Update(sum, castagnoli, at)
	}
	return sum
}

// putFree makes the header that of a free place in which segment number lay. at
// is the log's tail.
func putFree(b []byte, place int, tag, number uint64, inc uint32, at uint64) {
	b = b[:SegmentHeaderBytes]
	binary.LittleEndian.PutUint64(b[offNumber:], 0)
	var w [SegmentHeaderBytes]byte
	binary.LittleEndian.PutUint32(w[offFreePlace:], uint32(place+1))
	binary.LittleEndian.PutUint32(w[offFreeInc:], inc)
	binary.LittleEndian.PutUint32(w[offFreePool:], foldTag(tag))
	binary.LittleEndian.PutUint64(w[offFreeNumber:], number)
	binary.LittleEndian.PutUint64(w[offFreeAt:], at)
	binary.LittleEndian.PutUint32(w[offFreeCRC:], freeCRC(w[:]))
	for i := offFreePlace; i < offNumber2; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], binary.LittleEndian.Uint64(w[i:]))
	}
	binary.LittleEndian.PutUint64(b[offNumber2:], 0)
	binary.LittleEndian.PutUint64(b[offFreeAt:], at)
	binary.LittleEndian.PutUint64(b[offSeal2:], freeMagic)
	binary.LittleEndian.PutUint64(b[offMagic:], freeMagic)
}

// readFree is what the header of a free place says of itself; false if it is
// none that is whole.
func readFree(b []byte) (f freeHeader, ok bool) {
	le := binary.LittleEndian
	f = freeHeader{int(le.Uint32(b[offFreePlace:])) - 1, le.Uint32(b[offFreePool:]), le.Uint64(b[offFreeNumber:]), le.Uint32(b[offFreeInc:]), le.Uint64(b[offFreeAt:])}
	return f, le.Uint64(b[offMagic:]) == freeMagic && le.Uint64(b[offSeal2:]) == freeMagic && le.Uint32(b[offFreeCRC:]) == freeCRC(b) &&
		le.Uint64(b[offNumber:]) == 0 && le.Uint64(b[offNumber2:]) == 0
}

// maybeTorn says whether a crash may have left a header of which no copy
// verifies: each of its words is of a free place or of a segment. Words that are
// neither were not written by anybody.
func maybeTorn(b []byte, place int, tag uint64) bool {
	w := binary.LittleEndian.Uint64(b[offFreePlace:])
	return (w == tag || int(uint32(w)) == place+1) && binary.LittleEndian.Uint64(b[offFreeInc:]) != 0 || plant.Is(plant.DoubtTorn)
}

// unknownNumber in a free header: which segment lay there last is not known, so
// what stands behind it proves nothing.
const unknownNumber = ^uint64(0)

// explains says whether what stands behind the header of a free place follows
// from it: nothing was ever begun there, or the first record is of the segment
// that it names.
func (l *Log) explains(b []byte, f *freeHeader) bool {
	first := b[SegmentHeaderBytes:]
	return f.number == unknownNumber || record.Blank(first) || f.number != 0 && l.begins(first, f.number, f.inc)
}

// begins says whether a record is the first one of a segment.
func (l *Log) begins(first []byte, number uint64, inc uint32) bool {
	var h record.Header
	_, err := step(first, number<<l.shift+SegmentHeaderBytes, inc, &h)
	return err == nil || err == record.ErrShort
}

// overrun says whether the header of a free place may be an old one that came
// back over a segment begun later, and over which. A power loss right after that
// was begun leaves the same.
func (r *recovery) overrun(place int, durable, floor uint64) (number uint64, inc uint32, ok bool) {
	b := r.head(place)
	f, ok := readFree(b)
	if !ok || f.place != place || r.l.explains(b, &f) || plant.Is(plant.DoubtStale) {
		return 0, 0, false
	}
	return r.begunLater(place, f.number, f.inc, durable, floor)
}

// overlaid says the same of the header of a segment. No power loss leaves that
// above the floor: a place is free on the media before a segment is begun there
// (L4). Those below a floor are discarded without waiting for it.
func (r *recovery) overlaid(h *segmentHeader, durable, floor uint64) (number uint64, inc uint32, ok bool) {
	first := r.head(h.place)[SegmentHeaderBytes:]
	if record.Blank(first) || r.l.begins(first, h.number, h.inc) || plant.Is(plant.DoubtOverlaid) {
		return 0, 0, false
	}
	return r.begunLater(h.place, h.number, h.inc, durable, floor)
}

// begunLater says whether the first record at a place is of a segment begun
// later than the one named, and not there otherwise.
func (r *recovery) begunLater(place int, than uint64, life uint32, durable, floor uint64) (number uint64, inc uint32, ok bool) {
	first, top := r.head(place)[SegmentHeaderBytes:], r.top(durable, floor)
	for n := top; n > than && n<<r.l.shift >= floor && top-n < uint64(len(r.l.table)); n-- {
		if r.has(n) || n<<r.l.shift+SegmentHeaderBytes >= durable && plant.Is(plant.DoubtLate) {
			continue
		}
		low, high := r.livesOf(n)
		for inc := max(low, life); inc <= high && inc-low < livesMost; inc++ {
			if r.l.begins(first, n, inc) {
				return n, inc, true
			}
		}
	}
	return 0, 0, false
}

// top is a number above which no segment can have been begun.
func (r *recovery) top(durable, floor uint64) uint64 {
	newest := max(durable>>r.l.shift, floor>>r.l.shift)
	if n := len(r.valid); n > 0 {
		newest = max(newest, r.valid[n-1].number)
	}
	return newest + uint64(len(r.l.segs))
}

// livesMost bounds how many lives are tried for a segment.
const livesMost = 4096

// livesOf are the lives that a segment which is not there may be of: one follows
// the other in the log. It may be the only one of its life.
func (r *recovery) livesOf(number uint64) (low, high uint32) {
	i, _ := slices.BinarySearchFunc(r.valid, number, func(h segmentHeader, n uint64) int { return cmp.Compare(h.number, n) })
	if i > 0 {
		low = r.valid[i-1].inc
	}
	if high = max(low, r.life); i < len(r.valid) {
		high = r.valid[i].inc
	}
	if plant.Is(plant.DoubtLives) && low != high {
		low = high
	}
	return min(low, high), max(low, high)
}

// settle makes the header of a free place one that explains what stands behind
// it. number is the segment that lay there last, 0: not known. What it writes is
// flushed before anything is appended at the tail.
func (l *Log) settle(place int, number uint64, inc uint32, tail uint64) {
	b := l.place(place)
	if f := (freeHeader{number: number, inc: inc}); number == 0 || !l.explains(b, &f) {
		number, inc = unknownNumber, 0
	}
	putFree(b, place, l.tag, number, inc, max(tail, formatted))
}

// settled says whether it is one. b begins with the place's header and the first
// record behind it.
func (l *Log) settled(place int, b []byte) (f freeHeader, ok bool) {
	f, ok = readFree(b)
	return f, ok && f.place == place && f.pool == foldTag(l.tag) && l.explains(b, &f)
}

// gone is the segment whose release was begun, as the rest of its header says.
func (l *Log) gone(place int) (number uint64, inc uint32) {
	var b [SegmentHeaderBytes]byte
	if copy(b[:], l.place(place)); binary.LittleEndian.Uint64(b[offMagic:]) != goneMagic {
		return 0, 0
	}
	binary.LittleEndian.PutUint64(b[offMagic:], segMagic)
	if h := readSegmentHeader(b[:], place, l.tag, l.size); h.state == headerValid {
		return h.number, h.inc
	}
	return 0, 0
}
