//go:build amd64 && !race

package shm

import (
	"sync/atomic"
	"unsafe"
)

// storeEarly stores v where an atomic store to the same line follows: processors
// of this kind make stores visible in their order, and Go's compiler does not
// exchange them. An atomic store waits until the line is here alone, and whoever
// watches the line takes it away again before the next one; the numbers stored so
// go out together with that last one. The race detector's builds, and other
// processors, store each atomically.
func storeEarly(at *atomic.Uint64, v uint64) { *(*uint64)(unsafe.Pointer(at)) = v }
