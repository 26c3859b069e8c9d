package index

import (
	"sync/atomic"
	"unsafe"
)

// memory is the caller's memory, addressed by byte offset. Nothing here is
// checked on the way: offsets come from a geometry and from entries that Open
// has checked or this process has written.
type memory struct {
	base     unsafe.Pointer
	pagesOff uintptr // of page 0
	bytes    []byte  // as given
}

func newMemory(b []byte, pagesOff int) memory {
	return memory{unsafe.Pointer(unsafe.SliceData(b)), uintptr(pagesOff), b}
}

func aligned(b []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))%bucketBytes == 0
}

func (m *memory) at(off int) *uint64 { return (*uint64)(unsafe.Add(m.base, off)) }

// load and store are for words that other goroutines load or store as well.
func (m *memory) load(off int) uint64     { return atomic.LoadUint64(m.at(off)) }
func (m *memory) store(off int, v uint64) { atomic.StoreUint64(m.at(off), v) }

// get and set are for words that only the worker touches, or that no reader
// can reach yet. An atomic store after them keeps its place behind them.
func (m *memory) get(off int) uint64    { return *m.at(off) }
func (m *memory) set(off int, v uint64) { *m.at(off) = v }

// page is a page's words: plain for the worker's loads (it is the only one that
// stores) and for filling a page that no reader can reach.
type page [pageWords]uint64

func (m *memory) page(n uint32) *page {
	return (*page)(unsafe.Add(m.base, m.pagesOff+uintptr(n)<<pageShift))
}

// pageBytes is the same page for whoever reads or writes files.
func (m *memory) pageBytes(n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(m.base, m.pagesOff+uintptr(n)<<pageShift)), pageBytes)
}

func loadWord(p *uint64) uint64 { return atomic.LoadUint64(p) }
