package index

import "healkv/dataplane/plant"

// splitter is the worker's desk for one split: images are made here and copied,
// so a page in the shared memory is written once, whole, before it is named.
type splitter struct {
	words  [pageWords]uint64
	hashes [pageWords]uint64
	slots  [pageWords]uint16
	old    *page
	image  [2]page
}

// gather takes the live words of a page and asks for the hashes of their keys.
// That reads one cold line of the log per word, so the calls stand in a loop of
// their own in which none depends on the one before: the misses overlap.
func (s *splitter) gather(pg *page, hashOf func(pos uint64) uint64) int {
	n := 0
	s.old = pg
	for i, w := range pg {
		if live(w) {
			s.words[n], s.slots[n] = w, uint16(i)
			n++
		}
	}
	for i, w := range s.words[:n] {
		s.hashes[i] = hashOf(Word(w).Pos())
	}
	return n
}

// divide fills the images: by the hash bit below the local depth, or all words
// into the first one if local is 0.
func (s *splitter) divide(n, local int) (used [2]int, sums [2]uint64) {
	clear(s.image[0][:])
	if local > 0 {
		clear(s.image[1][:])
	}
	if plant.Is(plant.IndexSplitKey) {
		n--
	}
	unknown := false
	for i, hash := range s.hashes[:n] {
		if hash == UnknownHash {
			unknown = true
			continue
		}
		side := 0
		if local > 0 {
			side = int(hash >> (63 - local) & 1)
		}
		img := &s.image[side]
		at := int(hash>>bucketShift%pageBuckets) * bucketWords
		for img[at] != 0 {
			at = (at + 1) % pageWords
		}
		img[at] = s.words[i]
		used[side]++
		sums[side] += slotSum(at, s.words[i])
	}
	if unknown {
		s.placeUnknown(n, local, &used)
		sums = [2]uint64{s.image[0].sum(), s.image[1].sum()}
	}
	return used, sums
}

// split divides the page of e in two, or writes it anew if most of its words
// are erased ones (occupied says how many it has; 0 forces the division). It
// reports false, with nothing changed, if memory or depth is exhausted.
func (x *Index) split(hash uint64, e entry, occupied int, hashOf func(pos uint64) uint64) bool {
	low, ok := x.take()
	if !ok {
		return false
	}
	high, ok := x.take()
	if !ok {
		x.free = append(x.free, low)
		return false
	}
	n := x.work.gather(x.mem.page(e.page()), hashOf)
	rewrite := occupied > 0 && n < rewriteAt
	if rewrite {
		x.free = append(x.free, high)
		high = low
	} else if e.local() == int(x.mem.get(headDepth)) && !x.double() {
		x.free = append(x.free, low, high)
		return false
	}
	depth := int(x.mem.get(headDepth))

	local, by := e.local()+1, e.local()
	if rewrite {
		local, by = e.local(), 0
	}
	used, sums := x.work.divide(n, by)
	*x.mem.page(low) = x.work.image[0]
	x.counts[low] = uint16(used[0])
	x.mem.set(x.geo.sumOffset(low), sums[0])
	x.step("split: lower page filled")
	if !rewrite {
		*x.mem.page(high) = x.work.image[1]
		x.counts[high] = uint16(used[1])
		x.mem.set(x.geo.sumOffset(high), sums[1])
	}
	x.step("split: pages filled")

	lowEntry, highEntry := x.newEntry(local, low), x.newEntry(local, high)
	if rewrite {
		highEntry = lowEntry
	}
	size := 1 << (depth - e.local())
	start := int(hash>>(64-depth)) &^ (size - 1)
	sum := x.mem.get(headDirSum) - blockSum(depth, start, e) + blockSum(depth, start, lowEntry)
	if !rewrite {
		sum += blockSum(depth, start+size/2, highEntry)
	}
	x.mem.set(headStart, uint64(start))
	x.mem.set(headOld, uint64(e))
	x.mem.set(headLow, uint64(lowEntry))
	x.mem.set(headHigh, uint64(highEntry))
	x.mem.set(headNewSum, sum)
	x.step("split: intent written")
	if !plant.Is(plant.IndexIntent) {
		x.mem.store(headSeal, x.sealOf(depth))
	}
	x.step("split: intent sealed")
	x.switchBlock(depth, start, e.local(), lowEntry, highEntry)

	if plant.Is(plant.H23Reuse) {
		x.free = append(x.free, e.page())
		return true
	}
	x.retired = append(x.retired, e.page())
	x.buildLevel(levelStep)
	return true
}

// switchBlock names the new pages in the directory. Between its stores some
// entries name the old page, which has all words and takes no stores (X3), so
// readers are right either way. Open repeats it all if the intent is sealed.
func (x *Index) switchBlock(depth, start, local int, low, high entry) {
	size := 1 << (depth - local)
	for i := range size {
		e := low
		if i >= (size+1)/2 {
			e = high
		}
		x.mem.store(entryOffset(depth, start+i), uint64(e))
		if start+i < x.built && !plant.Is(plant.IndexCopyUp) {
			x.copyUp(depth, start+i, e)
		}
		x.step("split: entry switched")
	}
	x.mem.store(headDirSum, x.mem.get(headNewSum))
	x.step("split: sum stored")
	x.mem.store(headSeal, 0)
	x.step("split: done")
}

// sealOf is the seal that the intent in the header must carry.
func (x *Index) sealOf(depth int) uint64 {
	return mix(uint64(depth), x.mem.get(headStart), x.mem.get(headOld),
		x.mem.get(headLow), x.mem.get(headHigh), x.mem.get(headNewSum))
}

// double makes the next level the one in use. Its entries are built a few per
// split, so usually little is left to do here; until depth names it nobody
// looks at it (X5), and Open begins it anew.
func (x *Index) double() bool {
	depth := int(x.mem.get(headDepth))
	if depth == x.geo.depthMax {
		return false
	}
	x.buildLevel(1 << depth)
	x.step("double: level complete")
	x.mem.store(headDepth, uint64(depth+1))
	x.built = 0
	x.step("double: depth stored")
	return true
}

func (x *Index) buildLevel(entries int) {
	depth := int(x.mem.get(headDepth))
	if depth == x.geo.depthMax {
		return
	}
	for end := min(1<<depth, x.built+entries); x.built < end; x.built++ {
		x.copyUp(depth, x.built, x.entryAt(depth, x.built))
		x.step("double: entry built")
	}
}

func (x *Index) copyUp(depth, i int, e entry) {
	x.mem.set(entryOffset(depth+1, 2*i), uint64(e))
	x.mem.set(entryOffset(depth+1, 2*i+1), uint64(e))
}

// entryOffset: all levels lie in one area, level d from entry 2^d on.
func entryOffset(depth, i int) int { return headerBytes + (1<<depth+i)*8 }

func (x *Index) entryAt(depth, i int) entry { return entry(x.mem.get(entryOffset(depth, i))) }
func (x *Index) newEntry(local int, p uint32) entry {
	x.gen++
	return makeEntry(x.gen, local, p)
}

// take returns a page that nobody looks at.
func (x *Index) take() (uint32, bool) {
	if n := len(x.free); n > 0 {
		p := x.free[n-1]
		x.free = x.free[:n-1]
		return p, true
	}
	if int(x.next) >= x.geo.pagesMax || x.back(x.geo.pagesOff+int(x.next+1)*pageBytes) != nil {
		return 0, false
	}
	x.next++
	return x.next - 1, true
}

// back has the first end bytes backed.
func (x *Index) back(end int) error {
	if end <= x.backed || x.ensure == nil {
		return nil
	}
	if x.cause != nil && !plant.Is(plant.IndexSpins) {
		return x.cause // until Grow: a file system that is full is not asked at every key
	}
	end = min(x.geo.bytes, (end+ensureBy-1)&^(ensureBy-1))
	if err := x.ensure(end); err != nil {
		x.cause = err
		return err
	}
	x.backed, x.cause = end, nil
	return nil
}

// Retired returns how many pages wait for readers to leave. Worker only. They
// are the ones the next Release frees.
func (x *Index) Retired() int {
	x.watched = len(x.retired)
	return x.watched
}

// Release frees the pages that the last Retired counted. Worker only; the
// caller guarantees that no reader is inside that sought before that call.
func (x *Index) Release() {
	x.free = append(x.free, x.retired[:x.watched]...)
	x.retired = append(x.retired[:0], x.retired[x.watched:]...)
	x.watched = 0
}
