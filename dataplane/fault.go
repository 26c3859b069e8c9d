package dataplane

import (
	"runtime/debug"

	"healkv/dataplane/plant"
	"healkv/pmem"
	"healkv/pmem/store"
)

// get is Reader.Get in the caller's goroutine, which may be anybody's: a fault
// on a mapped page becomes an error and does not end the program. The reader
// has left then, so that the memory can be unmapped.
func get(r *store.Reader, hash uint64, key, dst []byte) (value []byte, ts uint64, st store.State, fault error) {
	if plant.Is(plant.FaultReader) {
		value, ts, st = r.Get(hash, key, dst)
		return value, ts, st, nil
	}
	defer unguard(debug.SetPanicOnFault(true), r, &fault)
	value, ts, st = r.Get(hash, key, dst)
	return value, ts, st, nil
}

// look is burst.inside, likewise.
func (b *burst) look() (open bool, fault error) {
	defer unguard(debug.SetPanicOnFault(true), b.reader, &fault)
	return b.inside(), nil
}

// unguard is deferred: it makes a fault under the reader an error.
func unguard(before bool, r *store.Reader, fault *error) {
	debug.SetPanicOnFault(before)
	p := recover()
	if p == nil {
		return
	}
	if *fault = pmem.Fault(p); *fault == nil {
		panic(p)
	}
	if !plant.Is(plant.FaultInside) {
		r.Leave()
	}
}
