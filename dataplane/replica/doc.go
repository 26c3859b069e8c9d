// Package replica is the protocol of one shard at one node: coordinator and
// follower, views, settling, roll-forward, adoption of a buddy's records. It
// decides; it opens nothing and waits for nothing. The shard loop feeds events
// in (client operations, stream bytes, watermarks, flushed positions, views)
// and carries the effects out (publish, flush, answer). Equal events give
// equal effects: there is no clock, no goroutine and no randomness here, and
// the memory it works on (ring, log, index) is plain bytes handed to it.
//
// Sources: protocol.md; Hermes (ASPLOS'20) for INV/ACK/VAL and timestamps;
// DDP (MICRO'21) and MINOS (HPCA'24) for the persistency models; HEAL (arXiv
// 2602.08257) for missed updates, buddy and shadow.
//
// Units: positions and sizes in bytes. A stream position counts the bytes of
// one coordinator's stream; an entry's sequence number is the position after
// it. A log position is seglog's.
//
// Everything here belongs to the shard's worker goroutine. After New the paths
// of writes, INVs and watermarks allocate only when a queue grows, which its
// bound by the ring size ends.
//
// Invariants, named in asserts and tests:
//
//	R1  A record's timestamp never moves backwards (I8).
//	R2  visible, stable, applied, durable and the stable position never step
//	    back within one life (I8).
//	R3  durable never passes what the log has flushed (H11).
//	R4  Nothing of a newer view or of an older incarnation changes anything
//	    (H3, H4, H9).
//	R5  The stable position never passes a record that is not known to be
//	    durable everywhere, nor the flushed mark (H16, H20).
//	R6  The own log gets the entries of the own stream in their order, and what was
//	    offered before anything else happens.
package replica

// invariant is the text an assert fails with.
type invariant string

const (
	r1 invariant = "R1: a record's timestamp moved backwards"
	r2 invariant = "R2: a watermark stepped back"
	r3 invariant = "R3: durable passed the flushed position"
	r4 invariant = "R4: something of another view or life took effect"
	r5 invariant = "R5: the stable position passed an unstable record"
	r6 invariant = "R6: something came between an offer and its keeping"
)

// assert stays on in every build; only the failing side formats.
func assert(ok bool, broken invariant) {
	if !ok {
		assertFailed(broken)
	}
}

//go:noinline
func assertFailed(broken invariant) { panic("replica: invariant broken: " + string(broken)) }
