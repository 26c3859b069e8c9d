//go:build !plant

package store

import "sync/atomic"

// planted says that this build carries the race the tests must find.
const planted = false

// announce stores a reader's epoch; pairs with the loads in (*Store).left.
func announce(at *atomic.Uint64, epoch uint64) { at.Store(epoch) }
