package simulation

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
)

var errDisk = errors.New("simulation: input/output error")

// acceptorDisk is the file of the view register's acceptor. It survives: what
// was synced survives a power loss too.
type acceptorDisk struct {
	m       *machine
	file    [8192]byte // as a process sees it
	synced  [8192]byte
	fails   bool
	slow    time.Duration // a sync takes up to that
	slows   bool          // none has yet
	copyOf  [8192]byte    // an older copy
	older   bool          // that, or a file made anew, came back and was found to be older
	foreign bool          // the file is another node's
}

func (d *acceptorDisk) ReadAt(p []byte, off int64) (int, error) {
	if n := copy(p, d.file[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (d *acceptorDisk) WriteAt(p []byte, off int64) (int, error) {
	return copy(d.file[off:], p), nil
}

func (d *acceptorDisk) Sync() error {
	w := d.m.w
	if p := d.m.p; d.slow > 0 && p != nil && p.began && !w.ended {
		if d.slows {
			d.slows = false
			w.took(doAcceptor)
		}
		p.Wait(time.Duration(w.rng.Int64N(int64(d.slow))))
	}
	if d.fails {
		w.count("acceptor disks that failed")
		w.took(doAcceptor)
		return errDisk
	}
	d.synced = d.file
	return nil
}

func (d *acceptorDisk) Close() error { return nil }

// powerLoss keeps of what was not synced any part, in 512 byte sectors.
func (d *acceptorDisk) powerLoss() {
	for at := 0; at < len(d.file); at += 512 {
		if d.m.w.rng.IntN(2) == 0 {
			copy(d.synced[at:at+512], d.file[at:])
		}
	}
	d.file = d.synced
}

// How a power loss leaves what was not flushed.
const (
	tornNothing = iota // nothing of it
	tornWords          // any 8 bytes
	tornLines          // any cache line
	tornPages          // any page
	tornMost           // nearly everything, in lines
	tornKinds
)

var tornNames = [tornKinds]string{"nothing kept", "words", "lines", "pages", "nearly all kept"}

// medium is one shard's pool: what a process sees, and what survives.
type medium struct {
	m       *machine
	shard   int
	heap    pmem.HeapMedium
	image   []byte // what the media holds, superblocks first; nil in the memory domain
	ranges  []flushed
	drains  int
	ckpt    *checkpointDisk // nil: none
	beside  bool            // a flush is under way beside its worker
	flushes int             // so many were begun beside it

	copyOf  []byte // an older copy of image
	stale   []byte // pool as it was at the damage before, without its hole
	hits    []hit  // damage that may still be there
	hitTo   uint64 // how far up in the log it was hit, as long as wasHit
	ckptHit bool   // its checkpoint's file was
	wasHit  bool   // since it was last opened and compared
	want    *wanted
}

type flushed struct{ off, n int }

func (d *medium) options() pmem.FormatOptions {
	o := &d.m.w.o
	return pmem.FormatOptions{Identity: d.identity(), SizeBytes: int64(pmem.DataOffset + o.LogBytes), SegmentBytes: o.Segment, MaxKeys: 2000}
}

func (d *medium) identity() pmem.Identity {
	return pmem.Identity{Cluster: [16]byte{1}, Node: uint8(d.m.id), Shard: uint8(d.shard), Shards: uint8(d.m.w.o.Shards), HashSeed: hashSeed}
}

func (d *medium) format() {
	w := d.m.w
	d.heap = pmem.HeapMedium{SuperEvery: 4 << 10}
	binary.LittleEndian.PutUint64(d.heap.PoolID[:], w.rng.Uint64()|1)
	binary.LittleEndian.PutUint64(d.heap.PoolID[8:], w.rng.Uint64()|1)
	d.heap.BootID[0] = 1
	d.hits, d.stale, d.hitTo, d.wasHit = nil, nil, 0, false
	if err := pmem.FormatHeap(d.options(), &d.heap); err != nil {
		panic(err)
	}
	if w.o.Power {
		d.heap.Watch = d.watch
		if w.o.Beside {
			d.heap.Later = d.later
		}
		if w.o.Checkpoint {
			d.ckpt = newCheckpointDisk(w.o.Seed<<8 | uint64(d.m.id)<<4 | uint64(d.shard))
			d.heap.Checkpoint, d.heap.CheckpointBytes = d.ckpt, 16<<10
		}
		d.image = append([]byte(nil), d.heap.Pool[:pmem.SuperBytes]...)
		d.image = append(d.image, d.heap.Pool[pmem.DataOffset:]...)
	}
}

// at is where a pool's offset lies in image, which has no hole.
func at(off int) int {
	if off >= pmem.DataOffset {
		return off - pmem.DataOffset + pmem.SuperBytes
	}
	return off
}

// died unwinds a worker's turn or a task whose machine dies in a flush.
type died struct{ m *machine }

func (d *medium) watch(r *pmem.Region) {
	d.ranges, d.beside = d.ranges[:0], false // flushed and not drained in the last life
	r.SetFlushHook(func(off, n int) { d.ranges = append(d.ranges, flushed{off, n}) })
	r.SetSyncHook(func() error {
		d.drains++
		m := d.m
		if m.dieInFlush && !m.w.ended && m.w.sim.Now() > m.dieAfter {
			m.dieInFlush = false
			for _, f := range d.ranges {
				if m.w.rng.IntN(2) == 0 {
					d.keep(f.off, m.w.rng.IntN(f.n+1))
				}
			}
			m.w.count("deaths in a flush")
			m.w.took(doInFlush)
			if m.w.rounding != nil || m.w.landing {
				panic(died{m})
			}
			m.w.sim.At(0, func() { m.crash(m.dieByPower) }) // a task's: it sees an error for an instant
			return errDisk
		}
		if now := m.w.sim.Now(); m.failFlush || now < m.failUntil {
			if m.failFlush {
				m.failUntil = now + int64(m.failFor)
			}
			m.failFlush = false
			for _, f := range d.ranges {
				if m.w.rng.IntN(2) == 0 {
					d.keep(f.off, m.w.rng.IntN(f.n+1))
				}
			}
			d.ranges = d.ranges[:0]
			m.w.count("flushes that failed")
			m.w.took(doFailDisk)
			return errDisk
		}
		for _, f := range d.ranges {
			d.keep(f.off, f.n)
		}
		d.ranges = d.ranges[:0]
		return nil
	})
}

// keep brings bytes to the media, in whole words.
func (d *medium) keep(off, n int) {
	n &^= 7
	copy(d.image[at(off):at(off)+n], d.heap.Pool[off:off+n])
}

// powerLoss leaves what was flushed, and of the rest what how says.
func (d *medium) powerLoss(how int) {
	if d.image == nil { // memory: gone
		d.format()
		d.want = nil
		return
	}
	if d.want != nil && d.want.exact { // the process had died before
		d.want = &wanted{why: "a power loss, flushed", least: flushedTS(d.want.pool)}
	}
	unit, likely := 8, 50
	switch how {
	case tornNothing:
		likely = 0
	case tornLines:
		unit = 64
	case tornPages:
		unit = 4096
	case tornMost:
		unit, likely = 64, 97
	}
	whole := d.hurtLines()
	d.tear(d.heap.Pool[:pmem.SuperBytes], d.image[:pmem.SuperBytes], unit, likely)
	d.tear(d.heap.Pool[pmem.DataOffset:], d.image[pmem.SuperBytes:], unit, likely)
	d.mend(whole)
	if d.ckpt != nil {
		d.ckpt.powerLoss()
	}
	d.reboot()
}

// hurtLine is a cache line of the image that damage has changed below the page
// cache, as it stands.
type hurtLine struct {
	off int // in the pool
	was [64]byte
}

func (d *medium) hurtLines() (lines []hurtLine) {
	for i := range d.hits {
		h := &d.hits[i]
		for off := h.off &^ 63; off < h.off+len(h.after); off += 64 {
			if x := (hurtLine{off, [64]byte(d.image[at(off):])}); !bytes.Equal(x.was[:], d.heap.Pool[off:off+64]) {
				lines = append(lines, x)
			}
		}
	}
	return lines
}

// mend undoes what mixed words of such a line with those that the process saw: a
// power loss leaves the one or the other.
func (d *medium) mend(lines []hurtLine) {
	for i := range lines {
		x := &lines[i]
		now, seen := d.image[at(x.off):][:64], d.heap.Pool[x.off:][:64]
		if !bytes.Equal(now, x.was[:]) && !bytes.Equal(now, seen) {
			copy(now, x.was[:])
		}
	}
}

// reboot starts from what the media holds.
func (d *medium) reboot() {
	copy(d.heap.Pool, d.image[:pmem.SuperBytes])
	copy(d.heap.Pool[pmem.DataOffset:], d.image[pmem.SuperBytes:])
	binary.LittleEndian.PutUint64(d.heap.BootID[:], binary.LittleEndian.Uint64(d.heap.BootID[:])+1)
}

func (d *medium) tear(now, image []byte, unit, likely int) {
	rng := d.m.w.rng
	for at := 0; at < len(now); at += 4096 {
		a, b := now[at:at+4096], image[at:at+4096]
		if bytes.Equal(a, b) {
			continue
		}
		for i := 0; i < 4096; i += unit {
			if rng.IntN(100) < likely {
				copy(b[i:i+unit], a[i:i+unit])
			}
		}
	}
}

// wanted is what a pool must have when it is opened again.
type wanted struct {
	why     string
	least   map[int]uint64 // by key
	exact   bool
	pool    *pmem.Pool // as the process left it
	unknown []int      // keys of damaged records
}

// flushedTS scans the log for the newest flushed timestamp of every key.
func flushedTS(p *pmem.Pool) map[int]uint64 {
	log := p.Store().Log()
	out := map[int]uint64{}
	genuine := func(h *record.Header, img []byte) bool { return xxh3.HashSeed(record.Key(img), hashSeed) == h.Hash }
	_ = log.ScanAround(log.Oldest(), log.Flushed(), genuine, func(_ uint64, h *record.Header, img []byte, sound bool) bool {
		if sound && (h.Kind == record.Put || h.Kind == record.Delete) {
			if k, ok := keyNumber(record.Key(img)); ok {
				out[k] = max(out[k], h.TS)
			}
		}
		return true
	}, func(seglog.Extent) {})
	return out
}
