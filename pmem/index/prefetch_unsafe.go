package index

import (
	"sync/atomic"
	"unsafe"
)

// Prefetch asks for the bucket of a hash. A burst that calls it for every key
// before it handles the first one waits for one cache miss instead of one per
// key. Any goroutine.
func (x *Index) Prefetch(hash uint64) {
	base := x.mem.base
	depth := atomic.LoadUint64((*uint64)(unsafe.Add(base, headDepth)))
	off := headerBytes + (1<<(depth&63)+hash>>((64-depth)&63))*8
	entry := atomic.LoadUint64((*uint64)(unsafe.Add(base, off)))
	page := x.mem.pagesOff + uintptr(uint32(entry)&pageMask)<<pageShift
	prefetch(unsafe.Add(base, page+uintptr(hash>>bucketShift%pageBuckets*bucketBytes)))
}

// PrefetchLines asks for all cache lines of b, which begins at one.
func PrefetchLines(b []byte) {
	for i := 0; i < len(b); i += 64 {
		prefetch(unsafe.Pointer(&b[i]))
	}
}

// PrefetchBytes asks for the first cache line of b and the one behind it.
func PrefetchBytes(b []byte) {
	if len(b) < 128 {
		return
	}
	prefetch(unsafe.Pointer(&b[0]))
	prefetch(unsafe.Pointer(&b[64]))
}
