//go:build plant

package index

// planted says that this build carries the race the tests must find.
const planted = true

// storeWord without the atomic: TestPlantedRaceIsFound requires that the race
// detector reports it. Never built into a product.
func storeWord(p *uint64, w uint64) { *p = w }
