//go:build plant

package dataplane

import (
	"sync/atomic"
	"unsafe"
)

// publish without the atomic: the other side may see the index before the
// slot. TestPlantedRaceIsFound requires that the race detector reports it.
// Never built into a product.
func publish(at *atomic.Uint64, v uint64) { *(*uint64)(unsafe.Pointer(at)) = v }
