package index

import (
	"math/bits"

	"healkv/dataplane/plant"
)

// UnknownHash is what a hashOf returns when the record cannot be read. A key
// that has this very hash costs a few words more in a split, nothing else.
const UnknownHash = 0x1bad_4ec0_4d0f_5eed

// placeUnknown places the words whose record's hash is not known any more,
// because the record is damaged: behind every bucket where a lookup of its key
// may begin, in both images. So whoever looks for the key still meets the word,
// and does not take damage for a miss. The copies are erased together, by
// position; Len does not count them.
func (s *splitter) placeUnknown(n, local int, used *[2]int) {
	for i, hash := range s.hashes[:n] {
		if hash != UnknownHash {
			continue
		}
		sides := 1
		if local > 0 && !plant.Is(plant.DamageSplit) {
			sides = 2
		}
		// From its own bucket back to the first slot that was empty: no probe
		// comes from beyond (X2).
		first := int(s.slots[i]) / bucketWords
		for back := 0; ; back++ {
			bucket := (first - back + pageBuckets) % pageBuckets
			for side := range sides {
				used[side] += s.image[side].add(bucket, s.words[i])
			}
			if back == pageBuckets-1 || s.old.hasEmpty((bucket+pageBuckets-1)%pageBuckets) {
				break
			}
		}
	}
}

func (pg *page) hasEmpty(bucket int) bool {
	for _, w := range pg[bucket*bucketWords : (bucket+1)*bucketWords] {
		if w == 0 {
			return true
		}
	}
	return false
}

// add puts a word behind the bucket unless it is there already or only a few
// slots are left, and returns how many it used.
func (pg *page) add(bucket int, w uint64) int {
	for i := range fillMax {
		switch at := &pg[(bucket*bucketWords+i)%pageWords]; *at {
		case w:
			return 0
		case 0:
			*at = w
			return 1
		}
	}
	return 0
}

// KnownBits are the bits of a key's hash that follow from where the cursor's
// word stands: those that chose its page, and its tag.
func (c *Cursor) KnownBits() (mask uint64) {
	return ^uint64(0)<<(64-entry(c.entry).local()) | tagMask>>tagShift
}

// EraseAll removes every word at a position in the pages of the keys whose hash
// has these bits, and returns how many there were. Worker only.
func (x *Index) EraseAll(hash, mask, pos uint64) (n int) {
	prefix := ^uint64(0) << (64 - min(bits.LeadingZeros64(^mask), depthLimit))
	for at := hash & prefix; ; {
		x.own(at)
		depth := int(x.mem.get(headDepth))
		e := x.entryAt(depth, int(at>>(64-depth)))
		for slot, w := range x.mem.page(e.page()) {
			if live(w) && Word(w).Pos() == pos {
				x.eraseSlot(e.page(), slot)
				n++
			}
		}
		last := at | ^(^uint64(0) << (64 - e.local()))
		if last >= hash|^prefix {
			return n
		}
		at = last + 1
	}
}

// Range calls fn for the words of one page, the one that holds the entry-th
// part of 2^depth of all hashes, and returns the entry that follows it: 0 after
// the last. hash and mask say what is known of the keys of those words but for
// their tags. Worker only.
func (x *Index) Range(at uint64, fn func(w Word, hash, mask uint64)) (next uint64) {
	x.own(at)
	depth := int(x.mem.get(headDepth))
	e := x.entryAt(depth, int(at>>(64-depth)))
	mask := ^uint64(0) << (64 - e.local())
	for _, w := range x.mem.page(e.page()) {
		if live(w) {
			fn(Word(w), at&mask|w&tagMask>>tagShift, mask|tagMask>>tagShift)
		}
	}
	return at&mask + -mask // wraps to 0 behind the last page
}

// Alike calls fn for every word whose key's hash may agree with hash in the
// bits of mask, until fn returns false. Announced, or the worker; what is
// inserted or erased meanwhile may or may not be among them. Precondition: Sure.
//
// known and bits are what follows from the word's place of its key's hash.
func (x *Index) Alike(hash, mask uint64, fn func(w Word, known, bits uint64) bool) {
	prefix := ^uint64(0) << (64 - min(bits.LeadingZeros64(^mask), depthLimit))
	tag := mask << tagShift & tagMask
	depth := int(x.mem.load(headDepth))
	for at := hash & prefix; ; {
		e := entry(x.mem.load(entryOffset(depth, int(at>>(64-depth)))))
		assert(!e.unsure(), x7)
		pg := x.mem.page(e.page())
		place := ^uint64(0) << (64 - e.local())
		for slot := range pg {
			if w := loadWord(&pg[slot]); live(w) && (w^hash<<tagShift)&tag == 0 &&
				!fn(Word(w), at&place|w&tagMask>>tagShift, place|tagMask>>tagShift) {
				return
			}
		}
		last := at | ^(^uint64(0) << (64 - e.local()))
		if last >= hash|^prefix {
			return
		}
		at = last + 1
	}
}
