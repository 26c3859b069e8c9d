package store

import (
	"cmp"
	"fmt"
	"slices"

	"healkv/dataplane/plant"
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
	if news = !x.refused; news {
		x.refused = true
		t.refused++
	}
	if !plant.Is(plant.MendBound) {
		if t.bounds == nil {
			t.bounds = make(map[uint64]uint64)
		}
		t.bounds[h.Pos] = h.Bound
	}
	return news && !x.told(h)
}

// told remembers that a refusal was reported: a retry that ends in the same is
// no news.
func (x *hurtState) told(h *Hurt) bool {
	was := x.hurt.Bound != 0
	x.hurt.Bound = max(h.Bound, 1)
	return was
}

// retryAlike queues what is refused and may be of a key with this hash: there is
// a newer record now, so a member may have a good one.
func (s *Store) retryAlike(hash uint64) {
	t := &s.hurts
	var again []hurtID
	t.mu.Lock()
	for id, x := range t.all {
		if x.refused && (x.hurt.Hash^hash)&x.hurt.Mask == 0 {
			again = append(again, id)
		}
	}
	t.mu.Unlock()
	slices.SortFunc(again, hurtID.compare) // the map's order must not matter
	for _, id := range again {
		s.requeue(id, true)
	}
	if len(again) > 0 && t.notify != nil {
		t.notify()
	}
}

func (a hurtID) compare(b hurtID) int {
	return cmp.Or(cmp.Compare(a.pos, b.pos), cmp.Compare(a.hash, b.hash), cmp.Compare(a.mask, b.mask))
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

// Mending says whether a damaged record that may be of a key with this hash is
// still looked for. Any goroutine.
func (s *Store) Mending(hash uint64) bool {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.all {
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
