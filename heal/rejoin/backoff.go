package rejoin

import "math/bits"

// Backoff is how long a life waits from its begin before it asks to be
// admitted, in nanoseconds; failed is View.Failed of its node, lease a lease
// in nanoseconds (0: it never waits), random any 64 bits.
//
// The first two tries are free, the third waits a twentieth of a lease, each
// further one twice as long, up to thirty leases; all of it up to a quarter
// more or less, so that several do not come at once.
//
// A shadow counts in "everywhere": one that dies may stop all writes for as
// long as its death goes unproven, about a lease. With these waits a node that
// dies for ever in its way back takes little of the others' time.
func Backoff(failed uint8, random uint64, lease int64) int64 {
	if failed < 2 || lease <= 0 {
		return 0
	}
	most := 30 * lease
	wait := most
	if k := failed - 2; k < 16 {
		wait = min(lease/20<<k, most)
	}
	more, _ := bits.Mul64(random, uint64(wait/2+1))
	return wait - wait/4 + int64(more)
}
