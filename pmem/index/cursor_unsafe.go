package index

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"healkv/dataplane/plant"
)

// Cursor walks the words that may belong to one hash. It is a value of the
// caller's, made by Seek; it holds no lock. After an Insert by the same
// goroutine it must be sought again (Reload).
//
// A reader's loop: Seek; while Next, look at the record at Word().Pos(), copy
// what is needed if the key is equal, and answer if Valid; after the last word
// the key is missing if SameDirectory. Otherwise seek again.
type Cursor struct {
	// base is of the index's memory, and the only pointer: a cursor in a heap
	// object costs one write barrier, not five.
	base     unsafe.Pointer
	entryOff uintptr
	page     uintptr // offset of the page
	bucket   uintptr // offset of the current eight words in the page
	slot     uintptr // offset of the current word in the page
	word     uint64
	hash     uint64
	depth    uint64
	entry    uint64
	match    uint32 // words of the bucket with an equal tag, not yet taken: bits 16..23
	left     uint32 // buckets behind this one that may hold words of this hash
}

// Seek starts a lookup. Any goroutine.
//
// It loads three cache lines: depth (rarely written, shared by all), the
// directory entry, the bucket. If the cursor is Unsure there is no word to go on to.
func (x *Index) Seek(c *Cursor, hash uint64) {
	base := x.mem.base
	depth := atomic.LoadUint64((*uint64)(unsafe.Add(base, headDepth)))
	off := headerBytes + (1<<(depth&63)+hash>>((64-depth)&63))*8
	entry := atomic.LoadUint64((*uint64)(unsafe.Add(base, off)))
	c.base = base
	c.depth = depth
	c.entryOff = uintptr(off)
	c.entry = entry
	c.hash = hash
	c.page = x.mem.pagesOff + uintptr(uint32(entry)&pageMask)<<pageShift
	c.bucket = uintptr(hash >> bucketShift % pageBuckets * bucketBytes)
	c.slot = c.bucket // a place in the page, should somebody ask before Next
	if entry&unsureBit != 0 {
		c.match, c.left = 0, 0
		return
	}
	c.left = pageBuckets
	c.scan()
}

// Unsure reports that the page has not been verified since Open: nothing is
// known about the hash, the worker has to look (Own). After Seek only.
func (c *Cursor) Unsure() bool { return c.entry&unsureBit != 0 }

// Seek starts a lookup among the keys of the part. Its goroutine only.
//
// The directory of a part is not in the memory: the cursor watches the header
// words that no part changes, and is always valid.
func (p *Part) Seek(c *Cursor, hash uint64) {
	p.checkHash(hash)
	m := &p.b.x.mem
	c.base = m.base
	c.depth = m.get(headDepth)
	c.entryOff = headTag
	c.entry = m.get(headTag)
	c.hash = hash
	c.page = m.pagesOff + uintptr(entry(p.dir[p.index(hash)]).page())<<pageShift
	c.bucket = uintptr(hash >> bucketShift % pageBuckets * bucketBytes)
	c.slot = c.bucket // a place in the page, should somebody ask before Next
	c.left = pageBuckets
	c.scan()
}

// scan loads the eight words of the bucket. All are in one cache line, so it is
// quicker to compare them without a branch than to stop early.
//
// It loads in slot order: an insert fills the first empty slot, so a word that
// was there before the empty slot was loaded has been seen (X2).
func (c *Cursor) scan() {
	tag := c.hash << tagShift
	b := (*[bucketWords]uint64)(unsafe.Add(c.base, c.page+c.bucket))
	var match, empty uint64

	w := atomic.LoadUint64(&b[0])
	match |= equalTag(w, tag) & (1 << 16)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[1])
	match |= equalTag(w, tag) & (1 << 17)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[2])
	match |= equalTag(w, tag) & (1 << 18)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[3])
	match |= equalTag(w, tag) & (1 << 19)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[4])
	match |= equalTag(w, tag) & (1 << 20)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[5])
	match |= equalTag(w, tag) & (1 << 21)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[6])
	match |= equalTag(w, tag) & (1 << 22)
	empty |= w&refMask - 1
	w = atomic.LoadUint64(&b[7])
	match |= equalTag(w, tag) & (1 << 23)
	empty |= w&refMask - 1

	c.match = uint32(match)
	c.left--
	if empty>>63 != 0 { // x-1 reaches bit 63 only from a reference of 0
		c.left = 0
	}
}

// equalTag has all bits from 16 up set if the tags are equal, none otherwise:
// the difference is a number of 15 bits, and only 0 borrows from above.
func equalTag(w, tag uint64) uint64 { return (w^tag)>>(refBits+1) - 1 }

// Next moves to the next word with an equal tag and reports whether there is
// one. Most of them belong to the key; about one in 30 000 does not.
func (c *Cursor) Next() bool {
	return c.match|c.left != 0 && c.next()
}

func (c *Cursor) next() bool {
	for {
		for c.match != 0 {
			slot := c.bucket + uintptr(bits.TrailingZeros32(c.match)-16)*8
			c.match &= c.match - 1
			w := atomic.LoadUint64((*uint64)(unsafe.Add(c.base, c.page+slot)))
			// The slot may be empty (tag 0), erased, or since then another's.
			if live(w) && (w^c.hash<<tagShift)&tagMask == 0 {
				c.slot = slot
				c.word = w
				return true
			}
		}
		if c.left == 0 {
			return false
		}
		c.bucket = (c.bucket + bucketBytes) % pageBytes
		c.scan()
	}
}

// Word returns the current word as Next loaded it.
func (c *Cursor) Word() Word { return Word(c.word) }

// Valid reports that the word is still the one Next loaded and still in the
// directory: what was read from its record is the key's state at this moment.
func (c *Cursor) Valid() bool {
	return atomic.LoadUint64(c.at()) == c.word && (plant.Is(plant.IndexStale) || c.SameDirectory())
}

// SameDirectory reports that the page has not been split since Seek. A miss
// counts only then.
func (c *Cursor) SameDirectory() bool {
	return atomic.LoadUint64((*uint64)(unsafe.Add(c.base, c.entryOff))) == c.entry &&
		atomic.LoadUint64((*uint64)(unsafe.Add(c.base, headDepth))) == c.depth
}

func (c *Cursor) at() *uint64 { return (*uint64)(unsafe.Add(c.base, c.page+c.slot)) }

// slotIn returns the number of the current word in its page.
func (c *Cursor) slotIn() int { return int(c.slot / 8) }
