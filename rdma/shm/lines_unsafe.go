package shm

import (
	"sync/atomic"
	"unsafe"
)

// page is the header page of a ring file. Only its owner writes it.
type page struct {
	id   [8]uint64
	_    [8]uint64
	tail atomic.Uint64 // stream position; S1: stored after the bytes below it, loaded before them
	_    [15]uint64
	// marks has a line per node, two lines apart: processors fetch the
	// neighbour of a line too, and the neighbour has another reader.
	marks [nodesMax]markLine
	pairs [nodesMax]pairLine
	_     [pageBytes - 256 - nodesMax*(128+64)]byte
}

// markLine is rdma.Marks in the order of its fields.
type markLine struct {
	epoch, visible, stable, applied, durable, room, settled, flushed atomic.Uint64

	_ [8]uint64
}

// pairLine says for whom the lines of one node are (S2).
type pairLine struct {
	tag  atomic.Uint64 // attachment<<32 | incarnation of the peer; 0: nobody
	feed atomic.Uint64 // 1 + position from which the peer reads; 0: not fed yet
	_    [6]uint64
}

// bellLine is what a worker sleeps on. Everybody writes it.
type bellLine struct {
	word     atomic.Uint32 // what the futex waits on: changes with each ring
	_        uint32
	sleeping atomic.Uint64 // number of the sleep that is on or about to begin; 0: awake
	rung     atomic.Uint64 // number of the last sleep somebody has ended
	_        [5]uint64
}

// The structs are the layout.
const (
	_ = uint(pageBytes - unsafe.Sizeof(page{}))
	_ = uint(unsafe.Sizeof(page{}) - pageBytes)
	_ = uint(lineBytes - unsafe.Sizeof(bellLine{}))
	_ = uint(unsafe.Sizeof(bellLine{}) - lineBytes)
	_ = uint(lineBytes - unsafe.Sizeof(pairLine{}))
	_ = uint(0 - unsafe.Offsetof(page{}.tail)%128)
	_ = uint(0 - unsafe.Offsetof(page{}.marks)%128)
	_ = uint(0 - unsafe.Offsetof(page{}.pairs)%lineBytes)
)

// pageOf and bellOf view a mapping of a checked file. Preconditions: as long
// as decodeIdentity demands, aligned to a line.
func pageOf(mem []byte) *page { return (*page)(unsafe.Pointer(&mem[:pageBytes][0])) }
func bellOf(mem []byte) *bellLine {
	return (*bellLine)(unsafe.Pointer(&mem[bellAt : bellAt+lineBytes][0]))
}

// alignedBytes is heap memory that starts at a page, as a mapping would.
func alignedBytes(n int64) []byte {
	raw := make([]byte, n+pageBytes)
	skip := -uintptr(unsafe.Pointer(&raw[0])) & (pageBytes - 1)
	return raw[skip : int64(skip)+n : int64(skip)+n]
}
