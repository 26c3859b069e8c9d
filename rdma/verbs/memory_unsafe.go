//go:build verbs

package verbs

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mappings counts what is mapped, for tests.
var mappings atomic.Int64

const hugePage = 2 << 20

// mapMemory maps n bytes of zeroed memory outside the Go heap, in huge pages
// where enough of them are reserved.
func mapMemory(n int) ([]byte, error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if mem := mapHuge(n, flags|unix.MAP_HUGETLB|unix.MAP_HUGE_2MB); mem != nil {
		mappings.Add(1)
		return mem, nil
	}
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("verbs: map %d bytes: %w", n, err)
	}
	mappings.Add(1)
	return mem, nil
}

// mapHuge is nil where n bytes are not to be had in huge pages, or not for sure:
// pages that are reserved may still be refused at the first touch, by a limit of
// the control group or on another NUMA node, and that is SIGBUS.
func mapHuge(n, flags int) []byte {
	if n < hugePage || n%hugePage != 0 {
		return nil
	}
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil
	}
	if err := unix.Madvise(mem, unix.MADV_POPULATE_WRITE); err != nil {
		unix.Munmap(mem)
		return nil
	}
	return mem
}

func unmapMemory(mem []byte) error {
	mappings.Add(-1)
	return unix.Munmap(mem)
}

// lineMemory is what a reader exposes for the words of one lane. The writer's
// adapter writes the line and reads version; the reader's processor does the
// opposite.
type lineMemory struct {
	words   [lineWords]atomic.Uint64
	_       [2]uint64
	version atomic.Uint64 // V3: of the newest line that its owner posted to the lane's writer
	_       [7]uint64
}

const (
	versionAt       = 128
	lineMemoryBytes = 192
	_               = uint(unsafe.Offsetof(lineMemory{}.version) - versionAt)
	_               = uint(versionAt - unsafe.Offsetof(lineMemory{}.version))
	_               = uint(unsafe.Sizeof(lineMemory{}) - lineMemoryBytes)
	_               = uint(lineMemoryBytes - unsafe.Sizeof(lineMemory{}))
)

func lineMemoryOf(mem []byte) *lineMemory {
	return (*lineMemory)(unsafe.Pointer(&mem[:lineMemoryBytes][0]))
}

// slotBytes is a line's place in the memory it is sent from; there is one per
// entry of the send queue, and one more for what a read brings.
const (
	slotBytes  = 128
	slotsBytes = slotBytes * (sendDepth + 1)
	_          = uint(slotBytes - lineBytes)
	_          = uint(slotsMax - slotsBytes) // LockedMemory
)

func slotOf(mem []byte, i int) *[lineWords]uint64 {
	return (*[lineWords]uint64)(unsafe.Pointer(&mem[i*slotBytes : i*slotBytes+lineBytes][0]))
}

// readWordOf is the word that a read brings: the adapter writes it.
func readWordOf(mem []byte) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&mem[sendDepth*slotBytes : sendDepth*slotBytes+8][0]))
}
