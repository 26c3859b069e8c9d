//go:build plant

package shm

import "unsafe"

// storeTail without the atomic: a planted race, which TestPlantedRace wants to
// see reported.
func storeTail(p *page, pos uint64) { *(*uint64)(unsafe.Pointer(&p.tail)) = pos }
