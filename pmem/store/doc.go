// Package store is one shard's records: log, index, lock-free readers and the
// cleaner. A key's record is found by its hash in the index, which refers to
// the log; the full key is always compared there.
//
// It decides nothing about timestamps, views or visibility: the caller says
// which record replaces which and which is locked. It flushes nothing (the
// pool does) and knows no files.
//
// Sources: storage.md, "Index", "Space", "Damage"; hazards H23, H25.
//
// # Goroutines
//
// The worker owns the store: only it appends and stores index words. Readers
// are other goroutines, each with a Reader of its own; ForEach and Manifest
// announce themselves in the same way.
//
// # Why a reader needs no lock
//
// A record does not change while an index word may lead to it (seglog L3), so a
// reader only has to be sure that the place is not reused under it:
//
//	reader:  store its announcement; load index words, read records; store 0
//	worker:  store the index words that lead elsewhere; advance the epoch;
//	         load the announcements; reuse
//
// All of these are sequentially consistent atomics. If the worker's load does
// not see an announcement, the reader's index loads come after the worker's
// stores and lead elsewhere. If it does see one made before the epoch advanced,
// it waits. Segments and index pages use the same announcement.
//
// # The cleaner
//
// Clean examines a sparse sealed segment below the caller's Bounds, appends the
// records that the index still refers to once more (same TS, owner and sequence
// number; see Bounds for the flags) and gives the segment back when
//
//   - the log is flushed through the tail as it stood when the examination
//     ended, so that every record that made one here obsolete is durable (H25),
//   - every reader announced before that has left, and
//   - it still lies below the bounds.
//
// Tombstones are records like others. The newest marker is relocated too. A
// locked record is never moved: whoever will unlock it knows its position.
//
// # Damage
//
// Every read verifies what it returns, and the worker every header it decides
// by. A record that does not verify is a Hurt: it is never taken for a miss, nor
// for older or newer than anything, until Repair and Settle (damage.go,
// docs/decisions/0025). A Scrubber looks where nobody reads.
//
// Invariants, by number in asserts and tests:
//
//	S1  A key has at most one word in the index; and beside it, where the index
//	    says so (MarkBeside), words of damaged records that may be its own.
//	S2  Put follows its Find: the record of the key did not change in between.
//	S3  What an index word leads to stays until every reader that may have
//	    loaded the word has left.
//	S4  Cleaning loses no record that the index refers to.
//
// Units: bytes; positions are the log's. Nothing on the path of Find, Put,
// PutCopy, References, Lock, Unlock, Get and Clean allocates.
package store
