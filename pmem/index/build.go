package index

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// Builder makes a new index with several goroutines at once, each for its own
// range of hashes (opening a pool rebuilds from the log this way). Nobody can
// look at the index before Finish, and Open refuses the memory until then.
type Builder struct {
	x      *Index
	bits   int
	parts  []Part
	next   atomic.Uint32
	backed atomic.Int64
}

// Part is one range of hashes: those whose top bits equal its number. One
// goroutine at a time; different parts need no coordination.
type Part struct {
	b      *Builder
	number int
	depth  uint64 // below the bits that choose the part
	dir    []uint64
	free   []uint32
	length uint64
	top    uint64 // highest reference
	cause  error
	work   *splitter // made at the first split
	_      [64]byte
}

// PartsMax is the highest number of parts.
const PartsMax = 256

// Build starts an index in mem with the given number of parts, a power of two
// up to PartsMax. Parts call ensure from their goroutines, with growing sizes
// but at times concurrently; otherwise as for Create.
func Build(mem []byte, ensure func(bytes int) error, tag uint64, parts int) (*Builder, error) {
	if parts < 1 || parts > PartsMax || parts&(parts-1) != 0 {
		return nil, fmt.Errorf("%w: %d parts, want a power of two up to %d", ErrSize, parts, PartsMax)
	}
	x, err := newIndex(mem, ensure, tag)
	if err != nil {
		return nil, err
	}
	b := &Builder{x: x, bits: bits.Len(uint(parts)) - 1, parts: make([]Part, parts)}
	if b.bits+depthMin > x.geo.depthMax || 2*parts > x.geo.pagesMax {
		return nil, fmt.Errorf("%w: %d parts need %d pages, room for %d", ErrSize, parts, 2*parts, x.geo.pagesMax)
	}
	end := x.geo.pagesOff + 2*parts*pageBytes
	if err := x.back(end); err != nil {
		return nil, err
	}
	b.backed.Store(int64(x.backed))
	x.unpublish()
	x.clear() // marks and header words; its two pages are parts' pages below
	b.next.Store(uint32(2 * parts))
	for i := range b.parts {
		p := &b.parts[i]
		p.b, p.number, p.depth = b, i, depthMin
		for half := range uint32(2) {
			n := uint32(2*i) + half
			clear(x.mem.page(n)[:])
			x.counts[n] = 0
			p.dir = append(p.dir, uint64(makeEntry(0, b.bits+depthMin, n)))
		}
	}
	return b, nil
}

// Parts returns the number of parts.
func (b *Builder) Parts() int { return len(b.parts) }

// PartOf returns the number of the part a hash belongs to.
func (b *Builder) PartOf(hash uint64) int { return int(hash >> (64 - b.bits)) }

// Part returns one part.
func (b *Builder) Part(i int) *Part { return &b.parts[i] }

func (p *Part) checkHash(hash uint64) {
	assert(p.b.x != nil && int(hash>>(64-p.b.bits)) == p.number, xPart)
}

func (p *Part) index(hash uint64) uint64 { return hash << p.b.bits >> (64 - p.depth) }

// Len returns the number of words in the part.
func (p *Part) Len() uint64 { return p.length }

// Store replaces the cursor's word, as (*Index).Store does.
func (p *Part) Store(c *Cursor, w Word) {
	assert((uint64(w)^c.word)&tagMask == 0 && live(uint64(w)), x1)
	p.top = max(p.top, uint64(w)&refMask)
	c.word = uint64(w)
	storeWord(c.at(), uint64(w))
}

// Erase removes the cursor's word.
func (p *Part) Erase(c *Cursor) {
	assert(live(c.word), x1)
	c.word = deadWord
	storeWord(c.at(), deadWord)
	p.length--
}

// Insert adds a word, as (*Index).Insert does; hashOf is called by the part's
// goroutine.
func (p *Part) Insert(hash uint64, w Word, hashOf func(pos uint64) uint64) error {
	assert(MakeWord(hash, w.Pos(), w.Locked()) == w && live(uint64(w)), x1)
	p.checkHash(hash)
	x := p.b.x
	for {
		e := entry(p.dir[p.index(hash)])
		n := int(x.counts[e.page()])
		if n >= splitAt && p.split(hash, e, n, hashOf) {
			continue
		}
		pg := x.mem.page(e.page())
		slot, probes := pg.place(hash)
		if probes > probeMax && n >= splitAt/2 && p.split(hash, e, 0, hashOf) {
			continue
		}
		if slot < 0 || n >= fillMax {
			return p.errFull()
		}
		if pg[slot] == 0 {
			x.counts[e.page()]++
		}
		p.top = max(p.top, uint64(w)&refMask)
		storeWord(&pg[slot], uint64(w))
		p.length++
		return nil
	}
}

func (p *Part) errFull() error {
	err := fmt.Errorf("%w: %d keys in part %d of %d, room for %d pages",
		ErrFull, p.length, p.number, len(p.b.parts), p.b.x.geo.pagesMax)
	if p.cause != nil {
		err = fmt.Errorf("%w: %w", err, p.cause)
	}
	return err
}

// split is (*Index).split without readers and without crashes: the old page is
// free at once and no intent is needed.
func (p *Part) split(hash uint64, e entry, occupied int, hashOf func(pos uint64) uint64) bool {
	low, ok := p.take()
	if !ok {
		return false
	}
	high, ok := p.take()
	if !ok {
		p.free = append(p.free, low)
		return false
	}
	x := p.b.x
	if p.work == nil {
		p.work = new(splitter)
	}
	n := p.work.gather(x.mem.page(e.page()), hashOf)
	local, by := e.local()+1, e.local()
	if occupied > 0 && n < rewriteAt {
		local, by = e.local(), 0
		p.free = append(p.free, high)
		high = low
	} else if e.local() == p.b.bits+int(p.depth) && !p.double() {
		p.free = append(p.free, low, high)
		return false
	}
	used, _ := p.work.divide(n, by)
	*x.mem.page(low) = p.work.image[0]
	x.counts[low] = uint16(used[0])
	if high != low {
		*x.mem.page(high) = p.work.image[1]
		x.counts[high] = uint16(used[1])
	}
	size := 1 << (p.b.bits + int(p.depth) - e.local())
	start := int(p.index(hash)) &^ (size - 1)
	for i := range size {
		page := low
		if i >= (size+1)/2 {
			page = high
		}
		p.dir[start+i] = uint64(makeEntry(0, local, page))
	}
	p.free = append(p.free, e.page())
	return true
}

func (p *Part) double() bool {
	if p.b.bits+int(p.depth) == p.b.x.geo.depthMax {
		return false
	}
	dir := make([]uint64, 2*len(p.dir))
	for i, e := range p.dir {
		dir[2*i], dir[2*i+1] = e, e
	}
	p.dir = dir
	p.depth++
	return true
}

func (p *Part) take() (uint32, bool) {
	if n := len(p.free); n > 0 {
		page := p.free[n-1]
		p.free = p.free[:n-1]
		return page, true
	}
	for {
		page := p.b.next.Load()
		if int(page) >= p.b.x.geo.pagesMax || !p.back(p.b.x.geo.pagesOff+int(page+1)*pageBytes) {
			return 0, false
		}
		if p.b.next.CompareAndSwap(page, page+1) {
			return page, true
		}
	}
}

func (p *Part) back(end int) bool {
	x := p.b.x
	if x.ensure == nil || int64(end) <= p.b.backed.Load() {
		return true
	}
	end = min(x.geo.bytes, (end+ensureBy-1)&^(ensureBy-1))
	if err := x.ensure(end); err != nil {
		p.cause = err
		return false
	}
	for {
		backed := p.b.backed.Load()
		if backed >= int64(end) || p.b.backed.CompareAndSwap(backed, int64(end)) {
			return true
		}
	}
}

// Finish puts the parts together. No part may be in use, and none may be used
// afterwards.
func (b *Builder) Finish() *Index {
	x := b.x
	b.x = nil
	assert(x != nil, xPart)
	below := uint64(0)
	for i := range b.parts {
		below = max(below, b.parts[i].depth)
	}
	depth := b.bits + int(below)
	length, sum := uint64(0), uint64(0)
	x.next = b.next.Load()
	x.backed = int(b.backed.Load())
	x.free = x.free[:0]
	for i := range b.parts {
		p := &b.parts[i]
		for j := range 1 << below {
			e := entry(p.dir[j>>(below-p.depth)])
			at := i<<below + j
			x.mem.set(entryOffset(depth, at), uint64(e))
			if at%(1<<(depth-e.local())) == 0 {
				sum += blockSum(depth, at, e)
				x.mem.set(x.geo.sumOffset(e.page()), x.mem.page(e.page()).sum())
			}
		}
		x.free = append(x.free, p.free...)
		length += p.length
		x.top = max(x.top, p.top)
	}
	x.mem.set(headTop, x.top)
	x.mem.set(headDirSum, sum)
	x.gen = 0 // as are the generations of all entries
	x.mem.store(headLen, length)
	x.mem.store(headDepth, uint64(depth))
	x.publish()
	return x
}
