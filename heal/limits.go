package heal

import (
	"cmp"
	"time"
)

// Limits are sizes of pieces in which a recovery goes on. No one is needed for
// correctness: a simulation makes them small, so that small ranges take many
// steps. Zero takes the default.
type Limits struct {
	Batches        int // of records at the worker, at most 64
	BatchBytes     int // at least 4 KiB; a recovery rests between two
	FirstPageBytes int // the first page of a list is short: something to read at once
	PageBytes      int
	// PageRecords is after how many bytes of listed records a page ends, however
	// short it is: with the next request the buddy hears what has been read and
	// may clean there.
	PageRecords uint64
	// LastStepBytes is how much of the log the list's last step may walk on the
	// shard's worker: about a millisecond's worth.
	LastStepBytes uint64
	// WalkBytes: after so much of the log the buddy's walk waits for WalkPause.
	// The default is not to wait; where nothing runs beside the walk otherwise,
	// this lets the worker in between.
	WalkBytes uint64
	WalkPause time.Duration
	Leftovers int // offered to a worker at once
	// PartBits is into how many parts, 1<<PartBits, each range whose digest differs
	// is cut; 0: by how many keys there are.
	PartBits int
	// CompareBusy: a range that was written to in so many rounds of comparing in a
	// row is looked at key by key.
	CompareBusy int
}

// pageTime is how long a page takes at the most where a recovery goes at its floor:
// between two the buddy hears what was read, and the member that it should hurry.
// The log of a buddy that everybody writes to fills in seconds.
const pageTime = 64 // ms

// pageRecords is PageRecords where a recovery may go at a floor, in bytes per
// millisecond; 0: it may not.
func (l *Limits) pageRecords(floor int) uint64 {
	if floor <= 0 {
		return l.PageRecords
	}
	return min(l.PageRecords, uint64(floor)*pageTime)
}

func (l Limits) filled() Limits {
	l.Batches = min(cmp.Or(l.Batches, 4), 64)
	l.BatchBytes = max(cmp.Or(l.BatchBytes, 64<<10), 4<<10)
	l.FirstPageBytes = cmp.Or(l.FirstPageBytes, 4<<10)
	l.PageBytes = cmp.Or(l.PageBytes, 128<<10)
	l.PageRecords = cmp.Or(l.PageRecords, 4<<20)
	l.LastStepBytes = cmp.Or(l.LastStepBytes, 128<<10)
	l.Leftovers = cmp.Or(l.Leftovers, 4096)
	l.CompareBusy = min(cmp.Or(l.CompareBusy, 8), 255)
	return l
}
