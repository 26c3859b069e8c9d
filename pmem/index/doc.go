// Package index is the hash index of one shard: from the hash of a key to the
// log positions of the records that may hold it.
//
// It is extendible hashing over memory the caller gives (a mapped file or Go
// heap): a directory of page references, pages of 256 buckets, buckets of
// eight words in one cache line. It grows one page at a time, so the worst
// stall of an insert is one page split and does not depend on the number of
// keys (docs/decisions/0002-index-by-page-splits.md says what was weighed).
//
// It is not a map: it knows no keys. A word says where a record with an equal
// tag lies; the caller compares the full key in the log. It does no I/O; the
// memory is never flushed, so what it promises is to survive the death of the
// process (SIGKILL at any instruction), not a power loss.
//
// Use of a hash, from the top: up to 26 bits choose the directory entry, bits
// 37..23 are the tag, bits 22..15 choose the bucket. The low 15 bits are not
// used: choose the shard by them.
//
// Goroutines. The worker, and only the worker, calls Insert, Store, Erase,
// Retired, Release, Reset and SetMark. Seek and everything of a Cursor, Mark
// and Len may be called by any goroutine. A reader other than the worker
// announces itself to the caller's own protocol before Seek and leaves after
// Valid or SameDirectory; the worker asks Retired, sees to it that every reader
// that was inside has left, and calls Release. Only then is a page used again.
//
// Invariants, quoted by number in asserts and tests:
//
//	X1  A word that is not empty keeps its tag until it is erased.
//	X2  In a probe sequence no live word stands behind an empty one.
//	X3  A page that a split has begun to copy takes no more stores; it stays
//	    readable until Release.
//	X4  The entries of a page are one aligned block of 2^(depth-local) equal
//	    entries; no two blocks share a page.
//	X5  A directory level is complete before depth names it.
//	X6  Memory is consistent after every single store: Open needs at most to
//	    finish the directory switch that the header's intent describes.
//
// Allocation: Create, Open and Build allocate what splits need later. Seek,
// Next, Valid, Store and Insert allocate nothing.
//
// Units: memory in bytes, positions in bytes of the log (multiples of 16).
//
// Sources: R. Fagin, J. Nievergelt, N. Pippenger, H. R. Strong, Extendible
// Hashing, ACM TODS 4(3), 1979.
package index
