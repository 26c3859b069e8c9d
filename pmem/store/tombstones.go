package store

import (
	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// A tombstone goes when the cleaner comes to it in the oldest live segment, and
// Bounds.Drop allows it: older records of the key stand below it in the log, as
// everything of a key is appended in the order of timestamps and only its
// current record is ever moved, upwards. So below the oldest segment there is
// nothing an opening could take for the key's. A segment that was given back
// just before may come back by a power loss, though, as long as its zeroed
// header is not flushed: what has dropped tombstones is given back after that.
//
// As cold records would keep the oldest segment for ever, the cleaner sweeps
// when there are many: it takes segments in the order of their age until it has
// come to where the tail stood.

// stonesMany: a sweep moves every record once. It is worth that if tombstones
// are this part of the index, and some.
const (
	stonesOf  = 8
	stonesMin = 4
)

type sweep struct {
	to   uint64 // segments below it are taken in the order of age; 0: no sweep
	drop uint64 // Bounds.Drop of the last sweep
}

// OnDrop is told of each tombstone that the cleaner drops. For tests; before the
// worker starts.
func (s *Store) OnDrop(fn func(hash, ts uint64)) { s.onDrop = fn }

// Tombstones is how many there are, as far as they are counted. Any goroutine.
func (s *Store) Tombstones() uint64 { return uint64(max(0, s.tombstones.Load())) }

// TombstonesMany says that a sweep would be worth its cost. Any goroutine.
func (s *Store) TombstonesMany() bool {
	n := s.Tombstones()
	return n >= stonesMin && n >= s.x.Len()/stonesOf
}

// sweeps says whether the cleaner is sweeping, and begins when that is due.
func (s *Store) sweeps(b *Bounds) bool {
	w := &s.clean.sweep
	if b.Drop > w.drop && !s.clean.uncounted && s.TombstonesMany() {
		w.drop, w.to = b.Drop, min(s.log.Tail(), b.Below)
	}
	if w.to != 0 && (b.Drop == 0 || s.log.Oldest() >= w.to&^uint64(s.log.SegmentBytes()-1)) {
		w.to = 0
	}
	return w.to != 0
}

// gone says whether the tombstone at pos of the victim is dropped, and drops it.
func (s *Store) gone(pos uint64, h *record.Header, b *Bounds) bool {
	if h.Kind != record.Delete || h.TS >= b.Drop || pos >= b.Stable && !plant.Is(plant.TombstoneUnstable) ||
		s.log.Oldest()/uint64(s.log.SegmentBytes()) != s.clean.victim && !plant.Is(plant.TombstoneOlder) {
		return false
	}
	if !s.Drop(h.Hash, pos) {
		return false
	}
	s.clean.dropped++
	if s.onDrop != nil {
		s.onDrop(h.Hash, h.TS)
	}
	s.clean.droppedHere = true
	return true
}

// sweepWaits: the oldest segment is emptied and not given back yet. Tombstones of
// the next one can go only after it.
func (s *Store) sweepWaits(bound uint64) bool {
	number, _ := s.log.OldestSealed(bound)
	return s.log.Oldest()/uint64(s.log.SegmentBytes()) != number && s.gained() >= s.targets() && !s.urgent()
}

// victimOf is the log's choice, or the oldest segment if the cleaner sweeps.
func (s *Store) victimOf(bound uint64, sweeps bool) (number uint64, ok bool) {
	if sweeps {
		if number, ok = s.log.OldestSealed(bound); ok {
			return number, true
		}
	}
	return s.log.Victim(bound)
}
