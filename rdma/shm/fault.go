package shm

import (
	"fmt"
	"runtime/debug"
)

// copyFaulting copies from mapped memory whose file may be shortened by its
// owner meanwhile: the fault becomes an error.
func copyFaulting(dst, src []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(interface{ Addr() uintptr })
			if !ok {
				panic(p)
			}
			err = fmt.Errorf("%w at address %#x", ErrFault, f.Addr())
		}
	}()
	copy(dst, src)
	return nil
}

// copyTorn copies heap memory that its owner may be writing: the bytes are
// checksummed by their reader, so the race detector has no say here.
//
//go:norace
func copyTorn(dst, src []byte) { copy(dst, src) }
