package pmem

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"healkv/dataplane/plant"
)

// ErrFault means that a mapped page could not be read or written: the file was
// truncated, the media failed, or its file system is full.
var ErrFault = errors.New("pmem: fault on a mapped page; check the file and its media")

// Guard runs fn so that a fault on mapped memory becomes ErrFault with the
// address, in this goroutine only, and an index that cannot be had any more the
// error that says why. Other panics pass.
func Guard(fn func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if p := recover(); p != nil {
			if err = Fault(p); err == nil {
				panic(p)
			}
		}
	}()
	return fn()
}

// Fault is the error of what recover gave in a goroutine with SetPanicOnFault,
// for those on whose path there is no room for a closure; nil if the panic is
// another one, which must go on.
func Fault(p any) error {
	if l, ok := p.(lost); ok && !plant.Is(plant.DoubtLost) {
		return l.error
	}
	if _, ok := p.(runtime.Error); ok {
		if a, ok := p.(interface{ Addr() uintptr }); ok {
			return fmt.Errorf("%w: address %#x", ErrFault, a.Addr())
		}
	}
	return nil
}
