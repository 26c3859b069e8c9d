//go:build !plant

package dataplane

import "sync/atomic"

// publish hands over what stands in a ring below v; pairs with the load of the
// other side (lane, batchRing).
func publish(at *atomic.Uint64, v uint64) { at.Store(v) }
