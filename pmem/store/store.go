package store

import (
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// Store is one shard's records. See the package doc for who calls what.
type Store struct {
	log    *seglog.Log
	x      *index.Index
	seed   uint64
	hashOf func(pos uint64) uint64 // for index splits; made once

	lastMarker uint64
	inserts    uint64 // words added to the index since New
	pageEpoch  uint64 // retired index pages wait for readers announced before it; 0: none wait
	clean      cleaner
	hurts      hurts
	holes      holes
	scrubbed   scrubbed
	genuine    seglog.Genuine // made once
	digest     digest

	reserve int // segments; reserveOf
	onDrop  func(hash, ts uint64)
	began   uint64 // the tail at New or Reset

	_ [64]byte
	// Loaded by every read, stored by the worker a few times a second.
	epoch   atomic.Uint64 // from 1; Reader.enter loads it, retire advances it
	shut    atomic.Bool   // Shut stores it, Reader.enter loads it after its announcement
	readers atomic.Pointer[Reader]
	_       [64]byte

	holesDue   atomic.Bool   // a hole was found that nobody hunted for yet
	beside     atomic.Bool   // a word was put beside a damaged one; stored by the worker before that word
	held       atomic.Uint64 // bytes users must leave free; stored by the worker, loaded by FreeBytes
	tombstones atomic.Int64  // counted ones; stored by the worker, loaded by LiveKeys
}

// New makes the store of a log and the index over it. The seed keys the hash
// of untrusted keys and must be the one the index was filled with.
//
// Records that were in the log before are counted by Clean, step by step:
// until then LiveKeys takes their tombstones for keys.
func New(l *seglog.Log, x *index.Index, seed uint64) *Store {
	s := &Store{log: l, x: x, seed: seed, reserve: reserveOf(l.SegmentCount()), began: l.Tail()}
	s.hashOf, s.genuine = s.soundHash, s.genuineRecord
	s.beside.Store(x.Mark(MarkBeside) != 0)
	s.epoch.Store(1)
	s.clean.uncounted, s.clean.freed, s.clean.pace.tail = true, l.Freed(), l.Tail()
	s.digest.sums = make([]Sum, DigestRanges)
	s.digest.reset(x.Len() == 0 && x.Sure())
	s.setDebt(0)
	return s
}

// MarkBeside is the index's persistent word that is the store's: a key may have
// two words, one of which leads to a damaged record.
const MarkBeside = 7

// Beside says, from here on, what MarkBeside says. Worker only.
func (s *Store) Beside() { s.beside.Store(true) }

// soundHash is the key hash of the record at pos.
func (s *Store) soundHash(pos uint64) uint64 {
	img, inc := s.log.RecordLife(pos)
	if !record.Sound(img, record.Seed(pos, inc)) {
		return index.UnknownHash
	}
	return record.Hash(img)
}

// Reset follows a Discard of the log and a Reset of the index: nothing is in
// them. Readers stay; none may be inside.
func (s *Store) Reset() {
	s.lastMarker, s.pageEpoch = 0, 0
	s.clean = cleaner{freed: s.log.Freed()}
	s.clean.pace.tail, s.began = s.log.Tail(), s.log.Tail()
	s.digest.reset(true)
	s.setDebt(0)
	s.tombstones.Store(0)
	s.beside.Store(false)
	s.forgetHurts()
}

// Hash is the keyed hash of a key. Any goroutine.
func (s *Store) Hash(key []byte) uint64 { return xxh3.HashSeed(key, s.seed) }

// Log and Index are what the store was made of.
func (s *Store) Log() *seglog.Log    { return s.log }
func (s *Store) Index() *index.Index { return s.x }

// Sure reports that every page of the index was verified, or loaded, since the
// pool was opened: from then on Manifest and ForEach see everything. Any goroutine.
func (s *Store) Sure() bool { return s.x.Sure() }

// Tail, Flushed and SetFlushed are the log's. Any goroutine.
func (s *Store) Tail() uint64          { return s.log.Tail() }
func (s *Store) Flushed() uint64       { return s.log.Flushed() }
func (s *Store) SetFlushed(pos uint64) { s.log.SetFlushed(pos) }

// Record is the image at a position that the caller keeps from being released
// (worker, or announced, or pinned), with what follows it in its segment.
func (s *Store) Record(pos uint64) []byte { return s.log.Record(pos) }

// LiveKeys is the number of keys with a value. Any goroutine.
func (s *Store) LiveKeys() uint64 {
	return uint64(max(0, int64(s.x.Len())-s.tombstones.Load()))
}

// Entry is what Find found out about a key.
type Entry struct {
	OK        bool // the key is known, be it by a tombstone
	Locked    bool
	Tombstone bool
	TS        uint64
	Pos       uint64 // of its record

	// Damaged: a record that cannot be read may be the key's and newer than what
	// was found. Floor is its timestamp, TSUnknown if that cannot be read either:
	// then nobody may choose a timestamp for the key here.
	Damaged bool
	Floor   uint64

	hash    uint64
	crc     uint32 // of key and value, as the record's header has it
	bytes   int
	inserts uint64 // Store.inserts at the Find
	cursor  index.Cursor
}

// Find looks a key up. What it says was verified: a damaged header neither wins
// nor loses against anybody. The value is not looked at (Whole). Worker only.
func (s *Store) Find(e *Entry, hash uint64, key []byte) {
	e.OK, e.Locked, e.Tombstone, e.Damaged = false, false, false, false
	e.TS, e.Pos, e.bytes, e.Floor = 0, 0, 0, 0
	e.hash, e.inserts = hash, s.inserts
	s.x.Own(&e.cursor, hash)
	for e.cursor.Next() {
		w := e.cursor.Word()
		img, inc := s.log.RecordLife(w.Pos())
		if plant.Is(plant.DamageHeader) && !holds(img, hash, key) {
			continue
		}
		if !plant.Is(plant.DamageHeader) && (!holds(img, hash, key) || !record.Sound(img, record.Seed(w.Pos(), inc)) || s.beside.Load()) {
			s.findCarefully(e, hash, key)
			return
		}
		e.found(w, img)
		return
	}
}

// found takes over what a sound header says.
func (e *Entry) found(w index.Word, img []byte) {
	e.OK, e.Locked, e.Tombstone = true, w.Locked(), record.KindOf(img) == record.Delete
	e.TS, e.Pos, e.bytes, e.crc = record.TS(img), w.Pos(), record.ImageBytes(img), record.BodyCRC(img)
}

// holds says whether the record is the key's. It looks at nothing beyond img,
// whatever its lengths say.
func holds(img []byte, hash uint64, key []byte) bool {
	if plant.Is(plant.StoreKey) {
		return len(img) >= record.HeaderBytes+len(key)
	}
	return len(img) >= record.HeaderBytes+len(key) && record.Hash(img) == hash && record.KeyLen(img) == len(key) &&
		string(img[record.HeaderBytes:record.HeaderBytes+len(key)]) == string(key)
}

// Put appends a record for the key that was found into e and makes the index
// refer to it. It fills h.Hash, h.Durable, the lengths and the body's checksum
// and returns the position; 0 if the index is full (the record counts as dead
// then, and the node should refuse further keys). Worker only; e is used up.
//
// Preconditions: Fits; the kind in h is Put or Delete; S2.
func (s *Store) Put(e *Entry, h *record.Header, key, value []byte, locked bool) uint64 {
	s.refind(e, key)
	h.Hash = e.hash
	pos := s.log.Append(h, key, value)
	if s.refer(e, h, pos, locked) != nil {
		return 0
	}
	return pos
}

// PutCopy is Put with the body of an image, whose lengths and body checksum
// are in h (record.Decode or VerifyHeader put them there). The body is not
// verified.
func (s *Store) PutCopy(e *Entry, h *record.Header, img []byte, locked bool) uint64 {
	s.refind(e, imageKey(h, img))
	h.Hash = e.hash
	pos := s.log.AppendCopy(h, img)
	if s.refer(e, h, pos, locked) != nil {
		return 0
	}
	return pos
}

// PutVerified is PutCopy from memory that a peer may change under it; h is the
// caller's own copy. Body and key hash are verified in the log before the index
// refers to it (H27). Errors: record.ErrBody, and the index's when it is full;
// the key is then as it was.
func (s *Store) PutVerified(e *Entry, h *record.Header, img []byte, locked bool) (uint64, error) {
	h.Hash = e.hash
	own, pos, err := s.log.Stage(h, img)
	if err != nil {
		return 0, err
	}
	key := imageKey(h, own)
	if s.Hash(key) != e.hash && !plant.Is(plant.StoreHash) {
		s.log.Unstage(own)
		return 0, record.ErrBody
	}
	s.refind(e, key)
	s.log.Commit(own)
	if err := s.refer(e, h, pos, locked); err != nil {
		return 0, err
	}
	return pos, nil
}

func imageKey(h *record.Header, img []byte) []byte {
	return img[record.HeaderBytes : record.HeaderBytes+int(h.KeyLen)]
}

// refind looks the key up again if the index moved since the Find: another
// key was added or this one's lock bit changed.
func (s *Store) refind(e *Entry, key []byte) {
	if e.inserts == s.inserts && (!e.OK || e.cursor.Valid()) || plant.Is(plant.StoreRefind) {
		return
	}
	ts, ok := e.TS, e.OK
	s.Find(e, e.hash, key)
	assert(e.TS == ts && e.OK == ok, "S2: the key's record changed between Find and Put")
}

// refer makes the index lead to the record just appended, and counts.
func (s *Store) refer(e *Entry, h *record.Header, pos uint64, locked bool) error {
	w := index.MakeWord(e.hash, pos, locked)
	if e.Damaged {
		s.retryAlike(e.hash)
	}
	if !e.OK {
		if e.Damaged {
			s.beside.Store(true)
			s.x.SetMark(MarkBeside, 1)
		}
		if err := s.x.Insert(e.hash, w, s.hashOf); err != nil {
			s.log.Dead(pos, h.Bytes())
			return err
		}
		s.inserts++
		if s.inserts&255 == 0 {
			s.releasePages()
		}
	} else {
		s.x.Store(&e.cursor, w)
		if e.Tombstone && s.log.CountedAt(e.Pos) {
			s.tombstones.Add(-1)
		}
		s.log.Dead(e.Pos, e.bytes)
	}
	if h.Kind == record.Delete {
		s.tombstones.Add(1)
	}
	s.digest.replaced(e, h)
	return nil
}

// own moves c to the word that refers to exactly pos; false if there is none.
// The log is not touched. Worker only.
func (s *Store) own(c *index.Cursor, hash, pos uint64) bool {
	for s.x.Own(c, hash); c.Next(); {
		if c.Word().Pos() == pos {
			return true
		}
	}
	return false
}

// seek is own for any goroutine that is announced. On a page that the worker
// has not verified yet it is false and the cursor Unsure.
func (s *Store) seek(c *index.Cursor, hash, pos uint64) bool {
	for {
		s.x.Seek(c, hash)
		for c.Next() {
			if c.Word().Pos() == pos {
				return true
			}
		}
		if c.SameDirectory() {
			return false
		}
	}
}

// References says whether the index refers to exactly this record, that is,
// whether it is its key's current one, and whether it is locked. Worker only.
func (s *Store) References(hash, pos uint64) (current, locked bool) {
	var c index.Cursor
	if !s.own(&c, hash, pos) {
		return false, false
	}
	return true, c.Word().Locked()
}

// Unlock makes the record readable if it is its key's current one; false if it
// is not. Worker only.
func (s *Store) Unlock(hash, pos uint64) bool { return s.setLock(hash, pos, false) }

// Lock is the opposite.
func (s *Store) Lock(hash, pos uint64) bool { return s.setLock(hash, pos, true) }

func (s *Store) setLock(hash, pos uint64, locked bool) bool {
	var c index.Cursor
	if !s.own(&c, hash, pos) {
		if s.x.Own(&c, hash); !plant.Is(plant.UnlockUnequal) || !c.Next() {
			return false
		}
	}
	if w := c.Word(); w.Locked() != locked {
		s.x.Store(&c, w.WithLock(locked))
	}
	return true
}

// AppendMarker appends a view's marker and makes it the newest. Precondition:
// Fits; h.Kind is Marker.
func (s *Store) AppendMarker(h *record.Header, body []byte) uint64 {
	assert(h.Kind == record.Marker, "a marker of another kind")
	pos := s.log.Append(h, nil, body)
	s.setMarker(pos)
	return pos
}

func (s *Store) setMarker(pos uint64) {
	old := s.lastMarker
	s.lastMarker = pos
	if img := s.log.Record(old); old != 0 && img != nil {
		s.log.Dead(old, record.ImageBytes(img))
	}
}

// LastMarker is the position of the newest marker, 0 if there is none.
func (s *Store) LastMarker() uint64 { return s.lastMarker }

// SetLastMarker restores it when the pool is opened.
func (s *Store) SetLastMarker(pos uint64) { s.lastMarker = pos }

// fits says whether the image's own lengths stay within img.
func fits(img []byte) bool {
	return len(img) >= record.HeaderBytes &&
		record.HeaderBytes+uint64(record.KeyLen(img))+uint64(record.ValueLen(img)) <= uint64(len(img))
}
