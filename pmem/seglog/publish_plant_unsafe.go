//go:build plant

package seglog

import (
	"sync/atomic"
	"unsafe"

	"healkv/dataplane/plant"
)

// publish, and wrong if the race is planted: readers of the tail are not
// ordered after the record's bytes. Only tests build with this tag.
func publish(tail *atomic.Uint64, pos uint64) {
	if plant.Is(plant.RaceLogTail) {
		*(*uint64)(unsafe.Pointer(tail)) = pos
		return
	}
	tail.Store(pos)
}
