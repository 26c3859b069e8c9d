// Package pmem holds what a node keeps across a crash: mapped regions with
// their flush and drain, and the pool of a shard (superblock, record log,
// index) with its formatting and opening.
//
// It is the only package that flushes lines or calls fdatasync. It knows
// nothing of streams, views or peers: positions and epochs are numbers that
// the caller hands in and gets back after a crash.
//
// Persist is flush plus drain, and the parts are public, so that many flushes
// share one drain. What Persist does not promise: that bytes reach the media
// no earlier. Any store may become durable at any moment after it was made;
// order exists only between a drain and the stores that follow it.
//
// Units: offsets and sizes in bytes, positions in logical log bytes (see
// pmem/seglog).
//
// Invariants, quoted by number in asserts and tests:
//
//	P1  The recorded durable position never passes what a finished drain covers.
//	P2  The stable position never passes the durable one.
//	P3  A superblock copy is overwritten only after the other one was drained.
//	P4  After a failed drain nothing more is ever reported durable.
//	P5  Positions are never used twice in the life of a pool.
//	P6  The index lies on tmpfs, never in a file that is flushed.
//	P7  One flush is under way at a time; while it is, nobody else drains or
//	    writes a superblock. It makes durable what the log held when it began.
//
// Goroutines: a Pool's Flush, StartFlush, FinishFlush, SetStable and Discard
// belong to the shard's worker; WriteSuperblock, Info and the getters may be
// called by anyone. In the file domain the drain of a flush that StartFlush
// began runs on a goroutine of the pool's (flush.go).
// Memory: opening, formatting and rebuilding allocate; Flush in its steady
// state does not.
//
// Sources: design page storage.md; the PMDK manual for flush/drain/persist;
// Intel SDM vol. 2 for CLWB, CLFLUSHOPT, CLFLUSH and SFENCE.
package pmem
