package dataplane

import (
	"cmp"
	"time"
)

// Limits bound what a worker does in one turn and how long it puts something
// off. No bound is needed for correctness: a simulation makes them small, so
// that what is rare in a running node happens often. Zero takes the default.
type Limits struct {
	Ops             int           // operations under way at one shard, all sessions
	ClientBurst     int           // operations taken per turn
	StreamBurst     int           // stream bytes applied per member and turn
	ForwardBurst    int           // roll-forwards per turn
	AdoptBurst      int           // buddy's records per turn
	CleanBurst      int           // bytes the cleaner looks at per turn
	BackgroundBytes uint64        // Eventual, Scope: flush when so much waits
	BackgroundEvery time.Duration // Eventual, Scope: flush at least so often
	DeadlineEvery   time.Duration // how often operations under way are looked at
	DigestEvery     time.Duration // how often a busy worker sums up another page of the index after an opening
	FaultPause      time.Duration // how long a stream rests after bytes that fail their checks
	// NoRoomPatience is how long a member may owe its first log space before a
	// write is refused: a process that joins on a busy host is that slow.
	NoRoomPatience time.Duration
	// RenewEvery is how long a view lasts at least before a new one with the same
	// members is asked for because of tombstones: those of its own epoch stay.
	RenewEvery time.Duration
	// Stones is how many tombstones there must be before the members tell one
	// another what is needed to drop them.
	Stones uint64
}

// DefaultLimits are those of a running node.
func DefaultLimits() Limits {
	return Limits{Ops: opsMax, ClientBurst: 512, StreamBurst: 256 << 10, ForwardBurst: 256, AdoptBurst: 256, CleanBurst: 64 << 10,
		BackgroundBytes: 1 << 20, BackgroundEvery: 10 * time.Millisecond, DeadlineEvery: 20 * time.Millisecond,
		DigestEvery: 2 * time.Millisecond,
		FaultPause:  100 * time.Millisecond, NoRoomPatience: time.Second, Stones: 1024, RenewEvery: time.Minute}
}

const opsMax = 16 << 10

// A slab of operations must be able to hold the longest lane.
const _ = uint(opsMax - sessionOpsMax)

// limits are Limits as the worker uses them: times in nanoseconds.
type limits struct {
	ops, client, stream, forward, adopt, clean                 int
	backgroundBytes                                            uint64
	backgroundEvery, deadlineEvery, faultPause, noRoomPatience int64
	digestEvery, renewEvery                                    int64
	stones                                                     uint64
}

func (l Limits) filled() limits {
	d := DefaultLimits()
	return limits{
		ops: cmp.Or(l.Ops, d.Ops), client: cmp.Or(l.ClientBurst, d.ClientBurst), stream: cmp.Or(l.StreamBurst, d.StreamBurst),
		forward: cmp.Or(l.ForwardBurst, d.ForwardBurst), adopt: cmp.Or(l.AdoptBurst, d.AdoptBurst), clean: cmp.Or(l.CleanBurst, d.CleanBurst),
		backgroundBytes: cmp.Or(l.BackgroundBytes, d.BackgroundBytes), backgroundEvery: int64(cmp.Or(l.BackgroundEvery, d.BackgroundEvery)),
		deadlineEvery: int64(cmp.Or(l.DeadlineEvery, d.DeadlineEvery)), faultPause: int64(cmp.Or(l.FaultPause, d.FaultPause)),
		digestEvery:    int64(cmp.Or(l.DigestEvery, d.DigestEvery)),
		noRoomPatience: int64(cmp.Or(l.NoRoomPatience, d.NoRoomPatience)),
		stones:         cmp.Or(l.Stones, d.Stones), renewEvery: int64(cmp.Or(l.RenewEvery, d.RenewEvery)),
	}
}
