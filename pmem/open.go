package pmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

var (
	// ErrNoPool means that there is no pool file.
	ErrNoPool = errors.New("pmem: no pool")
	// ErrDamaged means that the log misses or has wrong bytes below the
	// durable position: damage, not a torn end.
	ErrDamaged = errors.New("pmem: log is damaged below its durable position; discard the pool, format it anew and heal by full copy")
	// ErrDecayed means that something which verified when the pool was opened does
	// not any more: the next opening fences it off, or makes it anew.
	ErrDecayed = errors.New("pmem: something that was whole when the pool was opened does not verify any more; it is fenced off, or made anew, when the pool is opened again")
)

// OpenOptions names the pool and what must match.
type OpenOptions struct {
	Dir      string
	IndexDir string // on tmpfs
	Identity
	Domain Domain // DomainAuto: as formatted
	// CheckpointBytes of log lie between two checkpoints of the index, in pools
	// that survive a power loss; 0: CheckpointBytes; below 0: none are taken.
	CheckpointBytes int64

	OnMap func(*Region) // for tests: before anything is read; may be nil
	// OnGrow is asked before the index takes more memory, for tests; may be nil.
	OnGrow func(bytes int64) error
}

// Open locks, checks and recovers the pool of one shard. The Pool answers
// Recovered and Leftovers at once; appends need Begin.
//
// After a process crash in the same boot the index is kept and the end of the
// log replayed over it; otherwise the index is rebuilt from the log, on all
// processors. What lies above the recorded durable position is written and
// flushed again before it counts (H21). Every record at or above the stable
// position that the index references is locked, every other is not.
//
// Errors: ErrNoPool, ErrInUse, ErrForeign, ErrLayout, ErrSuperblock,
// ErrDamaged, ErrDomain, ErrIndexDir, ErrSize, ErrFlush, ErrFault.
func Open(o OpenOptions) (*Pool, error) {
	p, err := openOnce(&o)
	if errors.Is(err, ErrDecayed) { // the index it came upon is distrusted now
		p, err = openOnce(&o)
	}
	return p, err
}

func openOnce(o *OpenOptions) (*Pool, error) {
	begun := time.Now()
	path := poolPath(o.Dir, o.Shard)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s; make it with node format", ErrNoPool, path)
	}
	if err := checkIndexDir(o.IndexDir); err != nil {
		return nil, err
	}
	lock, err := lockFile(lockPath(o.Dir, o.Shard))
	if err != nil {
		return nil, err
	}
	p := &Pool{path: path, lock: lock, onGrow: o.OnGrow, stableEvery: superEveryStable, tailEvery: superEveryTail}
	opened := false
	defer func() {
		if !opened { // an error, or a panic that goes on
			p.releaseAll()
		}
	}()
	if err := Guard(func() error { return p.open(o, begun) }); err != nil {
		return nil, err
	}
	opened = true
	p.recovered.Total = time.Since(begun)
	return p, nil
}

// Look says whether there is a pool that o names and means, from its superblock
// alone: whose it is, and that its sizes make sense. It locks and changes
// nothing, and Open looks again. Errors: ErrNoPool, ErrForeign, ErrLayout,
// ErrSuperblock, ErrDomain.
func Look(o OpenOptions) error {
	path := poolPath(o.Dir, o.Shard)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s; make it with node format", ErrNoPool, path)
	}
	_, _, err := look(path, &o)
	return err
}

func look(path string, o *OpenOptions) (s Super, damaged int, err error) {
	if s, damaged, err = readSuperFile(path, &o.Identity); err != nil {
		return s, damaged, err
	}
	if err := s.Identity.match(o.Identity); err != nil {
		return s, damaged, fmt.Errorf("%w: %s", err, path)
	}
	if o.Domain != DomainAuto && o.Domain != s.Domain {
		return s, damaged, fmt.Errorf("%w: %s was formatted for %s and the config asks for %s; change the config, or format anew and heal", ErrDomain, path, s.Domain, o.Domain)
	}
	if err := s.check(); err != nil {
		return s, damaged, fmt.Errorf("%w: %s", err, path)
	}
	return s, damaged, nil
}

func (p *Pool) open(o *OpenOptions, begun time.Time) error {
	s, damaged, err := look(p.path, o)
	if err != nil {
		return err
	}
	if p.bootID, err = bootID(); err != nil {
		return err
	}
	p.super = s
	if p.region, err = MapRegion(p.path, s.SizeBytes, s.Domain, MapOptions{Populate: hugeFile(p.path)}); err != nil {
		return err
	}
	if o.OnMap != nil {
		o.OnMap(p.region)
	}
	p.found(&s, damaged)
	p.recovered.MapTime = time.Since(begun)
	p.indexPath = indexPath(o.IndexDir, o.Shard, s.PoolID)
	p.openCheckpoints(ckptPath(o), o.CheckpointBytes)
	if err := p.recover(); err != nil {
		return err
	}
	if p.region.domain == DomainFile {
		p.fly()
	}
	return nil
}

// found notes what the superblock says.
func (p *Pool) found(s *Super, damaged int) {
	p.recovered = Recovered{
		Durable: s.Durable, LostThrough: s.LostThrough, ViewEpoch: s.ViewEpoch, PreviousIncarnation: s.Incarnation,
		Complete: s.Complete, Clean: s.Clean, FailedFlush: s.FailedFlush, SuperDamaged: damaged,
		SameBoot: s.BootID == p.bootID, LastMarker: s.LastMarker,
	}
}

// readSuperFile reads both copies through the file, so that nothing is mapped
// before the sizes are known to be sane.
func readSuperFile(path string, want *Identity) (Super, int, error) {
	f, err := os.Open(path)
	if err != nil {
		return Super{}, 0, fmt.Errorf("pmem: %w", err)
	}
	defer f.Close()
	area := make([]byte, 2*superBytes)
	if _, err := f.ReadAt(area, 0); err != nil {
		return Super{}, 0, fmt.Errorf("%w: %s: %w", ErrSuperblock, path, err)
	}
	s, damaged, err := readSuper(area, want)
	if err != nil {
		return s, damaged, fmt.Errorf("%w: %s", err, path)
	}
	return s, damaged, nil
}

// check refuses sizes that no Format has written.
func (s *Super) check() error {
	o := FormatOptions{Identity: s.Identity, SizeBytes: s.SizeBytes, SegmentBytes: int(s.SegmentBytes), MaxKeys: s.MaxKeys}
	if s.SegmentBytes == 0 || s.MaxKeys == 0 || s.Domain == DomainAuto || s.Domain > DomainMemory {
		return fmt.Errorf("%w: segments of %d bytes, %d keys, domain %s", ErrLayout, s.SegmentBytes, s.MaxKeys, s.Domain)
	}
	return o.complete()
}

// hugeFile says whether the file's pages are huge, so that filling the page
// tables at once is cheap (tmpfs reports it as the block size).
func hugeFile(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Blksize >= hugeBytes
}

// recover brings log, index and store up and makes what they hold count.
func (p *Pool) recover() error {
	r := &p.recovered
	begun := time.Now()
	if err := p.flushSuperAgain(); err != nil {
		return err
	}
	log, info, err := p.recoverLog()
	if err != nil {
		if errors.Is(err, seglog.ErrDamaged) {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, p.path, err)
		}
		return fmt.Errorf("pmem: %s: %w", p.path, err)
	}
	p.log = log

	r.Tail, r.Shown, r.Durable = log.Tail(), info.Shown, max(r.Durable, info.Durable)
	r.LogTime = time.Since(begun)

	begun = time.Now()
	if err := p.openIndex(); err != nil {
		return err
	}
	inIndex := uint64(0)
	if r.Kept {
		inIndex = min(p.index.Mark(markApplied), r.Tail)
	}
	if err := p.judge(&info, inIndex); err != nil {
		return err
	}
	r.Keys = p.index.Len()
	r.IndexTime = time.Since(begun)

	begun = time.Now()
	if err := p.flushAgain(info.Repaired, info.Durable); err != nil {
		return err
	}
	r.FlushTime = time.Since(begun)
	p.stable.Store(r.Stable)
	p.settled = r.Stable // Open leaves nothing below locked
	p.superStable.Store(p.super.Stable)
	p.superDurable.Store(p.super.Durable)
	p.marker.Store(r.LastMarker)
	p.store = store.New(p.log, p.index, p.super.HashSeed)
	p.store.SetLastMarker(r.LastMarker)
	p.keep(r.Stable)
	return nil
}

// flushSuperAgain makes durable what the superblock says before anything
// follows from it (H21). The last process of this boot may have left it in a
// cache: were it lost now, a Discard that recovery finishes below would have
// taken the records away from a pool that still calls itself complete.
func (p *Pool) flushSuperAgain() error {
	if !p.recovered.SameBoot || !p.region.flushes() {
		return nil // it came from the media
	}
	var bounce [2 * superBytes]byte
	copy(bounce[:], p.region.Bytes())
	copy(p.region.Bytes(), bounce[:])
	return p.region.Persist(0, len(bounce))
}

// flushAgain writes and flushes once more what the last life may only have
// left in a cache (H21). The bytes are stored anew, since after a failed
// flush the kernel takes pages for clean that never reached the media. Headers of
// free places go along as far as they may not be there: an old one must not come
// back over the place's next contents. Where a flush is known to have failed, or
// the log was damaged, all headers do.
func (p *Pool) flushAgain(ranges []seglog.Range, durable uint64) error {
	tail := p.log.Tail()
	if p.region.flushes() && !plant.Is(plant.H21Again) {
		if p.recovered.FailedFlush || p.recovered.Salvaged != "" {
			ranges = p.log.HeaderRanges(ranges)
		} else {
			ranges = p.log.Unflushed(ranges)
		}
		ranges = p.log.Ranges(ranges, min(durable, tail), tail)
		arena := p.region.Bytes()[dataOffset:]
		var bounce []byte
		for _, r := range ranges {
			bounce = append(bounce[:0], arena[r.Off:r.Off+r.Len]...)
			copy(arena[r.Off:], bounce)
			p.region.Flush(dataOffset+r.Off, r.Len)
		}
	}
	if err := p.region.Drain(); err != nil {
		return err
	}
	for _, r := range p.log.ClearReleased(nil) {
		p.region.Flush(dataOffset+r.Off, r.Len)
	}
	if err := p.region.Drain(); err != nil {
		return err
	}
	p.log.SetFlushed(tail)
	return nil
}

// openIndex keeps the index if it can and makes a new one otherwise.
//
// A kept index first, then one of a checkpoint, then one of the whole log.
func (p *Pool) openIndex() error {
	p.ckpt.opened()
	why := p.keepIndex()
	if why == "" {
		p.ckpt.resume()
		return nil
	}
	p.last.close()
	if !p.ckpt.never {
		no := p.restoreIndex()
		if no == "" {
			p.recovered.Why += " (" + why + ")"
			return nil
		}
		why += "; " + no
	}
	if err := p.rebuildIndex(why); err != nil {
		return err
	}
	if !p.ckpt.never {
		p.ckpt.restart()
	}
	return nil
}

// keepIndex takes over the index of the last life and replays the log's end
// over it. It returns why that is not possible, "" if it was.
func (p *Pool) keepIndex() string {
	r := &p.recovered
	switch {
	case !r.SameBoot && !plant.Is(plant.IndexBoot):
		return "another boot"
	case r.FailedFlush && !plant.Is(plant.H21Kept):
		return "a flush failed in the last life"
	}
	x, err := p.lastIndex()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "no index file"
		}
		return err.Error()
	}
	if why := p.replay(x); why != "" {
		p.index = nil
		return why
	}
	p.indexFile, p.last = p.last.file, lastIndex{}
	p.ckpt.size(len(p.indexFile.region.Bytes()))
	return ""
}

func (p *Pool) replay(x *index.Index) string {
	r := &p.recovered
	applied, life, tail := x.Mark(markApplied), x.Mark(markLife), p.log.Tail()
	switch {
	case life&markFailed != 0 && !plant.Is(plant.H21Kept):
		r.FailedFlush = true
		return "a flush failed in the last life"
	case life != uint64(p.super.Incarnation) && !plant.Is(plant.H21Kept):
		return fmt.Sprintf("index of incarnation %d, pool of %d", life, p.super.Incarnation)
	case x.Mark(markBase) != p.super.Base && !plant.Is(plant.IndexBase):
		return "index from before a discard"
	case applied > tail || applied == 0:
		return fmt.Sprintf("index goes to %d, log to %d", applied, tail)
	}
	// A record that was torn when the process died is in no index word. Words
	// at or above the tail mean that records were lost which were whole.
	if x.Top() >= tail && !plant.Is(plant.IndexBeyond) {
		return fmt.Sprintf("index refers to records above the log's end at %d", tail)
	}
	stable := min(x.Mark(markStable), tail)
	marker := x.Mark(markMarker)
	from := max(min(stable, applied, x.Mark(markSettled)), p.super.Base)
	if plant.Is(plant.ReplayUnsettled) {
		from = max(min(stable, applied), p.super.Base)
	}
	if plant.Is(plant.ReplayShort) {
		from = tail
	}
	var failed error
	err := p.log.ScanAround(from, tail, p.genuine, func(pos uint64, h *record.Header, img []byte, sound bool) bool {
		r.Replayed++
		switch h.Kind {
		case record.Put, record.Delete:
			failed = p.redo(x, pos, h, stable)
		case record.Marker:
			marker = max(marker, pos)
		}
		return failed == nil
	}, func(x seglog.Extent) { r.Extents = append(r.Extents, x) })
	if err = errors.Join(err, failed); err != nil {
		return err.Error()
	}
	r.Stable, r.LastMarker, r.Kept = stable, marker, true
	r.Why = fmt.Sprintf("kept index, replayed %d records", r.Replayed)
	p.index = x
	r.Leftovers = uint64(len(p.leftovers))
	return ""
}

// redo brings the index to what it must be after the record at pos.
func (p *Pool) redo(x *index.Index, pos uint64, h *record.Header, stable uint64) error {
	locked := lockedAfterCrash(pos, h.Flags&record.FlagRelocated != 0, stable)
	if locked {
		p.leftovers = append(p.leftovers, pos) // superseded ones are sorted out by Leftovers
	}
	return p.apply(x, pos, h, locked)
}

func (p *Pool) apply(x *index.Index, pos uint64, h *record.Header, locked bool) error {
	if err := x.Warm(h.Hash); err != nil {
		return err
	}
	var c index.Cursor
	x.Seek(&c, h.Hash)
	w := index.MakeWord(h.Hash, pos, locked)
	switch {
	case !seekKey(&c, p.log, h.Hash, pos):
		besideDamage(x, p.log, h.Hash)
		if err := x.Insert(h.Hash, w, p.soundHash); err != nil {
			return err
		}
	case c.Word().Pos() == pos, newer(h.TS, pos, record.TS(p.log.Record(c.Word().Pos())), c.Word().Pos()):
		x.Store(&c, w)
	}
	return nil
}

func (p *Pool) indexTag() uint64 { return binary.LittleEndian.Uint64(p.super.PoolID[8:]) }

func (p *Pool) rebuildIndex(why string) error {
	r := &p.recovered
	p.leftovers, r.Extents = nil, nil
	r.Replayed, r.Leftovers, r.Kept, r.Restored = 0, 0, false, false
	f, err := p.openIndexFile(true)
	if err != nil {
		return err
	}
	p.indexFile = f
	p.ckpt.size(len(f.region.Bytes()))
	goroutines := rebuildGoroutines()
	if p.heapIndex != nil {
		goroutines = 1 // one order, whatever the machine: a simulation is repeatable
	}
	stable := min(p.super.Stable, p.log.Tail())
	b := &rebuild{log: p.log, stable: stable, genuine: p.genuine}
	parts := rebuildParts(goroutines, p.log.Tail()-p.log.Oldest())
	if p.heapIndex != nil && p.super.SegmentBytes < segmentBytesMin {
		parts = 1 // a test's; it has no page to spare
	}
	for ; ; parts /= 2 {
		b.build, err = index.Build(f.region.Bytes(), f.ensure, p.indexTag(), parts)
		if parts == 1 || !errors.Is(err, index.ErrSize) {
			break // a small index has no room for many parts
		}
	}
	if err != nil {
		return fmt.Errorf("pmem: %s: %w", p.indexPath, err)
	}
	for _, s := range p.log.Segments() {
		b.spans = append(b.spans, span{s.Start, s.End})
	}
	if p.index, err = b.run(goroutines); err != nil {
		if errors.Is(err, seglog.ErrDamaged) {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, p.path, err)
		}
		return err
	}
	p.leftovers = b.leftovers()
	r.Extents = slices.Concat(b.extents...)
	if b.hurt.Load() > 0 {
		p.index.SetMark(store.MarkBeside, 1)
	}
	r.Stable, r.Records, r.Leftovers = stable, b.records.Load(), uint64(len(p.leftovers))
	r.LastMarker = b.marker()
	r.Why = fmt.Sprintf("rebuilt from log, %d records (%s)", r.Records, why)
	return nil
}

// releaseAll undoes a part of open.
func (p *Pool) releaseAll() {
	p.finished = true
	p.stopSide()
	p.last.close()
	if p.indexFile != nil {
		_ = p.indexFile.region.Close()
	}
	if p.region != nil {
		_ = p.region.Close()
	}
	_ = p.lock.release()
}
