//go:build plant

package seglog

import (
	"sync/atomic"
	"unsafe"
)

// publish is wrong on purpose: readers of the tail are not ordered after the
// record's bytes. Only the test that proves the race detector sees it builds
// with this tag.
func publish(tail *atomic.Uint64, pos uint64) { *(*uint64)(unsafe.Pointer(tail)) = pos }
