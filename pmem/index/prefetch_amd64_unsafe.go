//go:build amd64

package index

import "unsafe"

// prefetch asks for the cache line at p. It is a hint without effect on any
// result.
//
//go:noescape
func prefetch(p unsafe.Pointer)
