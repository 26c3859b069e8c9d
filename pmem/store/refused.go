package store

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Refuse says that no member has a good copy: the key stays refused until it is
// written anew, or RetryRefused. h.Bound is above no timestamp that the damaged
// record can have: a write above it is newer for certain, and cures. It says
// whether that was not known. Any goroutine.
func (s *Store) Refuse(h *Hurt) (news bool) {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.all[h.id()]
	if x == nil {
		return false
	}
	x.refused = true
	if news = !x.lost; news {
		x.lost = true
		t.refused++
	}
	if !plant.Is(plant.MendBound) {
		if t.bounds == nil {
			t.bounds = make(map[uint64]uint64)
		}
		t.bounds[h.Pos] = h.Bound
	}
	return news
}

// retryAlike queues what is refused and may be of a key with this hash: there is
// a newer record now, so a member may have a good one.
func (s *Store) retryAlike(hash uint64) {
	t := &s.hurts
	var again []hurtID
	t.mu.Lock()
	for _, x := range t.list {
		if x.refused && (x.hurt.Hash^hash)&x.hurt.Mask == 0 {
			again = append(again, x.hurt.id())
		}
	}
	t.mu.Unlock()
	for _, id := range again {
		s.requeue(id, true)
	}
	if len(again) > 0 && t.notify != nil {
		t.notify()
	}
}

// boundOf is above no timestamp of the record at pos, whose header is damaged.
func (s *Store) boundOf(pos uint64) uint64 {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	if b, ok := t.bounds[pos]; ok {
		return b
	}
	return TSUnknown
}

// GiveUp takes away every record that is refused, by an operator's order: the
// keys are as if they had never been written. It returns how many. Worker only.
func (s *Store) GiveUp() (n int) {
	for _, h := range s.RefusedHurts() {
		s.erase(&h)
		s.closed(h.id())
		n++
	}
	return n
}

// NoteAt queues the record at pos if its body is damaged and it is current:
// somebody who copied it found that. Worker only.
func (s *Store) NoteAt(pos uint64) {
	if img, is := s.soundness(pos); is == bodyHurt {
		s.NoteRecord(record.Hash(img), pos)
	}
}

// Mending says whether a damaged record that may be of a key with this hash is
// still looked for. Any goroutine.
func (s *Store) Mending(hash uint64) bool {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.list {
		if !x.refused && (x.hurt.Hash^hash)&x.hurt.Mask == 0 {
			return true
		}
	}
	return false
}

// String is for logs: what is known of the key.
func (h *Hurt) String() string {
	switch {
	case h.Sound():
		return fmt.Sprintf("at %d, key hash %016x", h.Pos, h.Hash)
	case len(h.Key) > 0:
		return fmt.Sprintf("at %d, perhaps of key %.64q", h.Pos, h.Key)
	}
	return fmt.Sprintf("at %d, key hash %016x in the bits %016x", h.Pos, h.Hash, h.Mask)
}
