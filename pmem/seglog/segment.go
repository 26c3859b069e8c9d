package seglog

import (
	"encoding/binary"
	"hash/crc32"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// The header of a segment: 64 bytes at its start, little endian. Everything
// stands twice, each copy under its own checksum, so one flipped bit is
// repaired at the next Recover instead of costing the segment.
//
//	 0 u64 magic | 8 u64 number | 16 u64 pool tag | 24 u32 incarnation
//	28 u32 CRC-32C over [0,28)
//	32 u64 seal
//	40 u64 number | 48 u32 incarnation | 52 u32 CRC-32C as at 28
//	56 u64 seal
//
// Seal: end of the last record in the segment, in units of 16, in the low half
// and a CRC-32C over number, incarnation and end in the high half. It is one
// word because one word is never torn. Another magic means free, whatever else
// stands there. A header that is all zero was never written by anybody: it is
// damage, where it is asked for (Config.Written).
const (
	// SegmentHeaderBytes stand before a segment's first record.
	SegmentHeaderBytes = 64

	segMagic  = 0x3147_4553_4c41_4548 // "HEALSEG1"
	goneMagic = 0x4547_4553_4c41_4548 // "HEALSEGE": given back, the rest to be written
	freeMagic = 0x4647_4553_4c41_4548 // "HEALSEGF": free, and twice, see putFree

	offMagic   = 0
	offNumber  = 8
	offTag     = 16
	offInc     = 24
	offCRC     = 28
	offSeal    = 32
	offNumber2 = 40
	offInc2    = 48
	offCRC2    = 52
	offSeal2   = 56
)

type segState uint8

const (
	segFree     segState = iota
	segOpen              // the one segment appended to
	segSealed            // full, its records may be referred to
	segRetired           // examined: nothing refers to its records any more
	segReleased          // magic zeroed, not yet flushed
	segCleared           // the rest of the header zeroed, not yet flushed
)

// segment is what the worker knows of one place in the arena.
type segment struct {
	state      segState
	inc        uint32
	number     uint64 // 0: none
	was        uint64 // released, cleared: the number it had
	end        int    // offset where the last record ends; the open segment's is kept in Log.off
	live       int    // bytes of records not reported dead
	counted    int    // dead reports at or above this offset are ignored: the count has not come there yet
	releasedAt uint64 // the tail when it became released or cleared
	notBefore  uint64 // Postpone: no victim until the tail has reached this
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// putSegmentHeader writes the header of a new segment, magic last: until then
// the place counts as free. The place's old header was zeroed and flushed
// (L4), so a header torn here holds this number or zero, never an older one.
func putSegmentHeader(b []byte, number, tag uint64, inc uint32) {
	b = b[:SegmentHeaderBytes]
	crc := segmentCRC(number, tag, inc)
	binary.LittleEndian.PutUint64(b[offNumber:], number)
	binary.LittleEndian.PutUint64(b[offTag:], tag)
	binary.LittleEndian.PutUint32(b[offInc:], inc)
	binary.LittleEndian.PutUint64(b[offSeal:], 0)
	binary.LittleEndian.PutUint32(b[offCRC:], crc)
	if plant.Is(plant.LogOneCopy) {
		number = 0
	}
	binary.LittleEndian.PutUint64(b[offNumber2:], number)
	binary.LittleEndian.PutUint32(b[offInc2:], inc)
	binary.LittleEndian.PutUint32(b[offCRC2:], crc)
	binary.LittleEndian.PutUint64(b[offSeal2:], 0)
	binary.LittleEndian.PutUint64(b[offMagic:], segMagic)
}

func segmentCRC(number, tag uint64, inc uint32) uint32 {
	var b [offCRC]byte
	binary.LittleEndian.PutUint64(b[offMagic:], segMagic)
	binary.LittleEndian.PutUint64(b[offNumber:], number)
	binary.LittleEndian.PutUint64(b[offTag:], tag)
	binary.LittleEndian.PutUint32(b[offInc:], inc)
	return crc32.Checksum(b[:], castagnoli)
}

// freeSegmentHeader makes the place count as free, in one store.
func freeSegmentHeader(b []byte) { binary.LittleEndian.PutUint64(b[offMagic:], goneMagic) }

func sealWord(number uint64, inc uint32, end int) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], number)
	binary.LittleEndian.PutUint32(b[8:], inc)
	binary.LittleEndian.PutUint32(b[12:], uint32(end/16))
	return uint64(crc32.Checksum(b[:], castagnoli))<<32 | uint64(end/16)
}

func putSeal(b []byte, number uint64, inc uint32, end int) {
	w := sealWord(number, inc, end)
	binary.LittleEndian.PutUint64(b[offSeal:], w)
	binary.LittleEndian.PutUint64(b[offSeal2:], w)
}

// readSeal is the segment's end by either copy of the seal; 0 if it has none
// that verifies.
func readSeal(b []byte, number uint64, inc uint32, segmentBytes int) int {
	for _, off := range [...]int{offSeal, offSeal2} {
		seal := binary.LittleEndian.Uint64(b[off:])
		end := int(uint32(seal)) * 16
		if seal != 0 && end >= SegmentHeaderBytes && end <= segmentBytes && (sealWord(number, inc, end) == seal || plant.Is(plant.LogSealUnchecked)) {
			return end
		}
	}
	return 0
}

// repairSegmentHeader writes what the header should be. Each word changes at
// most once, to its final value, so a crash in between loses nothing.
func repairSegmentHeader(b []byte, number, tag uint64, inc uint32, end int) {
	crc := segmentCRC(number, tag, inc)
	putSeal(b, number, inc, end)
	binary.LittleEndian.PutUint64(b[offNumber:], number)
	binary.LittleEndian.PutUint64(b[offTag:], tag)
	binary.LittleEndian.PutUint32(b[offInc:], inc)
	binary.LittleEndian.PutUint32(b[offCRC:], crc)
	binary.LittleEndian.PutUint64(b[offNumber2:], number)
	binary.LittleEndian.PutUint32(b[offInc2:], inc)
	binary.LittleEndian.PutUint32(b[offCRC2:], crc)
	binary.LittleEndian.PutUint64(b[offMagic:], segMagic)
}

// headerState is what a segment header turned out to be.
type headerState uint8

const (
	headerFree  headerState = iota // never used, or given back
	headerValid                    // one copy verifies
	headerBad                      // neither; numbers are what they claim to be
	headerAlien                    // verifies, but under another pool's tag
	headerBlank                    // all zero, or a magic of zero over a number: nobody writes that
	headerStray                    // of a free place, but not of this one
)

type segmentHeader struct {
	state  headerState
	place  int
	number uint64
	claim2 uint64 // bad: the second copy's number
	inc    uint32
	end    int  // by the seal; 0: none
	torn   bool // bad: a crash may have left it so
	whole  bool // valid: both copies and seals agree, nothing to repair
}

func readSegmentHeader(b []byte, place int, tag uint64, segmentBytes int) (h segmentHeader) {
	h.place = place
	switch binary.LittleEndian.Uint64(b[offMagic:]) {
	case goneMagic, freeMagic:
		if f, ok := readFree(b); ok && (f.place != place || f.pool != foldTag(tag)) && !plant.Is(plant.DoubtStray) {
			h.state = headerStray
		}
		return h
	case 0:
		if record.Blank(b) {
			h.state = headerBlank
			return h
		}
	}
	one := segmentHeader{number: binary.LittleEndian.Uint64(b[offNumber:]), inc: binary.LittleEndian.Uint32(b[offInc:])}
	two := segmentHeader{number: binary.LittleEndian.Uint64(b[offNumber2:]), inc: binary.LittleEndian.Uint32(b[offInc2:])}
	itsTag := binary.LittleEndian.Uint64(b[offTag:])
	// The second copy carries no tag of its own: it verifies only under ours.
	magic := binary.LittleEndian.Uint64(b[offMagic:]) == segMagic
	ok1 := magic && one.number != 0 && segmentCRC(one.number, itsTag, one.inc) == binary.LittleEndian.Uint32(b[offCRC:])
	ok2 := two.number != 0 && segmentCRC(two.number, tag, two.inc) == binary.LittleEndian.Uint32(b[offCRC2:])
	switch {
	case ok1 && itsTag != tag && !ok2:
		h = one
		h.state, h.place = headerAlien, place
		return h
	case ok1 && itsTag == tag:
		h = one
	case ok2:
		h = two
	case binary.LittleEndian.Uint64(b[offSeal2:]) == freeMagic:
		return h // of a free one, and its magic was hit
	default:
		h = one
		h.state, h.place, h.claim2, h.torn = headerBad, place, two.number, maybeTorn(b, place, tag)
		return h
	}
	h.state, h.place = headerValid, place
	h.end = readSeal(b, h.number, h.inc, segmentBytes)
	seal := uint64(0)
	if h.end != 0 {
		seal = sealWord(h.number, h.inc, h.end)
	}
	h.whole = ok1 && ok2 && itsTag == tag && one.number == two.number && one.inc == two.inc &&
		binary.LittleEndian.Uint64(b[offSeal:]) == seal && binary.LittleEndian.Uint64(b[offSeal2:]) == seal
	return h
}
