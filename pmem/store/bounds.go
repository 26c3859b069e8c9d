package store

import (
	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Bounds are the log positions a step of Clean goes by. Their owner keeps to
// 0 while it does not know who is away.
type Bounds struct {
	// Below it lies what may be moved and given back. It is at or below every
	// position the caller still names and every pin: who reads a range of this
	// log finds it as it was listed.
	Below uint64
	// Stable: what lies below is durable at every member. A copy of something
	// above is no more than the record appended once more, and a crash leaves
	// both to be settled.
	Stable uint64
	// Missed is where the lowest missed range begins; ^0: there is none. A node
	// that is away has all that was stable before it, and may lack anything
	// from there on.
	Missed uint64
	// Drop: a tombstone with a lower timestamp may go, as far as the members are
	// concerned; 0: none may. See tombstones.go.
	Drop uint64
	// Busy: somebody was served in this turn of the worker. What has time waits.
	Busy bool
	// Later: nothing is counted in this turn, as long as space is not wanted.
	Later bool
}

// Upto are bounds for who has neither recoveries nor anything unstable.
func Upto(pos uint64) Bounds { return Bounds{Below: pos, Stable: pos, Missed: ^uint64(0)} }

// flags are those of the copy of a record that stands at pos. Together with
// listed they keep this promise: of the records that were at or above the
// beginning of a missed range when they were moved, none drops out of it.
//
// The copy of what lies below all missed ranges and is stable says so: whoever
// is away has it, wherever the copy lies. A copy out of a missed range says
// that it is to be listed. It is marked as relocated all the same, since it is
// stable: after a crash it is readable at once. What is not stable keeps the
// flags it has. So does a relocated record that lies in a missed range: that it
// is not listed there, or that it is, was decided when it was first moved, and
// it holds. Ranges that began since begin above it: positions are stable before
// they are moved with a mark, and a range begins at the stable position.
func (b *Bounds) flags(pos uint64, flags uint32) uint32 {
	switch {
	case pos >= b.Stable && !plant.Is(plant.SpaceUnstable):
		return flags
	case pos < b.Missed || plant.Is(plant.SpaceUnlisted):
		return flags&^record.FlagMissed | record.FlagRelocated
	case flags&record.FlagRelocated == 0:
		return flags | record.FlagRelocated | record.FlagMissed
	}
	return flags
}

// listed says whether a record with these flags counts as one of the missed
// range it lies in.
func listed(flags uint32) bool {
	return flags&(record.FlagRelocated|record.FlagMissed) != record.FlagRelocated
}
