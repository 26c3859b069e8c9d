package index

// Every page has a sum: over its words that are not zero, whatever their order
// of arrival, so that one store changes it by one subtraction and one addition.
// It finds a flipped bit for certain and every other damage of a page (zeroed,
// an older copy, another page's contents) but once in 2^64.

// slotSum is a word's part in the sum of its page. Each step can be undone, so
// two different words in one slot never have the same part.
func slotSum(slot int, w uint64) uint64 {
	if w == 0 {
		return 0
	}
	h := (w ^ uint64(slot+1)*0x9e37_79b9_7f4a_7c15) * 0xbf58_476d_1ce4_e5b9
	h = (h ^ h>>32) * 0x94d0_49bb_1331_11eb
	return h ^ h>>29
}

// sum is the sum of a page as it stands.
func (pg *page) sum() uint64 {
	s := uint64(0)
	for i, w := range pg {
		s += slotSum(i, w)
	}
	return s
}

// sumOffset is where the sum of a page lies.
func (g *geometry) sumOffset(p uint32) int { return sumsOffset(g.depthMax) + 8*int(p) }

// PagesOffset is where the pages begin in memory of that many bytes; 0 if it is
// too small for an index.
func PagesOffset(bytes int) int {
	geo, err := geometryOf(bytes)
	if err != nil {
		return 0
	}
	return geo.pagesOff
}
