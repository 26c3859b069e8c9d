package pmem

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

var (
	// ErrClosed means that the pool was closed.
	ErrClosed = errors.New("pmem: pool is closed")
	// ErrIncarnation means that Begin was given an incarnation that is not
	// above the last one the pool has seen.
	ErrIncarnation = errors.New("pmem: incarnation is not newer than the pool's")
)

// Persistent words of the index that are the pool's; the store has the rest.
// They live as long as the index: exactly while no page was lost.
const (
	markApplied = 0 // every record below is in the index
	markStable  = 1 // fresher than the superblock's
	markBase    = 2 // must equal the superblock's
	markLife    = 3 // incarnation, plus markFailed
	markMarker  = 4 // newest marker
	markSettled = 5 // a stable position one flush old: no record below is locked
)

const markFailed = 1 << 32 // in markLife: a flush failed in this life

// The superblock joins a flush when a restart would otherwise read or settle
// more than this again.
const (
	superEveryStable = 64 << 10
	superEveryTail   = 4 << 20
)

// Pool is one shard's durable state, opened and locked.
//
// The worker alone calls Begin, Flush, SetStable, Discard and Close, and
// everything of the store that is the worker's. WriteSuperblock and the
// getters may be called by any goroutine.
type Pool struct {
	path      string
	indexPath string
	lock      fileLock
	region    *Region
	indexFile *indexFile
	log       *seglog.Log
	index     *index.Index
	store     *store.Store
	bootID    [16]byte
	last      lastIndex
	keeper    *keeper
	ckpt      checkpoints

	recovered Recovered
	leftovers []uint64 // positions found by Open

	ranges   []seglog.Range // of a flush, reused
	flight   flight
	flushes  FlushStats
	later    func(job func()) // runs a drain beside the worker; nil: at once
	job      func()           // drainFlight
	flusher  *flusher         // behind later; nil in a simulation
	wake     func()           // guarded by mu
	settled  uint64           // stable as of the last Flush
	began    bool
	finished bool

	stable       atomic.Uint64 // SetStable's last, not above Flushed when written
	marker       atomic.Uint64 // newest marker as of the last Flush
	superStable  atomic.Uint64 // as in the superblock
	superDurable atomic.Uint64

	pages                   sync.Once // of Info
	pageSize, indexPageSize int

	mu    sync.Mutex // superblock and drains
	super Super      // as last written

	onGrow                 func(bytes int64) error
	heapIndex              []byte      // of a HeapMedium: the index lies here, in no file
	seenDue                atomic.Bool // Seen is to go out with the next flush
	stableEvery, tailEvery uint64      // superEveryStable, superEveryTail; less for a small HeapMedium
}

// Store is the shard's log and index. Nothing may be appended before Begin.
func (p *Pool) Store() *store.Store { return p.store }

// Recovered says what Open found and did.
func (p *Pool) Recovered() Recovered { return p.recovered }

// Super is the superblock as last written.
func (p *Pool) Super() Super {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.super
}

// Region is the mapped pool file.
func (p *Pool) Region() *Region { return p.region }

// Exposed names the file that peers map read-only to fetch records from, and
// where in it the log's arena begins: a record lies at base plus
// seglog's ArenaOffset of its position. The file is never truncated while the
// pool exists.
func (p *Pool) Exposed() (path string, base int64) { return p.path, dataOffset }

// LogBytes is how long the exposed arena is. Unlike Info it reads nothing of
// the process's page tables, which takes milliseconds.
func (p *Pool) LogBytes() int64 { return p.super.SizeBytes - dataOffset }

// RegionFile is Exposed.
func (p *Pool) RegionFile() (path string, dataOffset int64) { return p.Exposed() }

// Begin starts a life: from here on records are appended, under this
// incarnation and in a segment of their own. The superblock that says so is
// durable when it returns.
func (p *Pool) Begin(incarnation uint32) error {
	if p.finished {
		return ErrClosed
	}
	if incarnation <= p.super.Incarnation && !(plant.Is(plant.BeginAgain) && incarnation == p.super.Incarnation) {
		return fmt.Errorf("%w: given %d, the pool has seen %d; ask the view register for a new one", ErrIncarnation, incarnation, p.super.Incarnation)
	}
	err := p.WriteSuperblock(func(s *Super) {
		s.Incarnation, s.BootID, s.Clean, s.FailedFlush = incarnation, p.bootID, false, false
	})
	if err != nil {
		return err
	}
	p.log.SetIncarnation(incarnation)
	p.markAll()
	p.began = true
	return nil
}

// markAll writes all of the pool's words of a fresh or taken-over index.
func (p *Pool) markAll() {
	p.index.SetMark(markApplied, p.log.Tail())
	p.index.SetMark(markStable, p.stable.Load())
	p.index.SetMark(markMarker, p.marker.Load())
	p.index.SetMark(markSettled, min(p.settled, p.stable.Load()))
	p.index.SetMark(markBase, p.super.Base)
	p.index.SetMark(markLife, uint64(p.super.Incarnation))
}

// Leftovers calls fn for every current record at or above the stable position
// as Open found it: what this node applied and nobody confirmed to be durable
// everywhere. Open has locked all of them.
func (p *Pool) Leftovers(fn func(hash, pos, ts uint64)) error {
	for _, pos := range p.leftovers {
		img := p.log.Record(pos)
		if img == nil {
			continue // the segment went since: the record was superseded
		}
		hash := record.Hash(img)
		if current, _ := p.store.References(hash, pos); current {
			fn(hash, pos, record.TS(img))
		}
	}
	return nil
}

// SuperDue reports whether the next Flush writes a superblock, if there is
// anything to flush.
func (p *Pool) SuperDue() bool { return p.superDue(p.log.Tail()) }

// Saw notes how far others have flushed (Super.Seen). It goes out with the next
// superblock; soon: with the next Flush.
func (p *Pool) Saw(seen *[nodesMax]Seen, soon bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.super.Seen = *seen
	if soon {
		p.seenDue.Store(true)
	}
}

// SawDue reports whether what Saw was given soon has not gone out yet.
func (p *Pool) SawDue() bool { return p.seenDue.Load() }

func (p *Pool) superDue(tail uint64) bool {
	return p.seenDue.Load() || p.stable.Load() >= p.superStable.Load()+p.stableEvery || tail >= p.superDurable.Load()+p.tailEvery
}

// refreshSuper brings the positions up to date. Holds mu.
func (p *Pool) refreshSuper() {
	s := &p.super
	if s.Durable = p.log.Flushed(); plant.Is(plant.SuperAhead) {
		s.Durable = p.log.Tail()
	}
	s.Stable = min(p.stable.Load(), s.Durable) // P2
	if plant.Is(plant.SuperStable) {
		s.Stable = p.stable.Load()
	}
	s.LastMarker = p.marker.Load()
	p.seenDue.Store(false)
	p.superStable.Store(s.Stable)
	p.superDurable.Store(s.Durable)
}

func (p *Pool) writeSuperOnce() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exclude()
	p.refreshSuper()
	writeSuper(p.region, &p.super)
	return p.region.Drain()
}

// SetStable says that everything below pos is durable at every member. It goes
// out with a later flush or superblock; after a process crash it is known at
// once. Above the flushed position it counts only as far as that (P2).
//
// What lies below pos must be unlocked before the Flush after the next one: a
// crash later than that would leave it locked.
func (p *Pool) SetStable(pos uint64) {
	p.stable.Store(pos)
	p.index.SetMark(markStable, pos)
}

// Stable is the position last set, or as Open found it.
func (p *Pool) Stable() uint64 { return p.stable.Load() }

// WriteSuperblock lets change edit a copy of the superblock and writes it; it
// is durable when WriteSuperblock returns. The pool's own fields (positions,
// generation, sizes, identity) are not for change. Any goroutine.
//
// Both copies are written, one after the other, so that damage to one never
// brings back an older Complete, LostThrough or incarnation.
func (p *Pool) WriteSuperblock(change func(*Super)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exclude()
	if p.finished {
		return ErrClosed
	}
	if err := p.region.Failed(); err != nil {
		return err
	}
	change(&p.super)
	p.refreshSuper()
	for i := range 2 {
		if plant.Is(plant.SuperOnce) && i == 1 {
			break
		}
		writeSuper(p.region, &p.super)
		if plant.Is(plant.SuperUnfenced) {
			continue
		}
		if err := p.region.Drain(); err != nil {
			p.recordFailure(true)
			return err
		}
	}
	return nil
}

// recordFailure leaves word for the next open: in the index, which is not on
// the failed media and outlives the process, and in the superblock, as far as
// the media still takes it. inFlight: the drain that failed was to cover a
// superblock too; then that copy is written over, as the other is the only one
// known to be whole (P3). Holds mu.
func (p *Pool) recordFailure(inFlight bool) {
	// The page itself may be what failed, and this may be the flush's goroutine.
	_ = Guard(func() error { p.noteFailure(inFlight); return nil })
}

func (p *Pool) noteFailure(inFlight bool) {
	p.index.SetMark(markLife, uint64(p.super.Incarnation)|markFailed)
	p.super.FailedFlush = true
	p.refreshSuper()
	if inFlight {
		p.super.Generation++ // the same copy again
	}
	for range 2 {
		writeSuper(p.region, &p.super)
		if !p.region.drainAnyway() {
			return
		}
	}
}

// UsedBytes is what of the log's space is not free. Any goroutine.
func (p *Pool) UsedBytes() uint64 {
	size := uint64(p.super.SizeBytes - dataOffset)
	return size - min(size, p.store.FreeBytes())
}

// Info says what the pool is. The first call looks at the page tables; pages do not
// change their size afterwards, all being written.
func (p *Pool) Info() Info {
	p.pages.Do(func() { p.pageSize, p.indexPageSize = p.region.PageSize(), p.indexFile.region.PageSize() })
	i := Info{
		Path: p.path, IndexPath: p.indexPath,
		Domain: p.region.Domain(), Granularity: p.region.Granularity(),
		PageSize: p.pageSize, IndexPageSize: p.indexPageSize,
		SizeBytes: p.super.SizeBytes, LogBytes: p.LogBytes(), SegmentBytes: int(p.super.SegmentBytes),
		FreeBytes: p.store.FreeBytes(), IndexBytes: p.indexFile.backed.Load(), MaxKeys: p.super.MaxKeys,
	}
	if i.Domain == DomainDAX {
		i.FlushInstruction = FlushInstruction()
	}
	i.UsedBytes = uint64(i.LogBytes) - min(i.FreeBytes, uint64(i.LogBytes))
	return i
}

// Discard drops all records, for a full copy. Before anything goes, the
// superblock says durably that the pool is incomplete; positions go on
// growing (P5). After it the log and the index are empty and stable is 0 until
// SetStable. The caller sets Complete by WriteSuperblock when the copy is done.
//
// Preconditions: no reader is inside the store, no peer has a range pinned.
func (p *Pool) Discard(incarnation uint32) error {
	if incarnation < p.super.Incarnation {
		return fmt.Errorf("%w: given %d, the pool has seen %d", ErrIncarnation, incarnation, p.super.Incarnation)
	}
	if err := p.awaitFlush(); err != nil {
		return err
	}
	p.stable.Store(0)
	p.marker.Store(0)
	p.settled = 0
	segment := uint64(p.super.SegmentBytes)
	base := (p.log.Tail() + segment - 1) &^ (segment - 1)
	err := p.WriteSuperblock(func(s *Super) {
		s.Complete, s.Clean, s.FailedFlush, s.Doubtful = plant.Is(plant.H17Flag), false, false, false
		s.Incarnation, s.BootID, s.Base, s.LostThrough = incarnation, p.bootID, base, 0
	})
	if err != nil {
		return err
	}
	p.leftovers = nil
	p.keeper.stop()
	p.index.Reset()
	// The zeroed headers go out whenever they like: recovery drops what is left
	// below the base, whole or torn, and no flush can make it come back.
	p.log.Discard(nil)
	p.log.SetIncarnation(incarnation)
	p.log.SetFlushed(p.log.Tail())
	p.store.Reset()
	p.ckpt.discard()
	p.markAll()
	p.began = true
	return nil
}

// Close gives the pool back. clean flushes everything and says so in the
// superblock; without it the pool is left as a crash would leave it. Readers
// are shut out first; nobody may touch record bytes afterwards.
func (p *Pool) Close(clean bool) error {
	if p.finished {
		return ErrClosed
	}
	var err error
	if clean && p.began {
		if err = p.Flush(); err == nil {
			err = p.WriteSuperblock(func(s *Super) { s.Clean = true })
		}
	}
	p.land()
	p.mu.Lock()
	p.finished = true
	p.mu.Unlock()
	p.store.Shut() // no reader may touch what goes now
	p.stopSide()
	p.pages.Do(func() {}) // an Info under way has read the mappings, a later one does not
	return errors.Join(err, p.indexFile.region.Close(), p.region.Close(), p.lock.release())
}
