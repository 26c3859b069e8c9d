package replica

import (
	"errors"
	"fmt"
	"math/bits"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
)

// ErrIndexFull is what a node stops with whose index cannot take a record that
// the group has: it could no longer acknowledge, nor read what it acknowledged.
// Coordinators refuse new keys long before (keysShort).
var ErrIndexFull = errors.New("replica: the index is full; format the pool with a larger max_keys")

const (
	// fullPage is how many words a page of the index (2048 slots) holds on the
	// average when the fullest of many begins to refuse: five and a half
	// standard deviations below its limit.
	fullPage = 1740
	// keysSpare is the part of the index, a 16th, that is kept for what is
	// under way from other coordinators, and so that overwrites and deletes
	// always find room.
	keysSpare = 16
	// recordBytesMin is the smallest record: a header, a key of one byte.
	recordBytesMin = 80
)

// keysMax is how many keys the index takes for certain. Pages split when they
// are three quarters full, all at about the same time; the last time for which
// the pages suffice leaves a power of two of them, which then fill up.
func keysMax(u index.Usage) uint64 {
	pages := u.PagesMax - u.PagesMax/32 - 8 // some are retired and wait for readers
	if pages < 2 {
		return 0
	}
	return fullPage << (bits.Len(uint(pages)) - 1)
}

// keysMost is how many keys fit for certain: fewer while the index cannot grow,
// as its file system is full. Then pages of half the depth fill up.
func (s *Shard) keysMost() uint64 {
	x := s.st.Index()
	if x.Starved() == nil || plant.Is(plant.IndexStarved) {
		return s.keysMax
	}
	u := x.Usage()
	return min(s.keysMax, fullPage<<(bits.Len(uint(u.Pages))-1))
}

// freeKeys is how many more keys fit for certain.
func (s *Shard) freeKeys() uint64 {
	most := s.keysMost()
	return most - min(s.st.Index().Len(), most)
}

// keysShort says that a coordinator refuses new keys.
func (s *Shard) keysShort() bool { return s.freeKeys() <= s.keysMost()/keysSpare }

// Failed is why this shard must stop: it can keep no promise any more. nil
// while all is well.
func (s *Shard) Failed() error { return s.failure }

//go:noinline
func (s *Shard) indexFull(cause error) {
	if s.failure != nil {
		return
	}
	u := s.st.Index().Usage()
	s.failure = fmt.Errorf("%w: %d keys in %d of %d pages", ErrIndexFull, u.Words, u.Pages, u.PagesMax)
	if cause != nil {
		s.failure = fmt.Errorf("%w: %w", s.failure, cause)
	}
}

// LimitKeys replaces what is known of the index's size, for tests, which
// cannot make one of any size. It returns how many keys are accepted at most.
func (s *Shard) LimitKeys(n uint64) uint64 {
	s.keysMax = n
	return n - n/keysSpare + 1
}
