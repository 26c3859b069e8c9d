package store

import (
	"errors"
	"runtime"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

// ErrShut is returned to whoever comes after Shut.
var ErrShut = errors.New("store: shut; the node is closing")

// ErrUnsure is returned to whoever wants to see everything before the worker has
// verified the index that it took over. Sure tells when it has.
var ErrUnsure = errors.New("store: the index is still being verified; wait until it is sure")

// State is what a read found.
type State uint8

const (
	Missing State = iota // never written
	Found
	Deleted // a tombstone
	Locked  // not readable yet, or not known: ask the worker
	Shut    // the store was shut
	Damaged // a record that may be the key's does not verify; it must come from a peer
)

// String names the state for messages.
func (st State) String() string {
	return [...]string{"missing", "found", "deleted", "locked", "shut", "damaged"}[st]
}

// Reader reads without a lock. One goroutine at a time uses a Reader; making
// one is cheap but not free, so sessions keep theirs.
type Reader struct {
	_ [64]byte // its line is no other reader's
	// at is the epoch in which the reader entered, 0 while it is outside. The
	// reader stores it, (*Store).left loads it.
	at atomic.Uint64
	_  [56]byte

	s    *Store
	used atomic.Bool
	next *Reader // never changes once the reader is in the list
}

// NewReader gives a reader of the store. Any goroutine.
func (s *Store) NewReader() *Reader {
	for r := s.readers.Load(); r != nil; r = r.next {
		if !r.used.Load() && r.used.CompareAndSwap(false, true) {
			return r
		}
	}
	r := &Reader{s: s}
	r.used.Store(true)
	for {
		r.next = s.readers.Load()
		if s.readers.CompareAndSwap(r.next, r) {
			return r
		}
	}
}

// Close gives the reader back. It must not be used afterwards.
func (r *Reader) Close() { r.used.Store(false) }

// enter announces the reader; false after Shut. What it loads from the index
// from here on stays readable until leave (S3, package doc).
func (r *Reader) enter() bool {
	if !plant.Is(plant.StoreAnnounce) {
		announce(&r.at, r.s.epoch.Load())
	}
	if r.s.shut.Load() && !plant.Is(plant.StoreShut) {
		r.leave()
		return false
	}
	return true
}

func (r *Reader) leave() { r.at.Store(0) }

// Leave is for whoever recovered from a fault in Get.
func (r *Reader) Leave() { r.leave() }

// left says whether every reader that entered before the epoch has left.
func (s *Store) left(epoch uint64) bool {
	for r := s.readers.Load(); r != nil; r = r.next {
		if at := r.at.Load(); at != 0 && at < epoch && !plant.Is(plant.StoreReaders) {
			return false
		}
	}
	return true
}

// retire begins a new epoch: readers that enter from here on see the index
// words stored before.
func (s *Store) retire() uint64 { return s.epoch.Add(1) }

// Shut turns readers away and waits until those inside have left, so that the
// memory can be unmapped. Any goroutine but one that is reading.
func (s *Store) Shut() {
	s.shut.Store(true)
	for !s.left(^uint64(0)) {
		runtime.Gosched() // a reader is inside for microseconds; a manifest leaves every few records
	}
}

// Get reads a key and appends its value to dst. ts is that of the record
// found, whatever its state. Nothing is allocated when dst has room.
//
// Header and body of what it answers with were verified. The answer is the key's state at some moment between call and return. The
// lease is the caller's to check, afterwards.
func (r *Reader) Get(hash uint64, key, dst []byte) (value []byte, ts uint64, st State) {
	if !r.enter() {
		return dst, 0, Shut
	}
	value, ts, st = r.s.get(hash, key, dst)
	r.leave()
	return value, ts, st
}

func (s *Store) get(hash uint64, key, dst []byte) ([]byte, uint64, State) {
	var c index.Cursor
	for {
		s.x.Seek(&c, hash)
		if c.Next() {
			w := c.Word()
			img, inc := s.log.RecordLife(w.Pos())
			// About one in 30 000 reads meets another key's record here.
			if !holds(img, hash, key) || !plant.Is(plant.StoreVerify) && (!record.Sound(img, record.Seed(w.Pos(), inc)) || !record.SoundBody(img)) ||
				s.beside.Load() {
				return s.getCarefully(hash, key, dst)
			}
			return answer(w, img, dst)
		}
		if c.Unsure() && !plant.Is(plant.UnsureMissing) {
			return dst, 0, Locked // the worker will look at the page first
		}
		// Not even a page that has been split since could hide the key if the
		// directory is the same (H23).
		if c.SameDirectory() {
			return dst, 0, Missing
		}
	}
}

// answer is what a verified record says.
func answer(w index.Word, img, dst []byte) ([]byte, uint64, State) {
	ts := record.TS(img)
	switch {
	case w.Locked():
		return dst, ts, Locked
	case record.KindOf(img) == record.Delete:
		return dst, ts, Deleted
	}
	return append(dst, record.Value(img)...), ts, Found
}

// ForEach calls fn for every record the index refers to, tombstones included,
// in no useful order, until fn returns false: all of them, each once, if the
// worker does nothing meanwhile; under a running worker a record that is
// replaced meanwhile may show its old or new form. img is the image. ErrShut
// after Shut; a damaged record ends it with an error.
//
// ErrUnsure unless Sure. The cleaner frees nothing while it runs.
func (s *Store) ForEach(r *Reader, fn func(pos uint64, locked bool, img []byte) bool) error {
	if !r.enter() {
		return ErrShut
	}
	defer r.leave()
	if !s.Sure() {
		return ErrUnsure
	}
	var err error
	s.x.Words(func(w index.Word) bool {
		img, is := s.soundness(w.Pos())
		if is != whole {
			err = &seglog.Damage{Pos: w.Pos(), Cause: record.ErrBody}
			return false
		}
		return fn(w.Pos(), w.Locked(), img[:record.ImageBytes(img)])
	})
	return err
}
