package store

import (
	"math/bits"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// DigestRanges is over how many ranges of key hashes a shard's records are
// summed: its top bits choose the range. Members compare range by range, so all
// must have the same number.
const DigestRanges = 1 << digestBits

const digestBits = 12

// Sum is an order-independent digest of the current records whose key hashes lie
// in one range: for each a strong mix of hash, timestamp, kind and the checksum
// of key and value, added up. Two stores whose sums are equal hold equal records
// there, but for about one chance in 2^64. Locks are no part of it.
//
// Tombstones have a sum of their own: a node may have dropped one that another
// still has, and both answer the same.
type Sum struct{ Values, Tombstones uint64 }

func (s *Sum) add(hash, ts uint64, crc uint32, tombstone bool) {
	if x := digestMix(hash, ts, crc); tombstone {
		s.Tombstones += x
	} else {
		s.Values += x
	}
}

func (s *Sum) remove(hash, ts uint64, crc uint32, tombstone bool) {
	if x := digestMix(hash, ts, crc); tombstone {
		s.Tombstones -= x
	} else {
		s.Values -= x
	}
}

// digestMix is two rounds of multiply and fold. The hash is keyed with the
// cluster's hash_seed, so nobody outside can choose what cancels out.
func digestMix(hash, ts uint64, crc uint32) uint64 {
	hi, lo := bits.Mul64(hash^0x9e37_79b9_7f4a_7c15, ts^0xbf58_476d_1ce4_e5b9)
	hi, lo = bits.Mul64(hi^lo^0x94d0_49bb_1331_11eb, bits.RotateLeft64(hash, 32)^uint64(crc)^0xd6e8_feb8_6659_fd93)
	return hi ^ lo
}

// digest is the sums of a store, the worker's. They are not persisted: after
// New a walk through the index in the order of hashes fills them. Where the walk
// has been, whatever replaces a record changes its sum along; where it has not,
// nothing is known yet and nothing is changed.
type digest struct {
	sums    []Sum
	walked  uint64 // twice this is the first hash the walk has not been at
	damaged int    // records the walk could not verify: they are in no sum
	words   []index.Word
}

// digestEnd is digest.walked when the walk is over.
const digestEnd = 1 << 63

func (d *digest) reset(empty bool) {
	clear(d.sums)
	d.walked, d.damaged = 0, 0
	if empty {
		d.walked = digestEnd
	}
}

// replaced keeps the sums in step with a record that takes the place of what was
// found into e.
func (d *digest) replaced(e *Entry, h *record.Header) {
	if e.hash>>1 >= d.walked || plant.Is(plant.DigestCursor) && d.walked != digestEnd && e.hash>>1 >= d.walked-d.walked>>4 {
		return
	}
	s := &d.sums[e.hash>>(64-digestBits)]
	if e.OK && !plant.Is(plant.DigestOverwrite) {
		s.remove(e.hash, e.TS, e.crc, e.Tombstone)
	}
	s.add(e.hash, h.TS, h.BodyCRC, h.Kind == record.Delete)
}

// dropped takes a record out that nothing takes the place of.
func (d *digest) dropped(e *Entry) {
	if e.hash>>1 < d.walked {
		d.sums[e.hash>>(64-digestBits)].remove(e.hash, e.TS, e.crc, e.Tombstone)
	}
}

// DigestReady says that the sums cover all records. Worker only.
func (s *Store) DigestReady() bool { return s.digest.walked == digestEnd }

// DigestDamaged is how many records the walk could not verify. A store with any
// cannot tell others what they lack or have too much. Worker only.
func (s *Store) DigestDamaged() int { return s.digest.damaged }

// DigestAgain begins the sums anew. Worker only.
func (s *Store) DigestAgain() { s.digest.reset(s.x.Len() == 0 && s.Sure()) }

// Digest copies the sums; they mean something once DigestReady. Worker only.
func (s *Store) Digest(dst []Sum) { copy(dst, s.digest.sums) }

// DigestWalk fills the sums of one more page of the index, about a thousand
// keys: it takes as long as a split of that page. False when nothing is left to
// do. Worker only.
func (s *Store) DigestWalk() bool {
	d := &s.digest
	if d.walked == digestEnd || !s.Sure() {
		return false
	}
	if d.words == nil {
		d.words = make([]index.Word, 0, index.PageWords)
	}
	first := d.walked << 1
	words, last := s.x.WordsAt(first, d.words)
	var h record.Header
	for i, w := range words {
		if ahead := i + digestAhead; ahead < len(words) {
			index.PrefetchBytes(begin(s.log.Record(words[ahead].Pos()), headerBytes))
		}
		img := s.log.Record(w.Pos())
		inc, _ := s.log.IncarnationOf(w.Pos())
		if err := record.VerifyHeader(img, record.Seed(w.Pos(), inc), &h); err != nil || h.Hash < first || h.Hash > last {
			d.damaged++
			continue
		}
		d.sums[h.Hash>>(64-digestBits)].add(h.Hash, h.TS, h.BodyCRC, h.Kind == record.Delete)
	}
	d.walked = last>>1 + 1
	if d.walked == digestEnd {
		d.words = nil
	}
	return d.walked != digestEnd
}

// digestAhead is for how many records ahead the walk asks the memory.
const digestAhead = 16

// Listed is a key's current record as a walk by hash met it.
type Listed struct {
	Hash, TS    uint64
	Pos         uint64 // in the log
	Off         int64  // in the arena
	Bytes       int
	Incarnation uint32 // that its checksum is seeded with
	BodyCRC     uint32
	Tombstone   bool
	Locked      bool
}

// ListHashes calls fn for the current record of every key whose hash lies in
// [first, last], page by page, in no order within one, until fn returns false:
// every key that is there all along once, with a record that was its current one
// at some moment of the call. Headers are verified, bodies are not. A header that
// does not verify ends the list, or is left out if damaged is given, which hears
// of it.
//
// Any goroutine but the worker. Whoever reads the records later holds a pin from
// before the call on. Errors: *seglog.Damage, ErrShut.
func (s *Store) ListHashes(first, last uint64, damaged func(pos uint64), fn func(x *Listed) bool) error {
	r := s.NewReader()
	defer r.Close()
	defer r.leave() // after a fault, too
	words := make([]index.Word, 0, index.PageWords)
	page := make([]Listed, 0, index.PageWords)
	for {
		if !r.enter() {
			return ErrShut
		}
		if !s.Sure() {
			return ErrUnsure
		}
		var end uint64
		var err error
		words, end = s.x.WordsAt(first, words[:0])
		page, err = s.listPage(words, first, min(last, end), damaged, page[:0])
		r.leave()
		if err != nil {
			return err
		}
		for i := range page {
			if !fn(&page[i]) {
				return nil
			}
		}
		if end >= last {
			return nil
		}
		first = end + 1
	}
}

func (s *Store) listPage(words []index.Word, first, last uint64, damaged func(pos uint64), dst []Listed) ([]Listed, error) {
	var h record.Header
	for i, w := range words {
		if ahead := i + digestAhead; ahead < len(words) {
			index.PrefetchBytes(begin(s.log.Record(words[ahead].Pos()), headerBytes))
		}
		pos := w.Pos()
		img := s.log.Record(pos)
		inc, _ := s.log.IncarnationOf(pos)
		if err := record.VerifyHeader(img, record.Seed(pos, inc), &h); err != nil {
			if damaged != nil {
				damaged(pos)
				continue
			}
			return dst, &seglog.Damage{Pos: pos, Cause: err}
		}
		if h.Hash < first || h.Hash > last {
			continue
		}
		off, _ := s.log.ArenaOffset(pos)
		dst = append(dst, Listed{Hash: h.Hash, TS: h.TS, Pos: pos, Off: off, Bytes: h.Bytes(), Incarnation: inc, BodyCRC: h.BodyCRC,
			Tombstone: h.Kind == record.Delete, Locked: w.Locked()})
	}
	return dst, nil
}

// Sum is the sum of one record.
func (x *Listed) Sum() (s Sum) {
	s.add(x.Hash, x.TS, x.BodyCRC, x.Tombstone)
	return s
}

// Add adds another sum.
func (s *Sum) Add(x Sum) {
	s.Values += x.Values
	s.Tombstones += x.Tombstones
}
