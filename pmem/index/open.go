package index

import (
	"fmt"

	"healkv/dataplane/plant"
)

// Open takes over an index whose process has died at any instruction. It reads
// the header and the directory, not the pages, finishes a directory switch
// that was under way, and finds the pages that nobody uses. Every page is in
// doubt until Warm or Own has verified it.
//
// ErrTag: mem holds the index of something else. ErrDamaged: mem holds no
// index, or one that was never finished or is inconsistent. In both cases the
// caller makes a new one from the log. It never panics, whatever mem holds.
// Errors of ensure are returned as they are.
func Open(mem []byte, ensure func(bytes int) error, tag uint64) (*Index, error) {
	x, err := newIndex(mem, ensure, tag)
	if err != nil {
		return nil, err
	}
	if err := x.back(x.geo.pagesOff); err != nil {
		return nil, err
	}
	if err := x.checkFixed(); err != nil {
		return nil, err
	}
	depth := x.mem.load(headDepth)
	if depth < depthMin || depth > uint64(x.geo.depthMax) {
		return nil, fmt.Errorf("%w: depth %d, at most %d", ErrDamaged, depth, x.geo.depthMax)
	}
	if err := x.redo(int(depth)); err != nil {
		return nil, err
	}
	if err := x.walk(int(depth)); err != nil {
		return nil, err
	}
	if err := x.back(x.geo.pagesOff + int(x.next)*pageBytes); err != nil {
		return nil, err
	}
	if err := x.settle(); err != nil {
		return nil, err
	}
	x.top = x.mem.get(headTop)
	x.doubt(int(depth))
	return x, nil
}

func (x *Index) checkFixed() error {
	if m := x.mem.load(headMagic); m != magic {
		return fmt.Errorf("%w: magic %#x, want %#x", ErrDamaged, m, uint64(magic))
	}
	want := x.fixed()
	var got [len(want)]uint64
	for i := range got {
		got[i] = x.mem.get(headTag + 8*i)
	}
	if sum := x.mem.get(headSum); sum != mix(got[:]...) {
		return fmt.Errorf("%w: header checksum %#x, want %#x", ErrDamaged, sum, mix(got[:]...))
	}
	if got[0] != want[0] {
		return fmt.Errorf("%w: found %#x, want %#x", ErrTag, got[0], want[0])
	}
	if got != want {
		return fmt.Errorf("%w: layout %v, want %v", ErrDamaged, got[1:], want[1:])
	}
	return nil
}

// redo finishes the switch that the intent describes: the pages it names were
// complete before it was sealed.
func (x *Index) redo(depth int) error {
	seal := x.mem.get(headSeal)
	if seal == 0 || plant.Is(plant.IndexRedo) {
		return nil
	}
	start := x.mem.get(headStart)
	old, low, high := entry(x.mem.get(headOld)), entry(x.mem.get(headLow)), entry(x.mem.get(headHigh))
	if seal != x.sealOf(depth) {
		return fmt.Errorf("%w: split intent does not match its seal %#x", ErrDamaged, seal)
	}
	// The seal makes the rest true unless somebody forged it.
	local := old.local()
	if local < depthMin || local > depth || low.local() != high.local() ||
		low.local() != local+1 && low != high || low.local() > depth ||
		start >= 1<<depth || start%(1<<(depth-local)) != 0 {
		return fmt.Errorf("%w: split intent at entry %d of depth %d", ErrDamaged, start, depth)
	}
	x.switchBlock(depth, int(start), local, low, high)
	return nil
}

// walk checks X4 and finds the free pages.
func (x *Index) walk(depth int) error {
	const unseen, seen = 0, countUnknown
	sum := uint64(0)
	for i := 0; i < 1<<depth; {
		e := x.entryAt(depth, i).sure()
		local, p := e.local(), e.page()
		if local < depthMin || local > depth || int(p) >= x.geo.pagesMax || i%(1<<(depth-local)) != 0 {
			return fmt.Errorf("%w: entry %d of %d is %#x", ErrDamaged, i, 1<<depth, uint64(e))
		}
		if x.counts[p] == seen {
			return fmt.Errorf("%w: page %d belongs to two blocks, the second at entry %d", ErrDamaged, p, i)
		}
		sum += blockSum(depth, i, e)
		for end := i + 1<<(depth-local); i < end; i++ {
			if other := x.entryAt(depth, i).sure(); other != e {
				return fmt.Errorf("%w: entry %d is %#x in the block of %#x", ErrDamaged, i, uint64(other), uint64(e))
			}
		}
		x.counts[p] = seen // and the words in it are counted when the first is added
		x.next = max(x.next, p+1)
		x.gen = max(x.gen, e.gen())
	}
	if want := x.mem.get(headDirSum); sum != want && !plant.Is(plant.IndexDirSum) {
		return fmt.Errorf("%w: directory checksum %#x, want %#x", ErrDamaged, sum, want)
	}
	for p := range x.next {
		if x.counts[p] == unseen {
			x.free = append(x.free, p)
		}
	}
	return nil
}

// settle finishes the length of an insert or erase that was under way.
func (x *Index) settle() error {
	length, pages := x.mem.load(headLen), uint64(int(x.next)-len(x.free))
	if pend := x.mem.get(headPend); pend != 0 {
		slot := pend &^ (pendSet | pendInsert | pendStore) >> pendShift
		if pend&pendSet == 0 || slot/pageWords >= uint64(x.next) {
			return fmt.Errorf("%w: pending change %#x", ErrDamaged, pend)
		}
		p, at := uint32(slot/pageWords), int(slot%pageWords)
		isLive := live(x.mem.page(p)[at])
		insert := pend&pendInsert != 0
		want, before := pend&pendLen, length&pendLen
		switch {
		case pend&pendStore != 0:
		case isLive != insert || want == before: // not begun, or counted already
		case insert && want == (length+1)&pendLen:
			length++
		case !insert && want == (length-1)&pendLen:
			length--
		default:
			return fmt.Errorf("%w: pending change %#x at length %d", ErrDamaged, pend, length)
		}
		x.mem.store(headLen, length)
		if sum := x.geo.sumOffset(p); !plant.Is(plant.IndexSumRedo) {
			// The sum is from before the word or from after; any other is damage
			// and stays, so that the page is found.
			is := x.mem.page(p).sum()
			if x.mem.get(sum)-slotSum(at, x.mem.get(headWas))+slotSum(at, x.mem.page(p)[at]) == is {
				x.mem.set(sum, is)
			}
		}
		x.mem.set(headPend, 0)
	}
	if length > pages*pageWords {
		return fmt.Errorf("%w: length %d in %d pages", ErrDamaged, length, pages)
	}
	return nil
}
