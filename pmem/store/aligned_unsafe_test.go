package store

import "unsafe"

// aligned cuts mem so that it starts on a cache line, as the index wants.
func aligned(mem []byte) []byte {
	return mem[-uintptr(unsafe.Pointer(unsafe.SliceData(mem)))&63:]
}
