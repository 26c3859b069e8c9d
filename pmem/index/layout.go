package index

import (
	"errors"
	"fmt"
	"math/bits"
)

var (
	// ErrTag says that the memory holds the index of another pool or log.
	ErrTag = errors.New("index: tag of another pool; rebuild from the log")
	// ErrDamaged says that the memory holds no usable index.
	ErrDamaged = errors.New("index: damaged or never finished; rebuild from the log")
	// ErrFull says that no memory is left for another key.
	ErrFull = errors.New("index: full; make the index larger (keys at most, see Bytes)")
	// ErrSize says that the given memory cannot hold an index.
	ErrSize = errors.New("index: memory too small or not aligned to 64 bytes; use Bytes")
)

const (
	magic         = 0x3178_6469_6c61_6568 // "healidx1"
	layoutVersion = 2

	bucketWords = 8
	pageBuckets = 256
	pageWords   = bucketWords * pageBuckets
	bucketBytes = bucketWords * 8
	pageBytes   = pageWords * 8
	pageShift   = 14

	splitAt   = pageWords * 3 / 4 // occupied words that make a page split
	fillMax   = pageWords - 64    // occupied words when no split is possible: a miss still meets an empty word
	probeMax  = 16                // buckets; a longer probe splits a page that is half as full as splitAt
	rewriteAt = splitAt * 5 / 8   // live words below which a page is written anew instead of split
	keysLow   = splitAt/2 - 64    // keys per page just after all pages have split
	pagesFree = 32                // pages beyond that: retired ones that wait for readers
	depthMin  = 1                 // so that 64-depth is a shift below 64
	ensureBy  = 1 << 20           // bytes backed at a time
	levelStep = 512               // entries of the next directory level built per split
)

const (
	_ = uint(1<<pageShift - pageBytes)
	_ = uint(pageBytes - 1<<pageShift)
	_ = uint(fillMax - splitAt)
)

// Offsets in the header, in bytes. What readers load, what every insert writes
// and what splits write lie on lines of their own.
const (
	headMagic  = 0 // written last
	headTag    = 8
	headLayout = 16 // version | page bytes << 32
	headBytes  = 24 // bytes of memory
	headDepths = 32 // deepest level there is room for
	headPages  = 40 // pages there is room for
	headSum    = 48 // mix of the words above

	headDepth = 64 // the level in use: the only header word a lookup loads

	headLen  = 128
	headPend = 136 // the change of a word under way, 0 = none
	headWas  = 144 // the word before that change
	headTop  = 152 // highest reference any word was ever given

	headSeal   = 192 // mix of depth and the five words below, 0 = no switch under way
	headStart  = 200 // first entry of the block
	headOld    = 208 // entry before
	headLow    = 216 // entry of the lower half of the block
	headHigh   = 224 // entry of the upper half
	headNewSum = 232 // headDirSum after
	headDirSum = 240 // sum of blockSum over the blocks of the directory

	headMarks = 256

	headerBytes = 4096
)

// Marks is the number of persistent words for the caller, see SetMark.
const Marks = 8

// A pend word: bit 63 set, bit 62 = the slot gets live (insert) or dead (erase),
// bit 61 = it is live before and after (store), bits 60..24 slot, bits 23..0 low
// bits of the length when done.
const (
	pendSet    = 1 << 63
	pendInsert = 1 << 62
	pendStore  = 1 << 61
	pendShift  = 24
	pendLen    = 1<<pendShift - 1
)

// The slot of the last page fits below the flags.
const _ = uint(61 - pendShift - depthLimit - 11)

// entry of the directory: generation (26 bits), local depth (6), unsure (1),
// page (31). Unsure: nobody has looked at the page since Open; see Warm.
type entry uint64

const (
	localShift = 32
	genShift   = 38
	unsureBit  = 1 << 31
	pageMask   = unsureBit - 1
)

const _ = uint(31 - depthLimit)

func makeEntry(gen uint64, local int, page uint32) entry {
	return entry(gen<<genShift | uint64(local)<<localShift | uint64(page))
}

func (e entry) page() uint32 { return uint32(e) & pageMask }
func (e entry) unsure() bool { return e&unsureBit != 0 }
func (e entry) sure() entry  { return e &^ unsureBit }
func (e entry) local() int   { return int(e >> localShift & (1<<(genShift-localShift) - 1)) }
func (e entry) gen() uint64  { return uint64(e >> genShift) }

// blockSum is a block's part in the directory's checksum. Doubling does not
// change it: it knows the block by the hash its first entry stands for.
func blockSum(depth, start int, e entry) uint64 {
	return mix(uint64(start)<<(64-depth), uint64(e.sure()))
}

// geometry is what follows from the size of the memory.
type geometry struct {
	bytes    int
	depthMax int
	pagesMax int
	pagesOff int // of page 0
}

// Bytes returns the size of the memory to reserve for an index of maxKeys keys.
// Extendible hashing over pages of equal size fills them together, so right
// after all have split they are half as full as a split leaves them: the size
// is for that moment. Only what is used is backed (see Create).
func Bytes(maxKeys uint64) int {
	pages := maxKeys/keysLow + 1
	pages += pages/16 + pagesFree
	n := int(min(pages, 1<<depthLimit))
	return pagesOffset(depthFor(n)) + n*pageBytes
}

func depthFor(pages int) int {
	return min(depthLimit, max(4, bits.Len(uint(pages-1))+1))
}

// pagesOffset: behind the header and the directory's levels lie the sums of the
// pages, one word each (a page has at least one directory entry at depthMax).
func pagesOffset(depthMax int) int {
	const align = pageBytes
	return (sumsOffset(depthMax) + 8<<depthMax + align - 1) &^ (align - 1)
}

func sumsOffset(depthMax int) int { return headerBytes + 8<<(depthMax+1) }

// geometryOf takes the deepest directory that leaves pages for half its entries.
func geometryOf(bytes int) (geometry, error) {
	for depth := 4; depth <= depthLimit; depth++ {
		off := pagesOffset(depth)
		pages := (bytes - off) / pageBytes
		if bytes < off || pages < 4 {
			break
		}
		if depth == depthLimit || depthFor(pages) <= depth {
			pages = min(pages, 1<<depthLimit)
			return geometry{bytes, depth, pages, off}, nil
		}
	}
	return geometry{}, fmt.Errorf("%w: %d bytes given, at least %d needed", ErrSize, bytes, Bytes(1))
}

// mix is for telling apart whole from half-written header words.
func mix(words ...uint64) uint64 {
	h := uint64(0x9e37_79b9_7f4a_7c15)
	for _, w := range words {
		h = (h ^ w) * 0xbf58_476d_1ce4_e5b9
		h ^= h >> 31
		h = (h ^ h>>27) * 0x94d0_49bb_1331_11eb
		h ^= h >> 29
	}
	return h | 1
}
