//go:build !plant

package seglog

import "sync/atomic"

// publish stores the tail. The plant build replaces it by a plain store, which
// the race detector must report (plant_test.go).
func publish(tail *atomic.Uint64, pos uint64) { tail.Store(pos) }
