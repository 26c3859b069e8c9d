//go:build plant

package store

import (
	"sync/atomic"
	"unsafe"

	"healkv/dataplane/plant"
)

// planted says that this build can carry the race the tests must find.
const planted = true

// announce, without the atomic if the race is planted: the cleaner may not see
// it in time. TestPlantedRaceIsFound requires that the race detector reports
// it. Never built into a product.
func announce(at *atomic.Uint64, epoch uint64) {
	if plant.Is(plant.RaceAnnounce) {
		*(*uint64)(unsafe.Pointer(at)) = epoch
		return
	}
	at.Store(epoch)
}
