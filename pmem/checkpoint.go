package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/pmem/ckpt"
	"healkv/pmem/index"
	"healkv/pmem/store"
)

// CheckpointBytes is how many bytes of log lie between two checkpoints of the
// index if nobody says otherwise.
const CheckpointBytes = 64 << 20

// Per step of the worker: pages copied, pages looked at.
const (
	ckptCopies = 4
	ckptLooks  = 256
	// A sweep that copied more than this is followed by another one before the
	// table is made in one step.
	ckptLate = 16
)

// checkpoints takes checkpoints of the index: package ckpt is the file, this is
// when and what. The worker owns it; file writes are the writer's.
//
// One run: note the tail (began) and where a replay must begin; copy every page
// that is not what its slot in the last checkpoint holds, a few per turn, while
// the worker goes on changing them; go over the directory once more in one step
// and write down which slot has which page. An image is of some moment after
// `began`; whatever changed a page since has its record at or above `began`, so
// the replay makes up for it. Its table is written when the log is durable
// through the tail as of the last copy, so that no image of a table that is
// there knows a record that a power loss could take away. A run counts (is in
// force) when its table is durable.
//
// Until then the one before counts, and its slots stay as they are.
//
// What a power loss leaves of the log could not say so: of what is not flushed
// any part may be there, the last segment without the one before it, which then
// looks as if it had been given back.
//
// Segments that images refer to may go: a segment goes when nothing in the index
// refers to it any more, so every key of it has a newer record, above `began`
// and durable, or is gone altogether. A word whose segment is gone is dropped
// when its page is loaded, and the replay has what replaced it.
type checkpoints struct {
	p      *Pool
	path   string // "": a medium
	layout ckpt.Layout
	file   ckpt.File // nil: none yet, or none at all
	never  bool
	every  uint64
	w      *ckptWriter

	force *ckpt.Table // nil: none
	gen   uint64      // of the newest table known
	pages []imageOf   // by index page
	free  []uint32    // slots that no table in force or under way names
	slots uint32      // slots from here on were never used

	phase  ckptPhase
	run    uint32
	table  *ckpt.Table // of the run; then spare
	spare  *ckpt.Table
	at     uint64 // hash of the next page
	sweep  int
	copies int    // in this sweep
	wrote  uint64 // pages of this run
	paced  uint64 // bytes the last run wrote
	last   uint64 // the tail when the last run began
	reopen bool   // the table in force may be in a cache only: a process found it

	asOf asOpened
	read struct { // of resume
		tables []ckpt.Table
		done   chan struct{}
		block  int    // of the table in force: the next one
		begins uint64 // and its first hash
	}

	stats CheckpointStats
}

type ckptPhase uint8

const (
	ckptIdle   ckptPhase = iota
	ckptUnread           // resume
	ckptReading
	ckptMatching
	ckptCopying
	ckptWaiting // for the log, with the table
	ckptWriting // the writer has it
)

// imageOf is the image of an index page: the newest one that was copied.
type imageOf struct {
	sum  uint64
	gen  uint64 // of the directory entry
	slot uint32 // +1; 0: none
	run  uint32 // in which it was last found right
	live uint16
}

// CheckpointStats is for status.
type CheckpointStats struct {
	Taken      uint64 // in force since Open
	Failed     uint64
	Pages      uint64 // written since Open
	Bytes      uint64 // written since Open, tables included
	Generation uint64 // of the one in force, 0: none
	Began      uint64 // the log's tail when that one began
	Running    bool
	Err        string // why the last failed one failed
}

func ckptPath(o *OpenOptions) string { return poolPath(o.Dir, o.Shard) + ".ckpt" }

// openCheckpoints finds the file of a pool. The memory domain needs none: index
// and log go together.
func (p *Pool) openCheckpoints(path string, every int64) {
	c := &p.ckpt
	c.p, c.path = p, path
	c.never = every < 0 || p.region.Domain() == DomainMemory
	c.setEvery(every)
	if c.never {
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		c.file = ckptFile{f}
	} else if !errors.Is(err, fs.ErrNotExist) {
		c.stats.Err = err.Error()
	}
	c.w = newCkptWriter(false)
}

func (p *Pool) mediumCheckpoints(f ckpt.File, every int64) {
	c := &p.ckpt
	c.p, c.file, c.never = p, f, f == nil
	c.setEvery(every)
	c.w = newCkptWriter(true)
}

func (c *checkpoints) setEvery(every int64) {
	if c.every = uint64(every); every <= 0 {
		c.every = CheckpointBytes
	}
	// No longer than an eighth of the log: the replay must find its beginning.
	c.every = min(c.every, uint64(c.p.super.SizeBytes-dataOffset)/8)
}

// asOpened is the log as it was when the pool was opened: what a table found then
// is judged by.
type asOpened struct {
	tail uint64
	life uint32 // that appended last
}

func (c *checkpoints) opened() { c.asOf = asOpened{c.p.log.Tail(), c.p.super.Incarnation} }

// size is called when the index's memory is known.
func (c *checkpoints) size(indexBytes int) {
	c.layout = ckpt.Layout{Pool: c.p.super.PoolID, PagesMax: index.PagesMax(indexBytes)}
	c.pages = make([]imageOf, c.layout.PagesMax)
}

// inForce says whether the table is one of this log. Another log is one before
// a Discard, and that of an older copy of the pool, as it was or grown since:
// its segment where the table was made ends earlier, or is of another life. If
// that segment was given back, only the life that made the table is believed.
func (c *checkpoints) inForce(t *ckpt.Table) bool {
	if t.Base != c.p.super.Base || t.Needs == 0 {
		return false
	}
	if plant.Is(plant.CkptNeeds) {
		return true
	}
	if t.Needs > c.asOf.tail {
		return false
	}
	life, ok := c.p.log.IncarnationOf(t.Needs - 1)
	if !ok {
		return t.Life == c.asOf.life && !plant.Is(plant.CkptHole)
	}
	_, end := c.p.log.Bounds((t.Needs - 1) / uint64(c.p.log.SegmentBytes()))
	return life == t.Life && t.Needs <= end
}

// newest is the newest table that counts, nil if there is none.
func (c *checkpoints) newest() *ckpt.Table {
	if c.file == nil || c.never {
		return nil
	}
	return c.pick(c.layout.Read(c.file))
}

func (c *checkpoints) pick(tables []ckpt.Table) *ckpt.Table {
	var best *ckpt.Table
	for _, t := range tables {
		c.gen = max(c.gen, t.Generation)
		if best == nil && c.inForce(&t) {
			best = &t
		}
	}
	return best
}

// resume goes on with the checkpoint in force over a kept index: pages whose
// sums are still the same need not be written again. The table is read and gone
// through later, since both take longer the larger the index is: nothing needs it
// before the next checkpoint.
func (c *checkpoints) resume() {
	if c.never {
		return
	}
	c.phase = ckptUnread
	if c.path == "" { // a medium's is there at once
		for c.phase != ckptIdle {
			c.resumeSome()
		}
	}
}

// resumeSome does a bounded part of it; false while the writer reads.
func (c *checkpoints) resumeSome() bool {
	switch c.phase {
	case ckptUnread:
		if c.file == nil {
			c.phase = ckptIdle
			c.restart()
			return true
		}
		c.read.done = make(chan struct{})
		c.w.read(c.layout, c.file, &c.read.tables, c.read.done)
		c.phase = ckptReading
	case ckptReading:
		select {
		case <-c.read.done:
		default:
			return false
		}
		t := c.pick(c.read.tables)
		c.read.tables = nil
		if t == nil {
			c.phase = ckptIdle
			c.restart()
			return true
		}
		c.adopt(t)
		c.phase, c.at, c.read.block, c.read.begins = ckptMatching, 0, 0, 0
	case ckptMatching:
		c.matchSome()
	}
	return true
}

// matchSome notes for some pages of the index which slot has their image. A page
// that changed since, or is another one by now, does not have the sum.
func (c *checkpoints) matchSome() {
	t, k := c.force, &c.read
	for range ckptLooks {
		m, next := c.p.index.Block(c.at)
		for k.block < len(t.Blocks) && k.begins < c.at {
			k.begins += 1 << (64 - t.Blocks[k.block].Local)
			k.block++
			if k.begins == 0 {
				k.block = len(t.Blocks)
			}
		}
		if k.block < len(t.Blocks) && k.begins == c.at && t.Blocks[k.block].Local == m.Local {
			b := &t.Blocks[k.block]
			c.pages[m.Page] = imageOf{sum: b.Sum, slot: b.Slot + 1, live: b.Live}
		}
		if c.at = next; next == 0 {
			c.phase = ckptIdle
			return
		}
	}
}

// adopt takes a table found by Open for the one in force.
func (c *checkpoints) adopt(t *ckpt.Table) {
	c.force, c.last, c.reopen = t, t.Began, true
	c.stats.Generation, c.stats.Began = t.Generation, t.Began
	c.freeSlots()
}

// restart begins without a checkpoint: what lies in the file is of no use.
func (c *checkpoints) restart() {
	if c.never {
		return
	}
	c.force = nil
	c.stats.Generation, c.stats.Began = 0, 0
	clear(c.pages)
	c.freeSlots()
	c.last = 0
	switch {
	case c.file == nil:
	case c.path == "": // a medium's is there for ever
		_ = c.layout.Clear(c.file)
	default:
		c.w.sync() // nothing of it is under way
		_ = c.file.(ckptFile).Close()
		_ = os.Remove(c.path)
		c.file = nil
	}
}

// freeSlots: all that the table in force does not name.
func (c *checkpoints) freeSlots() {
	used := make([]bool, c.layout.SlotsMax())
	c.slots = 0
	if c.force != nil {
		for i := range c.force.Blocks {
			s := c.force.Blocks[i].Slot
			used[s] = !plant.Is(plant.CkptSlot)
			c.slots = max(c.slots, s+1)
		}
	}
	c.free = c.free[:0]
	for s := int(c.slots) - 1; s >= 0; s-- {
		if !used[s] {
			c.free = append(c.free, uint32(s))
		}
	}
}

// due says whether it is time. At most as many bytes go to checkpoints as to
// the log: what the last one wrote must have been appended since it began.
func (c *checkpoints) due() bool {
	tail := c.p.log.Tail()
	if c.file == nil && c.path == "" || !c.p.began || tail == 0 {
		return false
	}
	return tail-min(c.last, tail) >= max(c.every, min(c.paced, uint64(c.p.super.SizeBytes-dataOffset)/4))
}

// step does a bounded part of what there is to do; false if there is nothing.
func (c *checkpoints) step() bool {
	if c.never {
		return false
	}
	if err := c.w.failed(); err != nil && c.phase != ckptIdle {
		c.fail(err)
		return true
	}
	switch c.phase {
	case ckptUnread, ckptReading, ckptMatching:
		return c.resumeSome()
	case ckptIdle:
		return c.due() && c.begin()
	case ckptCopying:
		return c.copySome()
	case ckptWaiting:
		if c.p.log.Flushed() < c.table.Needs && !plant.Is(plant.CkptAhead) && !plant.Is(plant.CkptHole) {
			return false
		}
		c.w.table(c.table)
		c.phase = ckptWriting
	case ckptWriting:
		if !c.w.written() {
			return false
		}
		if plant.Is(plant.CkptHole) && c.p.log.Flushed() < c.table.Needs {
			return false
		}
		c.finish()
	}
	return true
}

func (c *checkpoints) begin() bool {
	p := c.p
	tail := p.log.Tail()
	if _, ok := p.log.IncarnationOf(tail - 1); !ok {
		return false // nothing was appended since a discard
	}
	if c.file == nil {
		f, err := os.OpenFile(c.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			c.last = tail // not again at once
			c.stats.Failed++
			c.stats.Err = err.Error()
			return false
		}
		c.file = ckptFile{f}
	}
	c.run++
	t := c.spare
	if t == nil {
		t = &ckpt.Table{}
	}
	c.gen++
	*t = ckpt.Table{Generation: c.gen, Base: p.super.Base, Began: tail, Marker: p.store.LastMarker(), Blocks: t.Blocks[:0]}
	t.From = min(p.index.Mark(markSettled), p.stable.Load(), tail)
	if c.force != nil {
		t.Place = 1 - c.force.Place
	}
	c.table, c.last, c.spare = t, tail, nil
	c.phase, c.at, c.sweep, c.copies, c.wrote = ckptCopying, 0, 0, 0, 0
	c.w.start(c.layout, c.file, c.reopen)
	c.reopen = false
	return true
}

// copySome goes on copying pages that changed, and closes the run when none is
// left.
func (c *checkpoints) copySome() (moved bool) {
	x := c.p.index
	copied := 0
	for range ckptLooks {
		m, next := x.Block(c.at)
		ok, fresh := c.bring(&m)
		if !ok {
			return moved // the writer has all buffers
		}
		moved = true
		if c.at = next; next == 0 {
			late := c.sweep > 0 && c.copies <= ckptLate
			c.sweep, c.copies = c.sweep+1, 0
			if late {
				return c.close()
			}
			return true
		}
		if fresh {
			if copied++; copied == ckptCopies {
				break
			}
		}
	}
	return true
}

// bring sees to it that the page has an image of this run, in a slot; false if
// that must wait.
func (c *checkpoints) bring(m *index.Image) (ok, copied bool) {
	k := &c.pages[m.Page]
	if k.run == c.run && k.gen == m.Gen {
		return true, false
	}
	if c.sweep > 0 {
		c.copies++
	}
	if k.slot == 0 || k.sum != m.Sum && !plant.Is(plant.CkptStale) {
		buf := c.w.buffer()
		if buf == nil {
			return false, false
		}
		slot, ok := c.slot()
		if !ok {
			c.fail(fmt.Errorf("pmem: %s: %d slots in use", c.path, c.slots))
			return false, false
		}
		k.live = c.p.index.CopyPage(m.Page, buf)
		k.slot, k.sum = slot+1, m.Sum
		c.w.page(slot, buf, m.Sum)
		c.wrote++
		copied = true
	}
	k.run, k.gen = c.run, m.Gen
	return true, copied
}

func (c *checkpoints) slot() (uint32, bool) {
	if n := len(c.free); n > 0 {
		s := c.free[n-1]
		c.free = c.free[:n-1]
		return s, true
	}
	if int(c.slots) >= c.layout.SlotsMax() {
		return 0, false
	}
	c.slots++
	return c.slots - 1, true
}

// close makes the table, in one step: it names every page as the directory has
// it now. It is written when the log is durable through here.
func (c *checkpoints) close() bool {
	x, t := c.p.index, c.table
	t.Blocks = t.Blocks[:0]
	for hash, last := uint64(0), false; !last; {
		m, next := x.Block(hash)
		if ok, _ := c.bring(&m); !ok {
			return false // once more from the beginning, when there are buffers
		}
		k := &c.pages[m.Page]
		t.Blocks = append(t.Blocks, ckpt.Block{Sum: k.sum, Slot: k.slot - 1, Live: k.live, Local: m.Local})
		hash, last = next, next == 0
	}
	t.Needs = c.p.log.Tail()
	t.Life, _ = c.p.log.IncarnationOf(t.Needs - 1)
	t.Flags = x.Mark(store.MarkBeside)
	if plant.Is(plant.CkptReplay) {
		t.From = t.Needs
	}
	c.phase = ckptWaiting
	return true
}

// finish puts the run in force.
func (c *checkpoints) finish() {
	c.force, c.spare, c.table = c.table, c.force, nil
	c.phase = ckptIdle
	c.freeSlots()
	bytes := c.wrote*ckpt.PageBytes + uint64(len(c.force.Blocks))*16
	c.paced = bytes
	c.stats.Taken++
	c.stats.Pages += c.wrote
	c.stats.Bytes += bytes
	c.stats.Generation, c.stats.Began = c.force.Generation, c.force.Began
}

// fail gives checkpoints up until another interval of log has passed: without
// one the next power loss costs a rebuild.
func (c *checkpoints) fail(err error) {
	if errors.Is(err, errImage) {
		c.p.index.Distrust()
		panic(lost{err})
	}
	c.stats.Failed++
	c.stats.Err = err.Error()
	c.stop()
	c.restart()
	c.last = c.p.log.Tail()
}

// stop ends a run.
func (c *checkpoints) stop() {
	if c.never {
		return
	}
	c.w.sync()
	c.w.reset()
	if c.phase != ckptIdle {
		c.phase, c.table = ckptIdle, nil
	}
}

// discard follows a Discard of the pool.
func (c *checkpoints) discard() {
	if c.never {
		return
	}
	c.stop()
	c.restart()
}

func (c *checkpoints) shut() error {
	if c.w == nil {
		return nil
	}
	c.w.close()
	if f, ok := c.file.(ckptFile); ok {
		return f.Close()
	}
	return nil
}

// Checkpoints says what became of them. Worker only.
func (p *Pool) Checkpoints() CheckpointStats {
	s := p.ckpt.stats
	s.Running = p.ckpt.phase >= ckptCopying
	return s
}

// ckptFile is a file as ckpt wants it.
type ckptFile struct{ *os.File }

func (f ckptFile) Sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}
