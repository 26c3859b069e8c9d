//go:build !amd64 || race

package shm

import "sync/atomic"

func storeEarly(at *atomic.Uint64, v uint64) { at.Store(v) }
