//go:build plant

package dataplane

import (
	"sync/atomic"
	"unsafe"

	"healkv/dataplane/plant"
)

// publish, without the atomic if the race is planted: the other side may see
// the index before the slot. TestPlantedRaceIsFound requires that the race
// detector reports it. Never built into a product.
func publish(at *atomic.Uint64, v uint64) {
	if plant.Is(plant.RaceLane) {
		*(*uint64)(unsafe.Pointer(at)) = v
		return
	}
	at.Store(v)
}
