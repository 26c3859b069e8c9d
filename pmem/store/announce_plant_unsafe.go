//go:build plant

package store

import (
	"sync/atomic"
	"unsafe"
)

// planted says that this build carries the race the tests must find.
const planted = true

// announce without the atomic: the cleaner may not see it in time.
// TestPlantedRaceIsFound requires that the race detector reports it. Never
// built into a product.
func announce(at *atomic.Uint64, epoch uint64) { *(*uint64)(unsafe.Pointer(at)) = epoch }
