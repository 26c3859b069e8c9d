package record

import "unsafe"

// wordsOf looks at mapped bytes as words. A mapping begins at a page, so the
// words are aligned; the file is little-endian because the host is (amd64, arm64).
func wordsOf(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}
