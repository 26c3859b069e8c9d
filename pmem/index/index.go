package index

import (
	"fmt"

	"healkv/dataplane/plant"
)

// Index is one shard's index. Which goroutine may call what: package doc.
type Index struct {
	mem memory

	_ [64]byte // above: loaded by every lookup; below: the worker's

	geo     geometry
	tag     uint64
	ensure  func(bytes int) error
	cause   error  // of the last failed ensure
	backed  int    // bytes that ensure was asked for
	next    uint32 // pages from here on were never used
	gen     uint64 // of the next entry
	built   int    // entries of the level in use that are copied to the next level
	watched int    // of retired: those that Release frees

	counts  []uint16 // per page: occupied words, or countUnknown
	top     uint64   // as in the header
	warm    warming
	free    []uint32
	retired []uint32
	work    *splitter

	// atStep is called between stores in tests that stop the process there.
	atStep func(where string)
}

const countUnknown = ^uint16(0)

// Create makes an empty index in mem, whatever mem held before. ensure is asked
// to back the first n bytes of mem before they are touched, with growing n, in
// steps of 1 MiB; it should allocate only what is new since the last call. It
// may be nil (Go heap). An error of ensure, or ErrSize, is returned.
func Create(mem []byte, ensure func(bytes int) error, tag uint64) (*Index, error) {
	x, err := newIndex(mem, ensure, tag)
	if err != nil {
		return nil, err
	}
	if err := x.back(x.geo.pagesOff + 2*pageBytes); err != nil {
		return nil, err
	}
	x.unpublish()
	x.clear()
	x.publish()
	return x, nil
}

func newIndex(mem []byte, ensure func(bytes int) error, tag uint64) (*Index, error) {
	geo, err := geometryOf(len(mem))
	if err != nil {
		return nil, err
	}
	if !aligned(mem) {
		return nil, fmt.Errorf("%w: not aligned", ErrSize)
	}
	x := &Index{
		mem:     newMemory(mem, geo.pagesOff),
		geo:     geo,
		tag:     tag,
		ensure:  ensure,
		counts:  make([]uint16, geo.pagesMax),
		free:    make([]uint32, 0, geo.pagesMax),
		retired: make([]uint32, 0, geo.pagesMax),
		work:    new(splitter),
	}
	return x, nil
}

// unpublish makes Open refuse the memory, publish makes it accept it again.
func (x *Index) unpublish() {
	x.mem.store(headMagic, 0)
	x.step("unpublished")
}

func (x *Index) publish() {
	fixed := x.fixed()
	for i, w := range fixed {
		x.mem.set(headTag+8*i, w)
	}
	x.mem.set(headSum, mix(fixed[:]...))
	x.step("before the magic word")
	x.mem.store(headMagic, magic)
}

// fixed is what the header says about the memory for good, from headTag on.
func (x *Index) fixed() [5]uint64 {
	return [5]uint64{
		x.tag,
		layoutVersion | pageBytes<<32,
		uint64(x.geo.bytes),
		uint64(x.geo.depthMax),
		uint64(x.geo.pagesMax),
	}
}

// clear leaves two empty pages at depth 1 and no marks.
func (x *Index) clear() {
	x.gen, x.built, x.watched, x.top = 2, 0, 0, 0
	x.warm.reset()
	x.mem.set(headTop, 0)
	x.free, x.retired = x.free[:0], x.retired[:0]
	sum := uint64(0)
	for p := range uint32(2) {
		clear(x.mem.page(p)[:])
		x.counts[p] = 0
		x.mem.set(x.geo.sumOffset(p), 0)
		e := makeEntry(uint64(p), depthMin, p)
		x.mem.store(entryOffset(depthMin, int(p)), uint64(e))
		sum += blockSum(depthMin, int(p), e)
	}
	x.next = 2
	x.mem.set(headDirSum, sum)
	x.mem.set(headSeal, 0)
	x.mem.set(headPend, 0)
	x.mem.store(headLen, 0)
	for i := range Marks {
		x.mem.store(headMarks+8*i, 0)
	}
	x.mem.store(headDepth, depthMin)
}

// Reset drops all words and marks (for a full copy). Worker, and no reader may
// be inside. A process that dies in between leaves memory that Open refuses.
func (x *Index) Reset() {
	x.unpublish()
	x.clear()
	x.publish()
}

// Insert adds a word for a key that has none. Worker only.
//
// When the key's page is due to split, hashOf is called once for each of its up
// to 2 000 words and must return the hash of the key whose record lies at pos;
// it must not touch the index; UnknownHash says that the record is damaged. ErrFull leaves the index as it was.
func (x *Index) Insert(hash uint64, w Word, hashOf func(pos uint64) uint64) error {
	assert(MakeWord(hash, w.Pos(), w.Locked()) == w && live(uint64(w)), x1)
	for {
		depth := int(x.mem.get(headDepth))
		e := x.entryAt(depth, int(hash>>(64-depth)))
		assert(!e.unsure(), x7)
		n := x.countOf(e.page())
		if n >= splitAt && x.split(hash, e, n, hashOf) {
			continue
		}
		pg := x.mem.page(e.page())
		slot, probes := pg.place(hash)
		if probes > probeMax && n >= splitAt/2 && x.split(hash, e, 0, hashOf) {
			continue
		}
		if slot < 0 || n >= fillMax {
			return x.errFull()
		}
		if pg[slot] == 0 {
			x.counts[e.page()]++
		}
		length := x.mem.get(headLen) + 1
		x.refers(w)
		x.mem.set(headWas, pg[slot])
		if !plant.Is(plant.IndexPend) {
			x.mem.set(headPend, pendWord(pendInsert, e.page(), slot, length))
		}
		x.step("insert: pending")
		x.exchange(e.page(), slot, &pg[slot], uint64(w), length, &insertSteps)
		return nil
	}
}

// Store replaces the cursor's word; position and lock bit may differ, the tag
// may not. Worker only, and no Insert since Seek unless followed by Reload.
func (x *Index) Store(c *Cursor, w Word) {
	assert((uint64(w)^c.word)&tagMask == 0 && live(uint64(w)), x1)
	assert(c.SameDirectory(), x3)
	c.word = uint64(w)
	p, at, length := entry(c.entry).page(), c.at(), x.mem.get(headLen)
	x.refers(w)
	x.mem.set(headWas, *at)
	x.mem.set(headPend, pendWord(pendStore, p, c.slotIn(), length))
	x.step("store: pending")
	x.exchange(p, c.slotIn(), at, uint64(w), length, &storeSteps)
}

// What atStep is told of the three kinds of changes.
var (
	insertSteps = [3]string{"insert: stored", "insert: counted", "insert: summed"}
	storeSteps  = [3]string{"store: stored", "", "store: summed"}
	eraseSteps  = [3]string{"erase: stored", "erase: counted", "erase: summed"}
)

// exchange stores a word that pend has announced, the length and the page's
// sum. Of a process that dies in between, Open finishes the rest (X6).
func (x *Index) exchange(p uint32, slot int, at *uint64, w, length uint64, steps *[3]string) {
	was := *at
	storeWord(at, w)
	x.step(steps[0])
	if steps != &storeSteps {
		x.mem.store(headLen, length)
		x.step(steps[1])
	}
	if !plant.Is(plant.IndexSum) {
		sum := x.geo.sumOffset(p)
		x.mem.set(sum, x.mem.get(sum)-slotSum(slot, was)+slotSum(slot, w))
	}
	x.step(steps[2])
	x.mem.set(headPend, 0)
}

// refers notes the highest position before a word has it: so that after a
// crash one word tells whether the log has lost a record that the index knew.
func (x *Index) refers(w Word) {
	if ref := uint64(w) & refMask; ref > x.top {
		x.top = ref
		x.mem.set(headTop, ref)
	}
}

// Top is the highest position that a word was ever given since Create, Build or
// Reset. Worker only.
func (x *Index) Top() uint64 { return x.top << posShift }

// Erase removes the cursor's word. Worker only. The slot is used again by a
// later Insert, or dropped when the page splits.
func (x *Index) Erase(c *Cursor) {
	assert(live(c.word), x1)
	assert(c.SameDirectory(), x3)
	c.word = deadWord
	x.eraseSlot(entry(c.entry).page(), c.slotIn())
}

func (x *Index) eraseSlot(p uint32, slot int) {
	length := x.mem.get(headLen)
	length -= min(length, 1)
	at := &x.mem.page(p)[slot]
	x.mem.set(headWas, *at)
	x.mem.set(headPend, pendWord(0, p, slot, length))
	x.step("erase: pending")
	x.exchange(p, slot, at, deadWord, length, &eraseSteps)
}

// Reload seeks the cursor's hash again: after an Insert, or when Valid or
// SameDirectory said no.
func (x *Index) Reload(c *Cursor) { x.Own(c, c.hash) }

// Len returns the number of words. Any goroutine. A crash does not make it wrong.
func (x *Index) Len() uint64 { return x.mem.load(headLen) }

// SetMark sets one of the Marks persistent words. Worker only.
func (x *Index) SetMark(i int, v uint64) {
	assert(uint(i) < Marks, xMark)
	if x.mem.load(headMarks+8*i) != v {
		x.mem.store(headMarks+8*i, v)
	}
}

// Mark returns one of the persistent words; 0 after Create, Build and Reset.
// Any goroutine.
func (x *Index) Mark(i int) uint64 {
	assert(uint(i) < Marks, xMark)
	return x.mem.load(headMarks + 8*i)
}

// Words calls fn for every word until fn returns false, in no useful order. By
// the worker, or by a goroutine announced as a reader for as long as it takes;
// then a key inserted or erased meanwhile may or may not be among them (one that
// was both may come twice); every other key comes once. Precondition: Sure.
func (x *Index) Words(fn func(Word) bool) {
	assert(x.Sure(), x7)
	depth := int(x.mem.load(headDepth))
	for i := 0; i < 1<<depth; {
		e := entry(x.mem.load(entryOffset(depth, i)))
		pg := x.mem.page(e.page())
		for s := range pg {
			if w := loadWord(&pg[s]); live(w) && !fn(Word(w)) {
				return
			}
		}
		i += 1 << (depth - e.local())
	}
}

// Usage says what the index takes.
type Usage struct {
	Words    uint64
	Pages    int // in the directory
	Waiting  int // retired, not yet released
	PagesMax int
	Depth    int
	Bytes    int // backed memory
}

// Usage returns what the index takes at this moment. Worker only.
func (x *Index) Usage() Usage {
	return Usage{
		Words:    x.Len(),
		Pages:    int(x.next) - len(x.free) - len(x.retired),
		Waiting:  len(x.retired),
		PagesMax: x.geo.pagesMax,
		Depth:    int(x.mem.get(headDepth)),
		Bytes:    max(x.backed, x.geo.pagesOff+int(x.next)*pageBytes),
	}
}

func (x *Index) errFull() error {
	if x.cause != nil {
		return fmt.Errorf("%w: %d keys in %d of %d pages: %w", ErrFull, x.Len(), x.next, x.geo.pagesMax, x.cause)
	}
	return fmt.Errorf("%w: %d keys in %d of %d pages, %d retired pages wait for Release",
		ErrFull, x.Len(), x.next, x.geo.pagesMax, len(x.retired))
}

func pendWord(op uint64, p uint32, slot int, length uint64) uint64 {
	return pendSet | op | (uint64(p)*pageWords+uint64(slot))<<pendShift | length&pendLen
}

// place returns the first slot for a new word of the hash, or -1, and the
// number of full buckets before it.
func (pg *page) place(hash uint64) (slot, probes int) {
	first := int(hash>>bucketShift%pageBuckets) * bucketWords
	for i := range pageWords {
		slot = (first + i) % pageWords
		if !live(pg[slot]) {
			return slot, i / bucketWords
		}
	}
	return -1, pageBuckets
}

// countOf counts a page's words the first time it is asked after Open, so that
// Open need not read the pages.
func (x *Index) countOf(p uint32) int {
	n := x.counts[p]
	if n == countUnknown {
		n = 0
		for _, w := range x.mem.page(p) {
			if w != 0 {
				n++
			}
		}
		x.counts[p] = n
	}
	return int(n)
}

func (x *Index) step(where string) {
	if x.atStep != nil {
		x.atStep(where)
	}
}
