package index

import (
	"fmt"
	"sync/atomic"

	"healkv/dataplane/plant"
)

// ErrPage says that a page does not have the sum it should have.
var ErrPage = fmt.Errorf("%w: a page does not match its sum", ErrDamaged)

// Span is a range of hashes: those whose first Bits bits are Start's.
type Span struct {
	Start uint64 // the bits, at the top
	Bits  int
}

// Holds says whether the hash is in the span.
func (s Span) Holds(hash uint64) bool { return (hash^s.Start)>>(64-s.Bits) == 0 }

// Keeper brings what the index cannot know: called by Own, Warm and WarmSome,
// on their goroutine.
type Keeper interface {
	// Load fills a page that is not in the memory (Restore) with its image; what
	// it leaves there need not be right, it is verified.
	Load(p uint32, image []byte)
	// Warmed hears that the pages of the span can be used from now on.
	Warmed(s Span, p uint32)
	// Mend is asked for what a damaged page should hold: fn for every key of the
	// spans, with the number of its span. Whoever cannot tell must not return.
	Mend(spans []Span, fn func(span int, hash uint64, w Word))
	// HashOf is the hash of the key whose record lies at pos.
	HashOf(pos uint64) uint64
	// Refers says whether the log still has the position. A word of a page that
	// was loaded goes if it has not: what replaced it is for Warmed to add.
	Refers(pos uint64) bool
}

// warming is what an index knows of its pages in doubt.
type warming struct {
	keeper  Keeper
	left    atomic.Int64 // blocks in doubt; stored by the worker
	next    int          // entry of the level in use that WarmSome looks at next
	damaged int          // pages mended since Open
	cold    []uint64     // bitmap: pages that are not in the memory; nil: none
	words   []uint16     // of cold pages: live words by the checkpoint
	finish  bool         // publish when none is in doubt any more
}

func (w *warming) reset() {
	w.left.Store(0)
	w.next, w.cold, w.words, w.finish = 0, nil, nil, false
}

func (w *warming) isCold(p uint32) bool { return w.cold != nil && w.cold[p>>6]>>(p&63)&1 == 1 }

// SetKeeper names the keeper. Worker; until then a damaged page is an error of
// Warm and trips Own.
func (x *Index) SetKeeper(k Keeper) { x.warm.keeper = k }

// Sure reports that no page is in doubt. Any goroutine.
func (x *Index) Sure() bool { return x.warm.left.Load() == 0 }

// Doubtful is how many pages are in doubt. Any goroutine.
func (x *Index) Doubtful() int { return int(x.warm.left.Load()) }

// Damaged is how many pages were mended since Open. Worker only.
func (x *Index) Damaged() int { return x.warm.damaged }

// doubt puts all pages in doubt.
func (x *Index) doubt(depth int) {
	blocks := int64(0)
	for i := 0; i < 1<<depth; {
		e := x.entryAt(depth, i) | unsureBit
		for end := i + 1<<(depth-e.local()); i < end; i++ {
			x.mem.store(entryOffset(depth, i), uint64(e))
		}
		blocks++
	}
	x.warm.left.Store(blocks)
}

// Own is Seek for the worker: it verifies the hash's page if nobody has yet.
func (x *Index) Own(c *Cursor, hash uint64) {
	x.Seek(c, hash)
	if c.Unsure() {
		x.own(hash)
		x.Seek(c, hash)
	}
}

//go:noinline
func (x *Index) own(hash uint64) { assert(x.Warm(hash) == nil, x7) }

// Warm verifies the page of the hash if nobody has yet, and has the keeper mend
// it if it is damaged. Without a keeper that is ErrPage. Worker only.
func (x *Index) Warm(hash uint64) error {
	depth := int(x.mem.get(headDepth))
	return x.warmBlock(depth, int(hash>>(64-depth)))
}

// WarmSome verifies up to n pages in doubt and returns how many there were.
// Worker only.
func (x *Index) WarmSome(n int) int {
	done := 0
	depth := int(x.mem.get(headDepth))
	for size := 1 << depth; done < n && !x.Sure(); {
		if x.warm.next >= size {
			x.warm.next = 0 // splits and doublings have moved what is left
		}
		e := x.entryAt(depth, x.warm.next)
		if e.unsure() {
			done++
			if x.warmBlock(depth, x.warm.next) != nil {
				break
			}
			depth = int(x.mem.get(headDepth))
			size = 1 << depth
			continue // a keeper may have split it
		}
		x.warm.next += 1 << (depth - e.local())
	}
	return done
}

func (x *Index) warmBlock(depth, i int) error {
	e := x.entryAt(depth, i)
	if !e.unsure() {
		return nil
	}
	size := 1 << (depth - e.local())
	i &^= size - 1
	if !x.check(e) {
		if x.warm.keeper == nil {
			return fmt.Errorf("%w: page %d", ErrPage, e.page())
		}
		x.mend(depth, i)
		x.finishWarm()
		return nil
	}
	if x.warm.isCold(e.page()) && !plant.Is(plant.CkptGone) {
		x.prune(e.page())
	}
	x.trust(depth, i, e)
	if k := x.warm.keeper; k != nil {
		k.Warmed(spanOf(depth, i, e), e.page())
	}
	x.finishWarm()
	return nil
}

// finishWarm ends a Restore when the last page is there.
func (x *Index) finishWarm() {
	if x.warm.finish && x.Sure() {
		x.warm.finish, x.warm.cold, x.warm.words = false, nil, nil
		x.publish()
	}
}

func spanOf(depth, i int, e entry) Span { return Span{uint64(i) << (64 - depth), e.local()} }

// check brings a cold page and verifies it.
func (x *Index) check(e entry) bool {
	p := e.page()
	cold := x.warm.isCold(p)
	if cold && plant.Is(plant.ColdEmpty) {
		return true
	}
	if cold {
		x.warm.keeper.Load(p, x.mem.pageBytes(p))
	}
	pg := x.mem.page(p)
	if pg.sum() != x.mem.get(x.geo.sumOffset(p)) && !plant.Is(plant.IndexSumIgnored) {
		return false
	}
	return true
}

// prune erases the words of a loaded page whose records the log has given up
// since the page was copied.
func (x *Index) prune(p uint32) {
	pg, gone := x.mem.page(p), uint64(0)
	for i, w := range pg {
		if live(w) && !x.warm.keeper.Refers(Word(w).Pos()) {
			sum := x.geo.sumOffset(p)
			x.mem.set(sum, x.mem.get(sum)-slotSum(i, w)+slotSum(i, deadWord))
			storeWord(&pg[i], deadWord)
			gone++
		}
	}
	length := x.mem.get(headLen)
	x.mem.store(headLen, length-min(length, gone))
}

// trust takes the doubt off a block.
func (x *Index) trust(depth, start int, e entry) {
	p := e.page()
	if x.warm.isCold(p) {
		x.warm.cold[p>>6] &^= 1 << (p & 63)
	}
	x.counts[p] = countUnknown
	for i := start; i < start+1<<(depth-e.local()); i++ {
		x.mem.store(entryOffset(depth, i), uint64(e.sure()))
		if i < x.built {
			x.copyUp(depth, i, e.sure())
		}
	}
	x.warm.left.Add(-1)
}

// mend fills a damaged page anew. What the keeper has to read for it is the
// same for one page or many, so from the second one on all others are looked at.
func (x *Index) mend(depth, start int) {
	e := x.entryAt(depth, start)
	spans := []Span{spanOf(depth, start, e)}
	if x.warm.damaged > 0 {
		for i := 0; i < 1<<depth; {
			o := x.entryAt(depth, i)
			if i != start && o.unsure() && !x.check(o) {
				spans = append(spans, spanOf(depth, i, o))
			}
			i += 1 << (depth - o.local())
		}
	}
	published := x.mem.load(headMagic) == magic
	if published {
		x.unpublish() // who dies from here on leaves pages that lack keys
	}
	length := x.mem.get(headLen)
	cold, pages := make([]bool, len(spans)), make([]uint32, len(spans))
	for n, s := range spans {
		i := int(s.Start >> (64 - depth))
		o := x.entryAt(depth, i)
		p := o.page()
		pages[n] = p
		if cold[n] = x.warm.isCold(p); cold[n] {
			length -= min(length, uint64(x.warm.words[p]))
		}
		clear(x.mem.page(p)[:])
		x.mem.set(x.geo.sumOffset(p), 0)
		x.warm.damaged++
		x.trust(depth, i, o)
		x.counts[p] = 0
	}
	var c Cursor
	x.warm.keeper.Mend(spans, func(n int, hash uint64, w Word) {
		x.Seek(&c, hash)
		err := x.Insert(hash, w, x.warm.keeper.HashOf)
		assert(err == nil, xMend)
		if cold[n] { // of the others the length knows already
			length++
		}
	})
	x.mem.store(headLen, length)
	if published {
		x.publish()
	}
	for n, s := range spans {
		x.warm.keeper.Warmed(s, pages[n])
	}
}

func (x *Index) liveIn(p uint32) (n int) {
	for _, w := range x.mem.page(p) {
		if live(w) {
			n++
		}
	}
	return n
}
