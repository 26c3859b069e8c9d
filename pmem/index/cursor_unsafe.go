package index

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Cursor walks the words that may belong to one hash. It is a value of the
// caller's, made by Seek; it holds no lock. After an Insert by the same
// goroutine it must be sought again (Reload).
//
// A reader's loop: Seek; while Next, look at the record at Word().Pos(), copy
// what is needed if the key is equal, and answer if Valid; after the last word
// the key is missing if SameDirectory. Otherwise seek again.
type Cursor struct {
	depthAt *uint64
	entryAt *uint64
	bucket  unsafe.Pointer // of the current eight words
	page    unsafe.Pointer
	slot    *uint64 // of the current word
	word    uint64
	hash    uint64
	depth   uint64
	entry   uint64
	match   uint32 // words of the bucket with an equal tag, not yet taken
	left    uint32 // buckets behind this one that may hold words of this hash
}

// Seek starts a lookup. Any goroutine.
//
// It loads three cache lines: depth (rarely written, shared by all), the
// directory entry, the bucket.
func (x *Index) Seek(c *Cursor, hash uint64) {
	depth := atomic.LoadUint64(x.depthAt)
	at := (*uint64)(unsafe.Add(x.mem.base, headerBytes+(1<<(depth&63)+hash>>((64-depth)&63))*8))
	c.depthAt = x.depthAt
	c.depth = depth
	c.entryAt = at
	c.entry = atomic.LoadUint64(at)
	c.start(unsafe.Add(x.mem.pages, uintptr(uint32(c.entry))<<pageShift), hash)
}

// Seek starts a lookup among the keys of the part. Its goroutine only.
func (p *Part) Seek(c *Cursor, hash uint64) {
	p.checkHash(hash)
	c.depthAt = &p.depth
	c.depth = p.depth
	c.entryAt = &p.dir[p.index(hash)]
	c.entry = *c.entryAt
	c.start(unsafe.Add(p.b.x.mem.pages, uintptr(uint32(c.entry))<<pageShift), hash)
}

func (c *Cursor) start(page unsafe.Pointer, hash uint64) {
	c.hash = hash
	c.page = page
	c.bucket = unsafe.Add(page, hash>>bucketShift%pageBuckets*bucketBytes)
	c.left = pageBuckets
	c.slot = nil
	c.scan()
}

// scan loads the eight words of the bucket. All are in one cache line, so it is
// quicker to compare them without a branch than to stop early.
//
// It loads in slot order: an insert fills the first empty slot, so a word that
// was there before the empty slot was loaded has been seen (X2).
func (c *Cursor) scan() {
	tag := c.hash << tagShift
	b := (*[bucketWords]uint64)(c.bucket)
	var match, empty uint64
	for i := range bucketWords {
		w := atomic.LoadUint64(&b[i])
		// x-1 borrows into bit 63 only if x is 0: x is a tag difference of
		// 15 bits or a reference of 48.
		match |= ((w^tag)>>(refBits+1) - 1) >> 63 << i
		empty |= (w&refMask - 1) >> 63
	}
	c.match = uint32(match)
	c.left--
	if empty != 0 {
		c.left = 0
	}
}

// Next moves to the next word with an equal tag and reports whether there is
// one. Most of them belong to the key; about one in 30 000 does not.
func (c *Cursor) Next() bool {
	return c.match|c.left != 0 && c.next()
}

func (c *Cursor) next() bool {
	for {
		for c.match != 0 {
			slot := (*uint64)(unsafe.Add(c.bucket, bits.TrailingZeros32(c.match)*8))
			c.match &= c.match - 1
			w := atomic.LoadUint64(slot)
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
		next := uintptr(c.bucket) - uintptr(c.page) + bucketBytes
		c.bucket = unsafe.Add(c.page, next%pageBytes)
		c.scan()
	}
}

// Word returns the current word as Next loaded it.
func (c *Cursor) Word() Word { return Word(c.word) }

// Valid reports that the word is still the one Next loaded and still in the
// directory: what was read from its record is the key's state at this moment.
func (c *Cursor) Valid() bool {
	return atomic.LoadUint64(c.slot) == c.word && c.SameDirectory()
}

// SameDirectory reports that the page has not been split since Seek. A miss
// counts only then.
func (c *Cursor) SameDirectory() bool {
	return atomic.LoadUint64(c.entryAt) == c.entry && atomic.LoadUint64(c.depthAt) == c.depth
}

// slotIn returns the number of the current word in its page.
func (c *Cursor) slotIn() int {
	return int((uintptr(unsafe.Pointer(c.slot)) - uintptr(c.page)) / 8)
}
