package replica

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// Adoption is what became of a buddy's record.
type Adoption uint8

const (
	Adopted   Adoption = iota // newer than the own: taken
	AdoptSame                 // equal: visibility taken over where allowed
	AdoptOld                  // the own is newer: ignored
	AdoptFull                 // no log space now: offer it again
	AdoptSeed                 // the buddy hashes keys with another seed: not taken
)

// Adopt offers one verified record of the buddy's missed range (protocol.md,
// "Rejoin of f", 4). locked is the buddy's lock, which is derived there.
//
// A locked record of a live owner needs nothing here: its entry lies above the
// position from which the owner feeds this node, so the stream brings it, if
// the owner lives that long. One whose owner is gone, now or by a later view, is
// rolled forward by this node: it may be the only one that has it (H7, H8).
func (s *Shard) Adopt(img []byte, locked bool) Adoption {
	hd := &s.head
	record.Decode(img, hd)
	n := hd.Bytes()
	key := record.Key(img)
	hash := s.st.Hash(key)
	if hash != hd.Hash && !plant.Is(plant.SeedRehashed) {
		return AdoptSeed
	}
	e := &s.scratch
	s.st.Find(e, hash, key)
	switch {
	case e.OK && hd.TS < e.TS && !plant.Is(plant.AdoptOlder):
		s.Counters.AdoptSkipped++
		return AdoptOld
	case e.OK && hd.TS == e.TS && (s.st.Whole(e.Pos) || plant.Is(plant.DamageAdopt)): // a damaged one is replaced
		if !locked && e.Locked && !s.fromStream(e.Pos) && !plant.Is(plant.AdoptVisible) {
			s.becomeVisible(&entry{hash: hash, pos: e.Pos})
		}
		s.Counters.AdoptSkipped++
		return AdoptSame
	}
	if !s.st.Fits(n) {
		s.Counters.StalledNoSpace++
		return AdoptFull
	}
	// The buddy may not know yet what this node does: from where it is fed, the
	// owner's stream is visible. Nothing would bring and unlock it again.
	owner := proto.Member{Node: proto.NodeID(hd.OwnerNode % proto.NodesMax), Incarnation: proto.Incarnation(hd.OwnerIncarnation)}
	if st := &s.streams[owner.Node]; st.in && st.member == owner && hd.Seq <= st.visible && !plant.Is(plant.H7Visible) {
		locked = false
	}
	if plant.Is(plant.H8Lock) {
		locked = false
	}
	hd.Hash, hd.Flags, hd.Durable = hash, record.FlagAdopted, 0
	pos := s.st.PutCopy(e, hd, img, locked)
	if pos == 0 {
		s.indexFull(nil)
		return AdoptFull
	}
	s.Counters.Adopted++
	if locked {
		s.Counters.AdoptedLocked++
		if (owner == s.self || !s.view.Has(owner)) && !plant.Is(plant.H7Owner) {
			s.forward.push(pending{hash, pos})
		} else {
			s.lent = append(s.lent, lent{pending{hash, pos}, owner, hd.Seq})
		}
	}
	return Adopted
}

// fromStream reports whether the record at pos came through a stream in this
// life: then the stream's own watermark decides when it is readable.
func (s *Shard) fromStream(pos uint64) bool {
	return !plant.Is(plant.AdoptStream) && pos >= s.lifeStart && record.Flags(s.st.Record(pos))&record.FlagAdopted == 0
}

// Leftover offers one of the node's own records above its stable position,
// after the whole range was adopted: if nothing newer and no visibility came,
// it is rolled forward, never back (protocol.md, "Rejoin of f", 5, H13).
func (s *Shard) Leftover(hash, pos uint64) (pendingNow bool) {
	if current, locked := s.st.References(hash, pos); !current || !locked || plant.Is(plant.H13Leftover) {
		return false
	}
	s.forward.push(pending{hash, pos})
	return true
}
