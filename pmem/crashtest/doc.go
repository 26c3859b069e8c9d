// Package crashtest is the recording region of storage.md ("Crash states"): it
// watches the memory of a pool, its flushes and its drains, and enumerates what
// a power loss could leave at any moment.
//
// What it takes for granted about a medium: what was flushed and then drained
// is there. Of everything else each cache line (dax) or page (file) may or may
// not be there, in any version it ever had since, torn at 8 bytes. A lost flush
// or drain (LoseFlush, LoseDrain) shows whether the tests built on it would
// notice one missing in the code.
//
// Stores are plain writes to memory, so they are not heard of one by one: the
// recorder compares the memory with its own copy at every flush, at every drain
// and whenever Observe is called. A value that was overwritten between two
// looks is not among the states.
//
// It is for tests only; nothing that ships imports it. One goroutine.
//
// Units: offsets in bytes of the compact image, which is the two superblock
// copies followed by the log's arena.
//
// Sources: storage.md; pmreorder of PMDK for the enumeration between barriers.
package crashtest
