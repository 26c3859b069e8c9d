package pmem

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/pmem/ckpt"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

// restoreIndex makes the index of the newest checkpoint in force and the log
// from there on. It reads the table and that part of the log; pages are loaded
// when they are first used, and what the log adds to them is applied then. It
// returns why that is not possible, "" if it was.
func (p *Pool) restoreIndex() (why string) {
	r := &p.recovered
	c := &p.ckpt
	if c.never {
		return ""
	}
	switch {
	case r.FailedFlush:
		return "a flush failed in the last life"
	case r.Salvaged != "":
		return "the log is damaged" // a segment that is not there may be lost, not given back
	}
	p.leftovers = nil
	r.Replayed = 0
	f, err := p.openIndexFile(true)
	if err != nil {
		return err.Error()
	}
	c.size(len(f.region.Bytes()))
	t := c.newest()
	if t == nil {
		_ = f.region.Close()
		return "no checkpoint"
	}
	images := make([]index.Image, len(t.Blocks))
	for i := range t.Blocks {
		k := &t.Blocks[i]
		images[i] = index.Image{Sum: k.Sum, Live: k.Live, Local: k.Local}
	}
	x, err := index.Restore(f.region.Bytes(), f.ensure, p.indexTag(), images, t.Needs)
	if err != nil {
		_ = f.region.Close()
		return err.Error()
	}
	f.backed.Store(int64(x.Backed()) &^ (hugeBytes - 1)) // its pages are allocated one by one

	stable := min(p.super.Stable, p.log.Tail())
	k := &keeper{p: p, tail: p.log.Tail(), stable: stable, x: x, table: t, file: c.file, layout: c.layout,
		head: make([]uint32, len(t.Blocks)), asked: make([]bool, len(t.Blocks))}
	x.SetKeeper(k)
	x.SetMark(store.MarkBeside, t.Flags)
	marker := t.Marker
	from := max(min(stable, t.From), p.super.Base)
	k.from = from
	damaged := false
	ended := p.askAhead(from)
	defer ended() // a panic too
	err = p.log.ScanAround(from, k.tail, p.genuine, func(pos uint64, h *record.Header, _ []byte, sound bool) bool {
		r.Replayed++
		damaged = damaged || !sound
		switch h.Kind {
		case record.Put, record.Delete:
			k.later(x, h.Hash, pos)
			if lockedAfterCrash(pos, h.Flags&record.FlagRelocated != 0, stable) {
				k.soon(x, h.Hash)
				p.leftovers = append(p.leftovers, pos) // superseded ones are sorted out by Leftovers
			}
		case record.Marker:
			marker = max(marker, pos)
		}
		return !damaged
	}, func(seglog.Extent) { damaged = true })
	ended()
	if damaged && err == nil {
		err = errReplayDamaged
	}
	if err != nil {
		_ = f.region.Close()
		return err.Error()
	}
	p.indexFile, p.index, p.keeper = f, x, k
	c.adopt(t)
	for i := range t.Blocks {
		b := &t.Blocks[i]
		c.pages[i] = imageOf{sum: b.Sum, slot: b.Slot + 1, live: b.Live}
	}
	r.Stable, r.LastMarker, r.Restored = stable, marker, true
	r.Leftovers = uint64(len(p.leftovers))
	r.Why = fmt.Sprintf("index of checkpoint %d, %d pages to load, replayed %d records, %d of them not settled", t.Generation, len(t.Blocks), r.Replayed, len(p.leftovers))
	if c.path != "" {
		k.scattered()
	}
	return ""
}

// askBytes is asked for at a time; the kernel takes no more of a hint than its
// largest read ahead, whatever is asked for.
const askBytes = 128 << 10

// askAhead has the log from a position on brought into memory while somebody goes
// through it, so that the device and the checksums work at the same time. It
// begins at once; ended ends it.
func (p *Pool) askAhead(from uint64) (ended func()) {
	if p.region.file == nil || p.region.domain != DomainFile {
		return func() {}
	}
	var cancel atomic.Bool
	var wait sync.WaitGroup
	segments := p.log.Segments()
	wait.Go(func() {
		for _, s := range segments {
			for at := max(s.Start, from); at < s.End && !cancel.Load(); at += askBytes {
				if off, ok := p.log.ArenaOffset(at); ok {
					p.region.mapped.ask(dataOffset+int(off), int(min(askBytes, s.End-at)))
				}
			}
		}
	})
	return func() {
		cancel.Store(true)
		wait.Wait()
	}
}

// aroundBytes is what reading one record from a medium is worth in bytes read in
// one go.
const aroundBytes = 16 << 10

// scattered has the kernel read nothing around the records that pages to be
// loaded before this node may serve compare with, where those are few in a large
// log. Where they are many in a small one, all of it is read soonest by reading
// around each.
func (k *keeper) scattered() {
	reads := uint64(0)
	for p, soon := range k.asked {
		for i := k.head[p]; soon && i != 0; i = k.list[i-1].next {
			reads++
		}
	}
	if reads*aroundBytes < k.tail-k.p.log.Oldest() && k.p.region.mapped.advise(unix.MADV_RANDOM) == nil {
		k.apart = true
	}
}

// errReplayDamaged: which of two records is newer, or whether there is one, may
// not be known; an index of the whole log says what is not.
var errReplayDamaged = errors.New("the log is damaged where it is to be replayed")

// keeper answers the index (index.Keeper) while pages of it are in doubt.
//
// A page in doubt was touched by nobody since Open: none of its keys has a
// record above the tail of then, and every lock in it is as Open left it. So
// what it should hold follows from the log below that tail alone.
type keeper struct {
	p      *Pool
	x      *index.Index
	tail   uint64 // as of Open
	stable uint64

	// The rest is of a restored index.
	table  *ckpt.Table // nil: the index was kept
	file   ckpt.File
	layout ckpt.Layout
	head   []uint32  // per page: its first record in list, +1
	list   []pending // records that are not in their page yet
	asked  []bool    // per page: soon has told the file
	loaded int       // pages
	apart  bool      // the kernel reads nothing around what is read of the log
	from   uint64    // what lies above was read to make list

	reads  bool         // the reader ahead was started
	ahead  atomic.Int64 // pages that the reader ahead has brought into the page cache
	cancel atomic.Bool
	reader sync.WaitGroup
}

// pending is a record of the log's end whose page is not loaded.
type pending struct {
	pos  uint64
	next uint32
}

// later notes a record for the page of its key. The order does not matter: the
// newer timestamp wins.
func (k *keeper) later(x *index.Index, hash, pos uint64) {
	m, _ := x.Block(hash)
	k.list = append(k.list, pending{pos, k.head[m.Page]})
	k.head[m.Page] = uint32(len(k.list))
}

// Load brings a page of the checkpoint. An error is like any other damage.
func (k *keeper) Load(p uint32, image []byte) {
	k.loaded++
	slot := k.table.Blocks[p].Slot
	if k.layout.ReadPage(k.file, slot, image) != nil {
		clear(image)
	}
}

// Warmed applies what the log adds to the page.
func (k *keeper) Warmed(_ index.Span, p uint32) {
	if k.table == nil {
		return
	}
	if k.apart {
		k.fetch(p)
	}
	at := k.head[p]
	k.head[p] = 0
	for at != 0 {
		e := k.list[at-1]
		var h record.Header
		record.Decode(k.p.log.Record(e.pos), &h)
		locked := lockedAfterCrash(e.pos, h.Flags&record.FlagRelocated != 0, k.stable) && !plant.Is(plant.CkptLocks)
		if err := k.p.apply(k.x, e.pos, &h, locked); err != nil {
			panic(lost{err})
		}
		at = e.next
	}
}

// fetch asks for the records that those to be applied to a page are compared
// with, all at once: met one by one, each would be waited for.
func (k *keeper) fetch(p uint32) {
	var c index.Cursor
	for at := k.head[p]; at != 0; at = k.list[at-1].next {
		hash := record.Hash(k.p.log.Record(k.list[at-1].pos))
		for k.x.Seek(&c, hash); c.Next(); {
			if pos := c.Word().Pos(); pos < k.from {
				if off, ok := k.p.log.ArenaOffset(pos); ok {
					k.p.region.mapped.ask(dataOffset+int(off), record.HeaderBytes)
				}
			}
		}
	}
}

func (k *keeper) HashOf(pos uint64) uint64 { return soundHash(k.p.log, pos) }

func (k *keeper) Refers(pos uint64) bool { return k.p.log.Record(pos) != nil }

// soon tells the file that the page of a key will be loaded before this node may
// serve: what was not settled is settled first. Many such pages are fetched at a
// time then, and not one by one as they are met.
func (k *keeper) soon(x *index.Index, hash uint64) {
	f, ok := k.file.(ckptFile)
	m, _ := x.Block(hash)
	if !ok || k.asked[m.Page] {
		return
	}
	k.asked[m.Page] = true
	_ = unix.Fadvise(int(f.Fd()), k.layout.SlotOffset(k.table.Blocks[m.Page].Slot), ckpt.PageBytes, unix.FADV_WILLNEED)
}

// readAhead brings the checkpoint into the page cache, page after page, so that
// the worker's walk hardly ever waits for the file. Not before the walk: what was
// not settled is looked at first, and waits for the same device.
func (k *keeper) readAhead() {
	if k.reads || k.table == nil || k.p.ckpt.path == "" || k.cancel.Load() {
		return
	}
	k.reads = true
	k.reader.Go(func() {
		b := make([]byte, ckpt.PageBytes)
		for i := range k.table.Blocks {
			if k.cancel.Load() {
				break
			}
			_ = k.layout.ReadPage(k.file, k.table.Blocks[i].Slot, b) // whoever loads it notices
			k.ahead.Store(int64(i + 1))
		}
		k.ahead.Store(int64(len(k.table.Blocks)))
	})
}

// stop ends the reader ahead.
func (k *keeper) stop() {
	k.cancel.Store(true)
	k.reader.Wait()
}

// room is how many pages the walk may load now without waiting for the file.
func (k *keeper) room() int {
	if k.table == nil || k.p.ckpt.path == "" {
		return warmPages
	}
	ahead := int(k.ahead.Load())
	if ahead == len(k.table.Blocks) {
		return warmPages
	}
	return min(warmPages, max(0, ahead-k.loaded))
}
