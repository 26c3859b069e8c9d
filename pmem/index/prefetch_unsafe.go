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

// PrefetchBytes asks for the cache lines that b begins with.
func PrefetchBytes(b []byte) {
	if len(b) > 0 {
		prefetchLines(unsafe.Pointer(unsafe.SliceData(b)), (len(b)+lineBytes-1)/lineBytes)
	}
}

const lineBytes = 64
