package seglog

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

const (
	// A table slot is number<<placeBits | place+1.
	placeBits = 20
	numberMax = 1<<(64-placeBits) - 1

	// PositionMax bounds positions: the index keeps them in units of 16 in 48
	// bits. 4.5 PB of appends; then the pool must be made anew.
	PositionMax = 1 << 52

	// SegmentsMax bounds the segments of one log.
	SegmentsMax = 1<<placeBits - 2

	// SegmentBytesMin is for tests; a pool's segments hold record.BytesMax.
	SegmentBytesMin = 1024
)

// Config sizes a log. A value it cannot use trips an assert in Format and is
// an error in Recover.
type Config struct {
	Arena        []byte // a multiple of SegmentBytes, at least 4 of them
	SegmentBytes int    // a power of two
	PoolTag      uint64 // random per pool; a segment with another one is refused
	Incarnation  uint32 // the life that appends, see SetIncarnation; Recover: the newest that may have appended, 0: not known
	Written      bool   // Recover: every header was written by Format or later; a blank one is damage

	// Heads, for Recover: the first HeadBytes of every segment one after the
	// other, as the arena has them; nil: they are read there, a page each.
	Heads []byte
}

// HeadBytes are a segment's header and that of its first record.
const HeadBytes = SegmentHeaderBytes + record.HeaderBytes

// Range is a part of the arena in bytes.
type Range struct{ Off, Len int }

// Log is the log of one shard. See the package doc for who calls what.
type Log struct {
	arena []byte
	segs  []segment // by place
	lives []life    // by place
	free  []int32   // places ready to be opened; the last given back goes first, it is warm
	shift uint      // log2 of the segment size
	size  int       // segment size
	tag   uint64
	inc   uint32

	written bool    // Config.Written
	mended  []Range // headers written again, to go out with the next flush
	// unflushed, from Recover to ClearReleased: free places whose headers the last
	// life may only have left in a cache, or that are not as they should be.
	unflushed []int32

	open      int    // place of the open segment, -1: none
	off       int    // where the next record goes in the open segment
	next      uint64 // the worker's copy of tail
	number    uint64 // of the next segment to open
	largest   int    // largest record appended so far: what the end of a segment may waste
	pending   int    // segments in state released or cleared
	freed     uint64 // segments freed by collect
	pendingAt uint64 // the lowest releasedAt of them
	byDead    bool   // ByDead

	mask  uint64
	table []atomic.Uint64 // number & mask -> number<<placeBits | place+1; 0: none. Loads in Record pair with stores in openSegment and Release

	_       [64]byte
	tail    atomic.Uint64 // end of the last record. Stored by the worker after the record's bytes, pairs with Tail
	_       [56]byte
	flushed atomic.Uint64 // stored by whoever flushed, pairs with Flushed and the worker's appends
	_       [56]byte
	// What FreeBytes adds up; stored by the worker when a segment is opened or
	// freed, loaded by any goroutine.
	room    atomic.Uint64 // in free segments
	openEnd atomic.Uint64 // position up to which records in the open segment count; 0: none open
	oldest  atomic.Uint64 // start of the oldest live segment; 0: none live. Stored by the worker
	_       [56]byte
}

func newLog(c Config) *Log {
	n := len(c.Arena) / c.SegmentBytes
	slots := 1 << bits.Len(uint(4*n-1))
	l := &Log{
		arena: c.Arena, size: c.SegmentBytes, shift: uint(bits.TrailingZeros(uint(c.SegmentBytes))),
		tag: c.PoolTag, inc: c.Incarnation, written: c.Written, open: -1, number: 1, largest: record.HeaderBytes,
		segs: make([]segment, n), lives: make([]life, n), free: make([]int32, 0, n),
		table: make([]atomic.Uint64, slots), mask: uint64(slots - 1),
	}
	return l
}

func (c *Config) problem() string {
	switch {
	case c.SegmentBytes < SegmentBytesMin || bits.OnesCount(uint(c.SegmentBytes)) != 1:
		return "SegmentBytes is no power of two of at least 1024"
	case c.SegmentBytes > math.MaxUint32:
		return "SegmentBytes above 4 GiB"
	case len(c.Arena)%c.SegmentBytes != 0 || len(c.Arena) < 4*c.SegmentBytes:
		return "the arena is no multiple of SegmentBytes of at least four"
	case len(c.Arena)/c.SegmentBytes > SegmentsMax:
		return "more segments than the table can name"
	}
	return ""
}

// Format makes an empty log of the arena; its tail is 0. The headers of all segments must
// reach the media before the first append counts as durable: flush HeaderRanges.
func Format(c Config) *Log {
	p := c.problem()
	assert(p == "", p)
	l := newLog(c)
	for i := range l.segs {
		putFree(l.place(i), i, l.tag, 0, 0, formatted)
	}
	for i := len(l.segs) - 1; i >= 0; i-- {
		l.free = append(l.free, int32(i))
	}
	l.account()
	return l
}

// SetIncarnation names the life whose appends follow. Precondition: nothing
// was appended since Format, Recover or Discard, as a segment has one
// incarnation (L2).
func (l *Log) SetIncarnation(inc uint32) {
	assert(l.open < 0, "L2: the incarnation changes under an open segment")
	l.inc = inc
}

// Incarnation is the life that appends.
func (l *Log) Incarnation() uint32 { return l.inc }

// SegmentBytes is the size of a segment, header included.
func (l *Log) SegmentBytes() int { return l.size }

// SegmentCount is the number of segments in the arena.
func (l *Log) SegmentCount() int { return len(l.segs) }

func (l *Log) place(i int) []byte {
	from := i << l.shift
	return l.arena[from : from+l.size : from+l.size]
}

// Append writes a record and returns its position. It fills h.Durable, the
// lengths and the body's checksum. Precondition: Fits.
func (l *Log) Append(h *record.Header, key, value []byte) uint64 {
	n := record.Bytes(len(key), len(value))
	dst := l.reserve(n)
	pos := l.next
	if h.Durable = l.flushed.Load(); plant.Is(plant.LogFlushedAhead) {
		h.Durable = pos
	}
	record.Encode(dst, h, key, value, record.Seed(pos, l.inc))
	l.commit(n)
	return pos
}

// AppendCopy writes a record with header h and the body of the image img; see
// record.EncodeCopy. Precondition: Fits.
func (l *Log) AppendCopy(h *record.Header, img []byte) uint64 {
	n := h.Bytes()
	dst := l.reserve(n)
	pos := l.next
	h.Durable = l.flushed.Load()
	record.EncodeCopy(dst, h, img, record.Seed(pos, l.inc))
	l.commit(n)
	return pos
}

// Stage writes what AppendCopy would, behind the tail, for an image in memory
// that a peer may change: the body's checksum is verified on the log's own copy
// (H27), and the caller may look at it too. Commit makes it part of the log;
// without a Commit, Unstage takes it back. On record.ErrBody it is taken back.
// Precondition: Fits.
func (l *Log) Stage(h *record.Header, img []byte) (own []byte, pos uint64, err error) {
	own = l.reserve(h.Bytes())
	pos = l.next
	h.Durable = l.flushed.Load()
	record.EncodeCopy(own, h, img, record.Seed(pos, l.inc))
	if err := record.VerifyBody(own, h); err != nil && !plant.Is(plant.H27Body) {
		l.Unstage(own)
		return nil, 0, err
	}
	return own, pos, nil
}

// Commit ends a Stage that succeeded.
func (l *Log) Commit(own []byte) { l.commit(len(own)) }

// Unstage blanks what was staged, so that a scan ends there after a crash.
func (l *Log) Unstage(own []byte) {
	if !plant.Is(plant.LogUnstage) {
		blank(own)
	}
}

// reserve finds the place of a record of n bytes and blanks the header behind
// it, before the record itself is written: a process crash in between leaves
// the scan a blank to end at.
func (l *Log) reserve(n int) []byte {
	if l.open < 0 || l.off+n > l.size {
		l.openSegment(n)
	}
	if n > l.largest {
		l.largest = n
		l.account()
	}
	at := l.open<<l.shift + l.off
	if behind := l.off + n; behind+record.HeaderBytes <= l.size {
		blank(l.arena[at+n : at+n+record.HeaderBytes])
	}
	return l.arena[at : at+n : at+n]
}

func blank(b []byte) {
	b = b[:record.HeaderBytes]
	for i := 0; i < record.HeaderBytes; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], 0)
	}
}

// commit makes the reserved n bytes part of the log.
func (l *Log) commit(n int) {
	l.off += n
	l.segs[l.open].live += n
	l.setTail(l.next + uint64(n))
}

func (l *Log) setTail(pos uint64) {
	assert(pos >= l.next, "L1: the tail steps back")
	l.next = pos
	publish(&l.tail, pos)
}

// openSegment seals the open segment and opens a free one for a record of n
// bytes.
//
//go:noinline
func (l *Log) openSegment(n int) {
	assert(n <= l.size-SegmentHeaderBytes, "record longer than a segment")
	if len(l.free) == 0 {
		l.collect()
	}
	assert(len(l.free) > 0 && l.slotFree(), "append to a full log; ask Fits first")
	l.seal()
	i := int(l.free[len(l.free)-1])
	l.free = l.free[:len(l.free)-1]
	number := l.number
	l.number++
	b := l.place(i)
	blank(b[SegmentHeaderBytes:])
	putSegmentHeader(b, number, l.tag, l.inc)
	l.segs[i] = segment{state: segOpen, inc: l.inc, number: number, counted: l.size}
	l.lives[i].set(l.inc, 0)
	l.open, l.off = i, SegmentHeaderBytes
	l.table[number&l.mask].Store(number<<placeBits | uint64(i+1))
	if l.oldest.Load() == 0 {
		l.oldest.Store(number << l.shift)
	}
	l.setTail(number<<l.shift + SegmentHeaderBytes)
	l.account()
}

// seal closes the open segment, if any: from here on its end is known.
func (l *Log) seal() {
	if l.open < 0 {
		return
	}
	s := &l.segs[l.open]
	s.state, s.end = segSealed, l.off
	putSeal(l.place(l.open), s.number, s.inc, s.end)
	l.lives[l.open].end.Store(uint32(l.off)) // pairs with the load in HeaderWhole
	l.open = -1
}

// slotFree says whether the table has room for the next number. It lacks it
// only when a segment four laps old is still live.
func (l *Log) slotFree() bool {
	return l.number < PositionMax>>l.shift && l.table[l.number&l.mask].Load() == 0
}

// Tail is the end of the last record. Any goroutine; the load pairs with the
// worker's store after the record's bytes, so everything below may be read.
func (l *Log) Tail() uint64 { return l.tail.Load() }

// Flushed is what SetFlushed was last told. Any goroutine.
func (l *Log) Flushed() uint64 { return l.flushed.Load() }

// SetFlushed says that the log is durable below pos, which was the tail (or
// less) when Ranges was asked. A lower position than before is ignored.
func (l *Log) SetFlushed(pos uint64) {
	assert(pos <= l.tail.Load(), "L5: flushed beyond the tail")
	for {
		was := l.flushed.Load()
		if pos <= was || l.flushed.CompareAndSwap(was, pos) {
			return
		}
	}
}

// lookup is the place of the segment that holds pos, -1 if it is not live.
func (l *Log) lookup(pos uint64) int {
	number := pos >> l.shift
	e := l.table[number&l.mask].Load()
	if e>>placeBits != number {
		return -1
	}
	return int(e&(1<<placeBits-1)) - 1
}

// Record is the image at pos and what follows it in its segment; nil if the
// segment is not live. Precondition: pos was returned by an append.
func (l *Log) Record(pos uint64) []byte {
	i := l.lookup(pos)
	if i < 0 {
		return nil
	}
	at := i<<l.shift + int(pos)&(l.size-1)
	end := (i + 1) << l.shift
	return l.arena[at:end:end]
}

// ArenaOffset is where pos lies in the arena; false if its segment is not live.
func (l *Log) ArenaOffset(pos uint64) (int64, bool) {
	i := l.lookup(pos)
	if i < 0 {
		return 0, false
	}
	return int64(i)<<l.shift + int64(pos)&int64(l.size-1), true
}

// IncarnationOf is the life that wrote the segment of pos, which the seed of
// the records there needs; false if the segment is not live.
func (l *Log) IncarnationOf(pos uint64) (uint32, bool) {
	i := l.lookup(pos)
	if i < 0 {
		return 0, false
	}
	return l.lives[i].inc.Load(), true
}

// RecordLife is Record and IncarnationOf with one look at the table. img is nil
// if the segment is not live.
func (l *Log) RecordLife(pos uint64) (img []byte, inc uint32) {
	i := l.lookup(pos)
	if i < 0 {
		return nil, 0
	}
	at := i<<l.shift + int(pos)&(l.size-1)
	end := (i + 1) << l.shift
	return l.arena[at:end:end], l.lives[i].inc.Load()
}

// life is what readers must know of the segment at a place. It stands here and
// not only in the segment's header, which a medium may damage under them. The
// worker stores it before the table names the segment, and before the tail
// leaves it.
type life struct {
	inc atomic.Uint32
	end atomic.Uint32 // offset where the last record ends; 0: it is open
	// retired: nothing leads there any more. A reader that found its way by the
	// table, not by the index, and sees this after its announcement, keeps off:
	// who frees the segment does not wait for it.
	retired atomic.Bool
}

func (x *life) set(inc uint32, end int) {
	x.inc.Store(inc)
	x.end.Store(uint32(end))
	x.retired.Store(false)
}

// Oldest is the start of the oldest live segment, the tail if there is none.
// No live record lies below it.
func (l *Log) Oldest() uint64 {
	if o := l.oldest.Load(); o != 0 {
		return o
	}
	return l.tail.Load()
}
