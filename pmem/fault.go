package pmem

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// ErrFault means that a mapped page could not be read or written: the file was
// truncated, the media failed, or its file system is full.
var ErrFault = errors.New("pmem: fault on a mapped page; check the file and its media")

// guard runs fn so that a fault on mapped memory becomes ErrFault with the
// address, in this goroutine only. Other panics pass.
func guard(fn func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if e, ok := p.(runtime.Error); ok {
			if a, ok := p.(interface{ Addr() uintptr }); ok {
				err = fmt.Errorf("%w: address %#x: %w", ErrFault, a.Addr(), e)
				return
			}
		}
		panic(p)
	}()
	return fn()
}
