// Package lease is what the read and write paths look at to know that the
// node may serve: one atomic load and one look at the clock. It decides
// nothing; the membership extends and revokes.
//
// The clock is Go's monotonic one (CLOCK_MONOTONIC). It stands still while
// the machine is suspended, and a snapshot of a running machine takes the
// lease with it: neither may be done to a serving node.
package lease

import (
	"sync/atomic"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
)

// Now is the time leases of a running node are counted in: that of flow.Real.
func Now() int64 { return flow.Now() }

// Holder is this node's lease. Any number of readers, one goroutine at a time
// extends and revokes. The zero Holder holds nothing. It knows no clock but
// through Valid: what Extend is given and Until gives is on its owner's.
type Holder struct {
	_ [64]byte // readers on all cores share this line and nothing else
	// until is the end of the lease on the owner's clock; 0: revoked. Readers load,
	// Extend and Revoke store.
	until atomic.Int64
	// generation is stored before until is, so that a reader that sees the
	// lease valid again sees the new generation too.
	generation atomic.Uint64
	_          [48]byte
}

// Valid reports whether the node may serve at this moment. A read checks it
// after it copied the value, together with Generation (hazard H12):
//
//	g := h.Generation()
//	… copy the value …
//	ok := h.Valid() && h.Generation() == g
func (h *Holder) Valid() bool { return h.ValidAt(Now()) }

// ValidAt is Valid on the owner's clock, where that is not Now.
func (h *Holder) ValidAt(now int64) bool { return h.until.Load() > now }

// Generation changes whenever the lease was lost and won again, and whenever
// it was revoked because a view or a new life ended it.
func (h *Holder) Generation() uint64 { return h.generation.Load() }

// Until is the end of the lease on the owner's clock; 0 if revoked or never held.
func (h *Holder) Until() int64 { return h.until.Load() }

// Extend moves the end of the lease to until, never backwards. now is the
// time at which the grants were in hand: if the lease before had run out by
// then, this is a new one. The result reports that.
func (h *Holder) Extend(until, now int64) (again bool) {
	old := h.until.Load()
	if until <= old && !plant.Is(plant.LeaseBack) || until <= now {
		return false
	}
	if again = old <= now; again && !plant.Is(plant.LeaseGeneration) {
		h.generation.Add(1)
	}
	h.until.Store(until)
	return again
}

// Revoke ends the lease at once.
func (h *Holder) Revoke() {
	h.generation.Add(1)
	if !plant.Is(plant.LeaseRevoke) {
		h.until.Store(0)
	}
}

// Timed is a Holder on another clock than Now: that of a simulated process.
type Timed struct {
	*Holder
	Clock interface{ Now() int64 } // flow.Env
}

// Valid is the Holder's on that clock.
func (t Timed) Valid() bool { return t.ValidAt(t.Clock.Now()) }
