//go:build plant

package index

import (
	"sync/atomic"

	"healkv/dataplane/plant"
)

// planted says that this build can carry the race the tests must find.
const planted = true

// storeWord, without the atomic if the race is planted: TestPlantedRaceIsFound
// requires that the race detector reports it. Never built into a product.
func storeWord(p *uint64, w uint64) {
	if plant.Is(plant.RaceWord) {
		*p = w
		return
	}
	atomic.StoreUint64(p, w)
}
