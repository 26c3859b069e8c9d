package index

// PageWords is how many words a page holds at most.
const PageWords = pageWords

// WordsAt appends to dst the words of the page in which words of the hash lie,
// and says which hash is the last of that page, so that hash by hash all pages
// can be visited in order: the next one begins at last+1, and there is none if
// last is ^0. Pages that are split between two calls do no harm: what follows a
// hash is always what had followed it.
//
// Precondition: Sure. By the worker, or by a goroutine announced as a reader. Of a key whose word is
// inserted or erased meanwhile the word may or may not be there; every other key
// of the page is there once, with a word it had at some moment of the call.
func (x *Index) WordsAt(hash uint64, dst []Word) (words []Word, last uint64) {
	for {
		depth := int(x.mem.load(headDepth))
		off := entryOffset(depth, int(hash>>(64-depth)))
		e := entry(x.mem.load(off))
		assert(!e.unsure(), x7)
		pg := x.mem.page(e.page())
		words = dst
		for s := range pg {
			if w := loadWord(&pg[s]); live(w) {
				words = append(words, Word(w))
			}
		}
		// As in a lookup (H23): a page that left the directory meanwhile may lack
		// what was added since, or be another one by now.
		if entry(x.mem.load(off)) == e && int(x.mem.load(headDepth)) == depth {
			return words, hash | (1<<(64-e.local()) - 1)
		}
	}
}
