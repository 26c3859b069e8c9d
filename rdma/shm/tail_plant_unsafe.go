//go:build plant

package shm

import (
	"unsafe"

	"healkv/dataplane/plant"
)

// storeTail, without the atomic if the race is planted: TestPlantedRace wants
// to see it reported.
func storeTail(p *page, pos uint64) {
	if plant.Is(plant.RaceStreamTail) {
		*(*uint64)(unsafe.Pointer(&p.tail)) = pos
		return
	}
	p.tail.Store(pos)
}
