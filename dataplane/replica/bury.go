package replica

import (
	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Burial is what became of a record that the buddy has no key for.
type Burial uint8

const (
	Buried     Burial = iota // a tombstone stands in its place
	BuryNot                  // it is not what was looked at any more, or not to be buried
	BuryNoRoom               // no log space now: try again
)

// Bury puts a tombstone in the place of an own record whose key the buddy does
// not have at all, not even deleted (ADR 0027). It is for a shadow that compares
// itself with its buddy: pos is where the record was found.
//
// What came in this life, by a stream or from a buddy, is no such record: the
// buddy was not asked about it. Neither is a leftover, unless that is said: it is
// rolled forward. The tombstone bears the record's own timestamp: it takes none
// that anybody could ever mint, an opening that reads the log takes the later of
// two equals, and should the record turn up in somebody's stream after all, as a
// replay with that timestamp, it comes back.
func (s *Shard) Bury(hash, pos uint64, leftovers bool) Burial {
	current, locked := s.st.References(hash, pos)
	if !current || locked && !leftovers || plant.Is(plant.DigestExtra) {
		return BuryNot
	}
	hd := &s.head
	img := s.st.Record(pos)
	record.Decode(img, hd)
	if hd.Kind != record.Put || pos >= s.lifeStart && hd.Flags&record.FlagRelocated == 0 {
		return BuryNot
	}
	key := record.Key(img)
	e := &s.scratch
	if s.st.Find(e, hash, key); !e.OK || e.Pos != pos {
		return BuryNot // its key does not verify; whoever repairs it decides
	}
	if !s.st.Fits(record.Bytes(len(key), 0)) {
		s.Counters.StalledNoSpace++
		return BuryNoRoom
	}
	hd.Kind, hd.Flags, hd.Durable = record.Delete, record.FlagAdopted, 0
	if s.st.Put(e, hd, key, nil, false) == 0 {
		s.indexFull(nil)
		return BuryNoRoom
	}
	s.Counters.Buried++
	return Buried
}
