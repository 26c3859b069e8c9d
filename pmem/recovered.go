package pmem

import (
	"time"

	"healkv/pmem/seglog"
)

// Recovered says what Open found and what it did.
type Recovered struct {
	Tail       uint64 // first position after the last record
	Stable     uint64 // everything below is durable at every member
	Durable    uint64 // recorded as flushed before the crash; Open flushed the rest again
	LastMarker uint64 // newest marker, 0 = none

	LostThrough         uint32
	ViewEpoch           uint32
	PreviousIncarnation uint32
	Complete            bool // false: an unfinished full copy, never to be healed by range
	Clean               bool // the pool was closed in order
	FailedFlush         bool // the last life ended with a failed flush; records above Durable were dropped
	SuperDamaged        int  // superblock copies that did not verify (0 or 1)
	SameBoot            bool
	Kept                bool // the index was kept
	Restored            bool // the index is a checkpoint's, loaded page by page
	Why                 string

	// Shown is where the log ends by its own account. It lies below Tail only if
	// nothing but the index says that there was more, and blanks stand there: the
	// log is an older copy, or has lost its end, and somebody who saw more of it
	// flushed can tell (H19).
	Shown uint64

	// Damage that Open has fenced off. Doubtful says why keys may be missing here,
	// or older than they were, without a trace; empty: none are. A doubtful pool
	// serves nothing until it was compared with a member that is not.
	Salvaged string          // what recovery stumbled over; empty: nothing
	Extents  []seglog.Extent // parts of the log whose records are not known
	Doubtful string

	Replayed  uint64 // records replayed over a kept index
	Records   uint64 // records read for a rebuild
	Keys      uint64 // keys in the index, tombstones included
	Leftovers uint64 // current records at or above Stable

	MapTime, LogTime, IndexTime, FlushTime, Total time.Duration
}

// How is one line for status and logs.
func (r Recovered) How() string { return r.Why }

// Info says what a pool is and what it was given.
type Info struct {
	Path, IndexPath  string
	Domain           Domain
	Granularity      string
	FlushInstruction string // dax only
	PageSize         int    // bytes, as got for the log
	IndexPageSize    int
	SizeBytes        int64
	LogBytes         int64
	SegmentBytes     int
	FreeBytes        uint64 // what users may still append
	UsedBytes        uint64
	IndexBytes       int64 // allocated
	MaxKeys          uint64
}
