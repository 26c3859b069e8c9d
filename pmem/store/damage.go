package store

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
)

// A Hurt is a record that an index word leads to and that does not verify.
//
// What is known of its key depends on what was hit. A sound header names hash,
// timestamp and kind. Behind a damaged one the key can be any whose hash agrees
// with Hash in the bits of Mask, those that follow from the word's place in the
// index; there is rarely more than one. Nobody takes such a record for older,
// newer or missing: the keys it may be of are refused until members have said
// what they hold of them (Alike there, Repair and Settle here).
type Hurt struct {
	Pos        uint64
	Hash, Mask uint64 // the key's hash in these bits; Mask ^0: all of it
	TS         uint64 // of the damaged record; TSUnknown behind a damaged header
	Key        []byte // whose lookup met it, nil if none did. It need not be its key
	Bound      uint64 // at Refuse: no timestamp that it can have is above
}

// TSUnknown is above every timestamp: what cannot be read may be the newest.
const TSUnknown = ^uint64(0)

// Sound says that the header verified, so that hash and timestamp are known.
func (h *Hurt) Sound() bool { return h.TS != TSUnknown }

// DamageCounts is what became of damage since the store was made.
type DamageCounts struct {
	Found    uint64
	Repaired uint64
	Open     int    // found and not repaired
	Refused  int    // of those: no member has a good copy
	Dropped  uint64 // found while too many were open; found again when they are met again
}

// hurtsMax bounds the open ones. Damage beyond that is refused all the same, it
// is only not queued.
const hurtsMax = 4096

type hurtID struct{ pos, hash, mask uint64 }

func (h *Hurt) id() hurtID { return hurtID{h.Pos, h.Hash & h.Mask, h.Mask} }

type hurtState struct {
	hurt    Hurt
	refused bool // nothing is done about it until it is queued again
	lost    bool // it was refused once: no member had a good copy then
}

// hurts are the open ones. Damage is rare: a lock is fine here.
type hurts struct {
	mu       sync.Mutex
	all      map[hurtID]*hurtState
	list     []*hurtState // the same, in the order they were found
	waiting  []hurtID     // to be taken, in the order they were found
	found    uint64
	repaired uint64
	dropped  uint64
	refused  int
	bounds   map[uint64]uint64 // of what is refused, by position

	some   atomic.Bool // waiting is not empty
	notify func()
}

// OnDamage makes fn hear of damage that was queued. It is called by whoever met
// the damage, a reader too, so it must neither wait nor read. Before use.
func (s *Store) OnDamage(fn func()) { s.hurts.notify = fn }

// note queues a damaged record unless it is known.
func (s *Store) note(h Hurt) {
	t := &s.hurts
	id := h.id()
	t.mu.Lock()
	_, known := t.all[id]
	switch {
	case known:
	case len(t.all) >= hurtsMax:
		t.dropped++
	default:
		if t.all == nil {
			t.all = make(map[hurtID]*hurtState)
		}
		h.Key = append([]byte(nil), h.Key...)
		t.all[id] = &hurtState{hurt: h}
		t.list = append(t.list, t.all[id])
		t.waiting = append(t.waiting, id)
		t.found++
		t.some.Store(true)
	}
	t.mu.Unlock()
	if !known && t.notify != nil {
		t.notify()
	}
}

// TakeDamaged appends what was found and not taken yet, at most max. Whoever
// takes one ends with Settle, Refuse or Later. Any goroutine.
func (s *Store) TakeDamaged(dst []Hurt, max int) []Hurt {
	t := &s.hurts
	if !t.some.Load() {
		return dst
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; max > 0 && len(t.waiting) > 0; t.waiting = t.waiting[1:] {
		if x := t.all[t.waiting[0]]; x != nil {
			dst = append(dst, x.hurt)
			max--
		}
	}
	t.some.Store(len(t.waiting) > 0)
	return dst
}

// Later puts one back that could not be decided now. Any goroutine.
func (s *Store) Later(h *Hurt) { s.requeue(h.id(), false) }

// RetryRefused queues everything refused once more: another member is back.
func (s *Store) RetryRefused() {
	for _, h := range s.RefusedHurts() {
		s.requeue(h.id(), true)
	}
}

// RefusedHurts lists what is refused, for whoever reports it. Any goroutine.
func (s *Store) RefusedHurts() (all []Hurt) {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, x := range t.list {
		if x.lost {
			all = append(all, x.hurt)
		}
	}
	return all
}

func (s *Store) requeue(id hurtID, refused bool) {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.all[id]
	if x == nil || x.refused != refused {
		return
	}
	x.refused = false
	t.waiting = append(t.waiting, id)
	t.some.Store(true)
}

// closed takes one off the list.
func (s *Store) closed(id hurtID) {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.all[id]; x != nil {
		if x.lost {
			t.refused--
		}
		delete(t.all, id)
		t.list = slices.DeleteFunc(t.list, func(y *hurtState) bool { return y == x })
		delete(t.bounds, id.pos)
		t.repaired++
	}
}

// forgetHurts: everything was discarded.
func (s *Store) forgetHurts() {
	s.holes.mu.Lock()
	s.holes.all, s.holes.hunting = nil, false
	s.holes.mu.Unlock()
	s.holesDue.Store(false)
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.all)
	t.list = nil
	clear(t.bounds)
	t.waiting, t.refused = nil, 0
	t.some.Store(false)
}

// Damage counts. Any goroutine.
func (s *Store) Damage() DamageCounts {
	t := &s.hurts
	t.mu.Lock()
	defer t.mu.Unlock()
	return DamageCounts{Found: t.found, Repaired: t.repaired, Open: len(t.all), Refused: t.refused, Dropped: t.dropped}
}

// state of a record under an index word.
type soundness uint8

const (
	whole    soundness = iota // header and body verify
	bodyHurt                  // the header does
	headHurt                  // nothing is known
)

func (s *Store) soundness(pos uint64) (img []byte, is soundness) {
	img, inc := s.log.RecordLife(pos)
	switch {
	case !record.Sound(img, record.Seed(pos, inc)):
		return img, headHurt
	case !record.SoundBody(img):
		return img, bodyHurt
	}
	return img, whole
}

// Whole says whether the record verifies. The caller keeps it from being
// released.
func (s *Store) Whole(pos uint64) bool {
	_, is := s.soundness(pos)
	return is == whole
}

// NoteRecord queues the record at pos, which was the current one of a key with
// this hash, if it is damaged and still current. Worker only.
func (s *Store) NoteRecord(hash, pos uint64) { s.noteAt(hash, pos) }

// noteAt is NoteRecord for announced goroutines too.
func (s *Store) noteAt(hash, pos uint64) {
	var c index.Cursor
	if !s.own(&c, hash, pos) {
		return
	}
	switch img, is := s.soundness(pos); is {
	case headHurt:
		s.note(Hurt{Pos: pos, Hash: hash, Mask: ^uint64(0), TS: TSUnknown})
	case bodyHurt:
		s.note(Hurt{Pos: pos, Hash: record.Hash(img), Mask: ^uint64(0), TS: record.TS(img)})
	}
}

// sight is what a lookup that met damage, or a neighbour, saw of a key.
type sight struct {
	ok     bool
	hurt   bool // of the record found: its body does not verify
	ts     uint64
	img    []byte
	word   index.Word
	cursor index.Cursor

	// A damaged record outranks what was found, or may: floor is its timestamp,
	// TSUnknown if it cannot be read.
	outranked bool
	floor     uint64
}

// look is the careful way through all words that may be the key's. Worker, or
// announced. False: a page was split meanwhile, look again.
//
// As long as nothing was put beside a damaged record, a key that has a sound
// one has no other word (S1), so the damaged one is another key's. Afterwards
// whatever cannot be read may be the key's, and be newer.
func (s *Store) look(v *sight, hash uint64, key []byte) bool {
	*v = sight{}
	var c index.Cursor
	for s.x.Seek(&c, hash); c.Next(); {
		pos := c.Word().Pos()
		img, is := s.soundness(pos)
		switch {
		case is == headHurt && plant.Is(plant.DamageMiss):
		case is == headHurt:
			v.floor = max(v.floor, s.boundOf(pos))
			s.note(Hurt{Pos: pos, Hash: hash, Mask: c.KnownBits(), TS: TSUnknown, Key: key})
		case record.Hash(img) != hash:
		case holds(img, hash, key) && fits(img):
			if is == bodyHurt {
				s.note(Hurt{Pos: pos, Hash: hash, Mask: ^uint64(0), TS: record.TS(img), Key: key})
			}
			if !v.ok || record.TS(img) > v.ts {
				v.ok, v.hurt, v.ts, v.img, v.word, v.cursor = true, is == bodyHurt, record.TS(img), img, c.Word(), c
			}
		case is == bodyHurt:
			v.floor = max(v.floor, record.TS(img))
			s.note(Hurt{Pos: pos, Hash: hash, Mask: ^uint64(0), TS: record.TS(img), Key: key})
		}
	}
	v.outranked = v.floor > v.ts && (!v.ok || s.beside.Load() && !plant.Is(plant.DamageBeside))
	return v.ok || c.SameDirectory()
}

// getCarefully is get where a word is not at first sight the key's.
func (s *Store) getCarefully(hash uint64, key, dst []byte) ([]byte, uint64, State) {
	var v sight
	for !s.look(&v, hash, key) {
	}
	switch {
	case v.outranked || v.hurt:
		return dst, 0, Damaged
	case !v.ok:
		return dst, 0, Missing
	}
	return answer(v.word, v.img, dst)
}

// findCarefully is Find where a word is not at first sight the key's.
func (s *Store) findCarefully(e *Entry, hash uint64, key []byte) {
	var v sight
	for !s.look(&v, hash, key) {
	}
	e.Damaged, e.Floor = v.outranked, v.floor
	if v.ok {
		e.cursor = v.cursor
		e.found(v.word, v.img)
	}
}

var (
	// ErrRepairRoom means that the log has no room for a repaired record now.
	ErrRepairRoom = errors.New("store: no room to put a repaired record; try again when the cleaner has made some")
	// ErrRepairOlder means that the damaged record is newer than the image
	// offered: to put it would bring back an old value.
	ErrRepairOlder = errors.New("store: the damaged record is newer than the one offered")
)

// Repair puts a record that a member holds, readable there, for a damaged one
// here. It says whether it was needed: what is sound here and not older stays.
// h is as the member has it; the hash is computed anew. Worker only.
//
// Only the key's own word is touched: a damaged record that may be the key's,
// or another one's, goes with Settle.
func (s *Store) Repair(h record.Header, key, value []byte) (put bool, err error) {
	hash := s.Hash(key)
	if !s.Fits(record.Bytes(len(key), len(value))) {
		return false, ErrRepairRoom
	}
	var e Entry
	s.Find(&e, hash, key)
	if e.OK {
		switch sound := s.Whole(e.Pos); {
		case sound && h.TS <= e.TS:
			return false, nil
		case h.TS < e.TS && !plant.Is(plant.DamageSettle):
			return false, ErrRepairOlder
		}
	}
	h.Flags, h.Durable = record.FlagAdopted, 0
	at := e.Pos
	if s.Put(&e, &h, key, value, false) == 0 {
		return false, index.ErrFull
	}
	if e.OK {
		s.closed(hurtID{at, hash, ^uint64(0)})
	}
	return true, nil
}

// Settle ends a Hurt after a live member has said everything it holds of the
// keys it may be of (Alike), nothing of that being damaged or locked there, and
// all of it was given to Repair. False: the damaged record is newer than
// anything put; it stays, and is to be refused. Worker only.
func (s *Store) Settle(h *Hurt) bool {
	if h.Sound() && !plant.Is(plant.DamageSettle) {
		newer := false
		var c index.Cursor
		for s.x.Own(&c, h.Hash); c.Next(); {
			pos := c.Word().Pos()
			if img, is := s.soundness(pos); is == whole && record.Hash(img) == h.Hash && record.TS(img) >= h.TS {
				newer = true
			}
		}
		if !newer {
			return false
		}
	}
	if plant.Is(plant.DamageHide) {
		var c index.Cursor
		for s.x.Seek(&c, h.Hash); c.Next(); {
			s.x.Erase(&c)
		}
	}
	s.erase(h)
	s.closed(h.id())
	return true
}

// erase takes the words of a damaged record away. What verifies again was never
// to be taken away.
func (s *Store) erase(h *Hurt) {
	if s.Whole(h.Pos) || s.x.EraseAll(h.Hash, h.Mask, h.Pos) == 0 {
		return
	}
	s.inserts++ // cursors over the page are void
	if !plant.Is(plant.DigestErased) {
		s.DigestAgain() // what was once added for it is not known any more
	}
	if h.Sound() {
		s.log.Dead(h.Pos, record.ImageBytes(s.log.Record(h.Pos)))
	} else if gap := s.log.Gap(h.Pos, s.genuine); gap.To > gap.From {
		s.log.Dead(h.Pos, int(gap.To-gap.From))
	}
}

// Alike calls fn for every current record whose key's hash agrees with hash in
// the bits of mask, tombstones included, until fn returns false. damaged says
// that one of them may be damaged here: then this node's word is not enough.
// locked records are not known to be visible yet. Any goroutine but the worker.
// ErrShut after Shut.
func (s *Store) Alike(hash, mask uint64, fn func(locked bool, h *record.Header, key, value []byte) bool) (damaged bool, err error) {
	r := s.NewReader()
	defer r.Close()
	if !r.enter() {
		return false, ErrShut
	}
	defer r.leave()
	if !s.Sure() {
		return true, nil // a word of it may not be what it was
	}
	var h record.Header
	s.x.Alike(hash, mask, func(w index.Word, known, bits uint64) bool {
		img, is := s.soundness(w.Pos())
		switch {
		case is == headHurt:
			damaged = true
			s.note(Hurt{Pos: w.Pos(), Hash: known, Mask: bits, TS: TSUnknown}) // not the asker's key: perhaps another one's
		case (record.Hash(img)^hash)&mask != 0:
		case is == bodyHurt:
			damaged = true
			s.note(Hurt{Pos: w.Pos(), Hash: record.Hash(img), Mask: ^uint64(0), TS: record.TS(img)})
		default:
			record.Decode(img, &h)
			return fn(w.Locked(), &h, record.Key(img), record.Value(img))
		}
		return true
	})
	return damaged, nil
}
