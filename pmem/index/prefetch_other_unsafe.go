//go:build !amd64

package index

import "unsafe"

func prefetch(unsafe.Pointer) {}
