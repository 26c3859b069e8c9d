package index

import (
	"encoding/binary"
	"fmt"
)

// Image is a page of a checkpoint: what Restore needs to know of it, and
// Blocks tells.
type Image struct {
	Page  uint32 // in the memory: set by Blocks, and the number in the list after Restore
	Gen   uint64 // of its directory entry: the page's use, if it was used for something before
	Sum   uint64
	Live  uint16
	Local uint8
}

// Restore makes an index in mem of pages that are not there: the i-th page is
// the i-th image, in the order of the hashes. Each is brought by the keeper's
// Load when it is first used or when WarmSome comes to it. top is at or above
// every position in them.
//
// Until the last one is there, Open refuses the memory: whoever dies meanwhile
// begins anew.
func Restore(mem []byte, ensure func(bytes int) error, tag uint64, images []Image, top uint64) (*Index, error) {
	x, err := newIndex(mem, ensure, tag)
	if err != nil {
		return nil, err
	}
	depth := depthMin
	for i := range images {
		depth = max(depth, int(images[i].Local))
	}
	if depth > x.geo.depthMax || len(images) > x.geo.pagesMax {
		return nil, fmt.Errorf("%w: %d pages at depth %d, room for %d at %d", ErrSize, len(images), depth, x.geo.pagesMax, x.geo.depthMax)
	}
	if err := x.back(x.geo.pagesOff); err != nil {
		return nil, err
	}
	x.unpublish()
	for i := range Marks {
		x.mem.store(headMarks+8*i, 0)
	}
	x.mem.set(headSeal, 0)
	x.mem.set(headPend, 0)
	x.warm.reset()
	x.warm.cold = make([]uint64, (x.geo.pagesMax+63)/64)
	x.warm.words = make([]uint16, len(images))
	length, sum, at := uint64(0), uint64(0), 0
	for i := range images {
		m := &images[i]
		local := int(m.Local)
		if local < depthMin || at+1<<(depth-local) > 1<<depth || at%(1<<(depth-local)) != 0 {
			return nil, fmt.Errorf("%w: page %d of the checkpoint covers what others do", ErrDamaged, i)
		}
		e := makeEntry(0, local, uint32(i))
		sum += blockSum(depth, at, e)
		e |= unsureBit
		for end := at + 1<<(depth-local); at < end; at++ {
			x.mem.store(entryOffset(depth, at), uint64(e))
		}
		m.Page = uint32(i)
		x.mem.set(x.geo.sumOffset(uint32(i)), m.Sum)
		x.warm.cold[i>>6] |= 1 << (i & 63)
		x.warm.words[i] = m.Live
		x.counts[i] = countUnknown
		length += uint64(m.Live)
	}
	if at != 1<<depth {
		return nil, fmt.Errorf("%w: the checkpoint's pages cover %d of %d entries", ErrDamaged, at, 1<<depth)
	}
	x.next, x.gen = uint32(len(images)), 0
	x.backed = x.geo.pagesOff + len(images)*pageBytes
	x.top = top >> posShift
	x.mem.set(headTop, x.top)
	x.mem.set(headDirSum, sum)
	x.mem.store(headLen, length)
	x.mem.store(headDepth, uint64(depth))
	x.warm.left.Store(int64(len(images)))
	x.warm.finish = true
	return x, nil
}

// PagesMax is how many pages there is room for in memory of that many bytes.
func PagesMax(bytes int) int {
	geo, err := geometryOf(bytes)
	if err != nil {
		return 0
	}
	return geo.pagesMax
}

// Backed is how many bytes from the start are in use.
func (x *Index) Backed() int { return x.backed }

// Block describes the page of the hash, without the number of live words, and
// says where the next one begins; 0: it was the last. Worker only.
func (x *Index) Block(hash uint64) (m Image, next uint64) {
	depth := int(x.mem.get(headDepth))
	i := int(hash >> (64 - depth))
	e := x.entryAt(depth, i)
	size := 1 << (depth - e.local())
	p := e.page()
	m = Image{Page: p, Gen: e.gen(), Sum: x.mem.get(x.geo.sumOffset(p)), Local: uint8(e.local())}
	if i = i&^(size-1) + size; i < 1<<depth {
		next = uint64(i) << (64 - depth)
	}
	return m, next
}

// CopyPage copies a page and returns the number of words in it. Worker only.
func (x *Index) CopyPage(p uint32, dst []byte) (live uint16) {
	copy(dst, x.mem.pageBytes(p))
	return uint16(x.liveIn(p))
}

// SumOf is the sum of an image of a page.
func SumOf(image []byte) uint64 {
	s := uint64(0)
	for i := range pageWords {
		s += slotSum(i, binary.NativeEndian.Uint64(image[8*i:]))
	}
	return s
}

// Distrust makes the next Open refuse the memory. Worker only.
func (x *Index) Distrust() { x.unpublish() }
