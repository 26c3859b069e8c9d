//go:build amd64

package index

import "unsafe"

// prefetch asks for the cache line at p. It is a hint without effect on any
// result.
//
//go:noescape
func prefetch(p unsafe.Pointer)

// prefetchLines asks for so many lines from the one at p on, at least one.
//
//go:noescape
func prefetchLines(p unsafe.Pointer, lines int)
