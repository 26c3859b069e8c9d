package rejoin_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"

	"healkv/dataplane/proto"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

const (
	hashSeed = 77
	keysMax  = 1000
)

// super is the superblock as it is on the media: written by a drain, so it is
// never half there.
type super struct {
	inc                   uint32
	stable, durable, base uint64
	lostThrough           proto.Epoch
	complete              bool
}

// disk is what the pool is in the real node: arena is what the process sees,
// media what a power loss leaves. What pmem does to open, flush and discard is
// done here in the same order.
type disk struct {
	arena, media []byte
	segment      int
	super        super
	stable       uint64 // last SetStable; with the index it survives the process

	segmentsTorn bool   // several segments were begun since
	refused      int    // times recovery refused what a power loss left
	flushed      []byte // before a torn power loss: what had been flushed

	log    *seglog.Log
	x      *index.Index
	st     *store.Store
	ranges []seglog.Range
}

type wordOf = index.Word

// leftover is one of the node's own records above its stable position.
type leftover struct{ hash, pos uint64 }

func newDisk(bytes, segment int) *disk {
	return &disk{arena: make([]byte, bytes), media: make([]byte, bytes), segment: segment}
}

func (d *disk) config() seglog.Config {
	return seglog.Config{Arena: d.arena, SegmentBytes: d.segment, PoolTag: 1}
}

func (d *disk) newIndex() {
	x, err := index.Create(make([]byte, index.Bytes(keysMax)), nil, 1)
	if err != nil {
		panic(err)
	}
	d.x = x
}

// format makes an empty pool.
func (d *disk) format() {
	seglog.Format(d.config())
	copy(d.media, d.arena)
	d.super.complete = true
}

func (d *disk) write(rs []seglog.Range) {
	for _, r := range rs {
		copy(d.media[r.Off:r.Off+r.Len], d.arena[r.Off:r.Off+r.Len])
	}
}

// open recovers log and index; everything at or above the stable position is
// locked, whatever was known before.
func (d *disk) open() (tail uint64, left []leftover, err error) {
	log, info, err := seglog.Recover(d.config(), d.super.durable, d.super.base)
	if errors.Is(err, seglog.ErrDamaged) && d.segmentsTorn && len(d.flushed) > 0 {
		// Known: of two segments begun since the last flush the older one's
		// header is torn and the newer one's whole; seglog takes that for
		// damage. Go on as if nothing unflushed had reached the media.
		d.refused++
		copy(d.arena, d.flushed)
		copy(d.media, d.flushed)
		log, info, err = seglog.Recover(d.config(), d.super.durable, d.super.base)
	}
	d.flushed = d.flushed[:0]
	if err != nil {
		return 0, nil, err
	}
	d.log = log
	d.newIndex()
	tail = log.Tail()
	d.stable = min(d.stable, tail)
	hashOf := func(pos uint64) uint64 { return record.Hash(log.Record(pos)) }
	marker := uint64(0)
	var locked []leftover
	var full error
	err = log.Scan(0, tail, func(pos uint64, h *record.Header, img []byte) bool {
		if h.Kind == record.Marker {
			marker = pos
			return true
		}
		lock := pos >= d.stable && h.Flags&record.FlagRelocated == 0
		w := index.MakeWord(h.Hash, pos, lock)
		var c index.Cursor
		d.x.Seek(&c, h.Hash)
		found := false
		for !found && c.Next() {
			found = string(record.Key(log.Record(c.Word().Pos()))) == string(record.Key(img))
		}
		switch {
		case !found:
			full = d.x.Insert(h.Hash, w, hashOf)
		case h.TS >= record.TS(log.Record(c.Word().Pos())):
			d.x.Store(&c, w)
		default:
			return true
		}
		if lock {
			locked = append(locked, leftover{h.Hash, pos})
		}
		return full == nil
	})
	if err == nil {
		err = full
	}
	if err != nil {
		return 0, nil, err
	}
	// What the last life may only have left in a cache is flushed again (H21).
	d.ranges = append(d.ranges[:0], info.Repaired...)
	d.ranges = log.Unflushed(d.ranges)
	d.write(log.Ranges(d.ranges, min(info.Durable, tail), tail))
	d.write(log.ClearReleased(nil))
	log.SetFlushed(tail)
	d.st = store.New(log, d.x, hashSeed)
	d.st.SetLastMarker(marker)
	for _, l := range locked {
		if current, _ := d.st.References(l.hash, l.pos); current {
			left = append(left, l)
		}
	}
	return tail, left, nil
}

func (d *disk) writeSuper(change func(*super)) {
	change(&d.super)
	d.super.durable = d.log.Flushed()
	d.super.stable = min(d.stable, d.super.durable)
}

// begin starts a life on top of what open found.
func (d *disk) begin(inc uint32) {
	d.writeSuper(func(s *super) { s.inc = inc })
	d.log.SetIncarnation(inc)
}

// discard drops everything, for a full copy.
func (d *disk) discard(inc uint32) {
	d.stable = 0
	segment := uint64(d.segment)
	base := (d.log.Tail() + segment - 1) &^ (segment - 1)
	d.writeSuper(func(s *super) { s.inc, s.complete, s.base, s.lostThrough = inc, false, base, 0 })
	d.x.Reset()
	d.write(d.log.Discard(nil))
	d.log.SetIncarnation(inc)
	d.log.SetFlushed(d.log.Tail())
	d.st.Reset()
}

// flush makes the log durable through its tail; now and then the superblock
// goes along, claiming what earlier flushes covered.
func (d *disk) flush(withSuper bool) {
	tail, from := d.log.Tail(), d.log.Flushed()
	if tail == from && !d.log.Pending() {
		return
	}
	d.ranges = d.log.Ranges(d.ranges[:0], from, tail)
	d.write(d.ranges)
	if withSuper {
		d.writeSuper(func(*super) {})
	}
	d.log.SetFlushed(tail)
}

// processCrash keeps the memory; which stable position is found depends on
// whether the index is kept.
func (d *disk) processCrash(rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		d.stable = d.super.stable
	}
}

// powerLoss leaves what was flushed, and of the rest nothing, a prefix, or any
// part in lines or words.
func (d *disk) powerLoss(rng *rand.Rand) (how string) {
	from, tail := d.log.Flushed(), d.log.Tail()
	d.segmentsTorn = (tail-1)/uint64(d.segment) > (max(from, 1)-1)/uint64(d.segment)+1
	switch rng.IntN(4) {
	case 0:
		how = "nothing"
	case 1:
		how = "prefix"
		d.ranges = d.log.Ranges(d.ranges[:0], from, tail)
		n := 0
		for _, r := range d.ranges {
			n += r.Len
		}
		n = rng.IntN(n + 1)
		for _, r := range d.ranges {
			r.Len = min(r.Len, n)
			n -= r.Len
			copy(d.media[r.Off:r.Off+r.Len], d.arena[r.Off:])
		}
	case 2:
		how = "lines"
		d.flushed = append(d.flushed[:0], d.media...)
		d.tear(rng, 64)
	case 3:
		how = "words"
		d.flushed = append(d.flushed[:0], d.media...)
		d.tear(rng, 8)
	}
	copy(d.arena, d.media)
	d.stable = d.super.stable
	return how
}

func (d *disk) tear(rng *rand.Rand, unit int) {
	for at := 0; at < len(d.arena); at += 4096 {
		a, m := d.arena[at:at+4096], d.media[at:at+4096]
		if bytes.Equal(a, m) {
			continue
		}
		for i := 0; i < 4096; i += unit {
			if rng.IntN(2) == 0 {
				copy(m[i:i+unit], a[i:i+unit])
			}
		}
	}
}

// lockedCount and contents look at the whole index.
func (d *disk) lockedCount() (n int, first string) {
	d.x.Words(func(w index.Word) bool {
		if w.Locked() {
			if n == 0 {
				img := d.log.Record(w.Pos())
				first = fmt.Sprintf("key %q, TS %v, at %d, owner %d.%d, flags %d", record.Key(img), proto.TS(record.TS(img)), w.Pos(),
					record.OwnerNode(img), record.OwnerIncarnation(img), record.Flags(img))
			}
			n++
		}
		return true
	})
	return n, first
}
