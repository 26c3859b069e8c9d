package store

import "healkv/pmem/seglog"

// When the cleaner works, and how much: in proportion to what is appended, so
// that space is gained at the rate at which it is used. Above begin it rests.
// At target it gains as much as is appended; in between less, below more. So
// free space comes to rest somewhere near target, and no turn of the worker
// cleans for many others. What it must look at to gain a byte follows from the
// victim: one that is nearly empty gives almost its size for a look at it.
//
// The less is free the emptier the victims are found, since they had longer to
// become so, and the less is moved: with free space f, live data u of the log
// and writes at random, segments are cleaned in the order of age when a share v
// of them is live, where (1-v)/-ln v = u/(1-f). For u = 1/2 that is v = 0.63 at
// f = 0.37 and v = 0.35 at f = 0.2.
const (
	beginOf  = 5 // begin is 2/5 of the log
	targetOf = 5 // target is 1/5
	paceMax  = 4 // times what is appended
	// burstMax times what was appended since the last step, or the caller's
	// budget, is what one step may spend: who appends much in a turn has a long
	// turn anyway.
	burstMax = 4
)

// pacer turns appended bytes into work.
type pacer struct {
	tail    uint64 // at the end of the last step
	credit  int    // work not done yet
	resting bool   // the last step left nothing to do: what was appended since counts for nothing

	looked, lookedBytes int // records looked at of late, and their size
}

// begins is how many segments are free when the cleaner begins, targets where
// it wants to stay.
func (s *Store) begins() int {
	return max(2*s.log.SegmentCount()/beginOf, s.reserve+2)
}
func (s *Store) targets() int {
	return max(s.log.SegmentCount()/targetOf, s.reserve+1)
}

// gained is how many segments are free or will be without further work.
func (s *Store) gained() int {
	return s.log.FreeSegments() + s.clean.waiting - s.clean.released
}

// urgent: as fast as the budget allows.
func (s *Store) urgent() bool {
	return s.clean.pressed || s.log.Crowded() || s.SpaceShort()
}

// work is how many bytes the cleaner may look at and move in this step.
func (s *Store) work(budget int, sweeps bool) int {
	p := &s.clean.pace
	if p.resting {
		p.tail = s.log.Tail()
	}
	appended := int(s.log.Tail() - p.tail)
	most := max(budget, burstMax*appended)
	if s.urgent() {
		p.credit = most
		return most
	}
	free, begin, target := s.gained(), s.begins(), s.targets()
	switch {
	case free >= begin:
		p.credit = 0
		if s.clean.victim != 0 {
			p.credit = min(budget, appended) // what is begun is finished
		}
	case free < target && appended == 0:
		p.credit = budget // there is time
	default:
		pace := min(float64(begin-free)/float64(begin-target), paceMax)
		p.credit += int(pace * float64(appended) * s.costOfByte())
	}
	if sweeps {
		p.credit = max(p.credit, budget/4) // nobody waits for it
	}
	p.credit = min(p.credit, most)
	return p.credit
}

// costOfByte is how many bytes are looked at or moved for one that is gained, in
// the present victim or, before there is one, about.
func (s *Store) costOfByte() float64 {
	c := &s.clean
	if c.victim == 0 || c.pace.looked == 0 {
		return 2
	}
	all := float64(s.log.SegmentBytes() - seglog.SegmentHeaderBytes)
	live := float64(s.log.Live(c.victim) + c.moved)
	looks := all * headerCost * float64(c.pace.looked) / float64(c.pace.lookedBytes)
	return (looks + live) / max(all-live, all/worthOf)
}

// worthOf: a victim must have about this part of its records dead (seglog).
const worthOf = 32

// saw notes the size of a record that was looked at.
func (p *pacer) saw(bytes int) {
	p.looked++
	if p.lookedBytes += bytes; p.looked >= 1<<16 {
		p.looked, p.lookedBytes = p.looked/2, p.lookedBytes/2
	}
}

// rest notes what is left of a step's work.
func (s *Store) rest(left int) {
	p := &s.clean.pace
	p.credit, p.tail, p.resting = min(left, s.log.SegmentBytes()), s.log.Tail(), !s.WantsCleaning()
}

// Space is what the cleaner has done and what there is, of one shard.
type Space struct {
	Appended uint64 // bytes of the log since New or Reset, without what the cleaner moved
	Moved    uint64 // bytes moved by the cleaner
	Cleaned  uint64 // segments emptied
	Dropped  uint64 // tombstones that went

	Live       uint64 // bytes of records that are not dead, as far as they are counted
	Free       uint64 // FreeBytes
	Tombstones uint64
	Waiting    uint64 // emptied segments that wait for a flush or for readers
}

// Amplification is bytes written to the log for each that users appended.
func (x *Space) Amplification() float64 {
	if x.Appended == 0 {
		return 1
	}
	return float64(x.Appended+x.Moved) / float64(x.Appended)
}

// Space looks at every segment: for status. Worker only.
func (s *Store) Space() Space {
	c := &s.clean
	return Space{Appended: s.log.Tail() - s.began - c.movedAll, Moved: c.movedAll, Cleaned: c.cleaned, Dropped: c.dropped,
		Live: s.log.LiveBytes(), Free: s.FreeBytes(), Tombstones: uint64(max(0, s.tombstones.Load())), Waiting: uint64(c.waiting)}
}
