package explore

import (
	"fmt"

	"healkv/dataplane/proto"
	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

const (
	segmentBytes = 1 << 16
	// Each member sets 64 KiB aside twice, every life begins a segment.
	arenaBytes = 18 * segmentBytes
	indexKeys  = 20000
	hashSeed   = 77
)

// super is the superblock as it is on the media.
type super struct {
	inc             proto.Incarnation
	complete        bool
	stable, durable uint64
	base            uint64
}

// disk is a pool with one shard on the Go heap: the order of steps is that of
// pmem.Open, Pool.Begin, Discard and Flush. Beyond what the log says is
// flushed, a power loss keeps a prefix of the records.
type disk struct {
	arena []byte
	high  []int // by place: bytes from here on are zero
	log   *seglog.Log
	x     *index.Index
	st    *store.Store
	saved seglog.Saved
}

// leftover is one of the node's own records above its stable position.
type leftover struct{ hash, pos uint64 }

func (d *disk) config() seglog.Config {
	return seglog.Config{Arena: d.arena, SegmentBytes: segmentBytes, PoolTag: 1}
}

func newDisk() *disk {
	d := &disk{arena: make([]byte, arenaBytes), high: make([]int, arenaBytes/segmentBytes)}
	x, err := index.Create(make([]byte, index.Bytes(indexKeys)), nil, 1)
	if err != nil {
		panic(err)
	}
	d.x = x
	d.log = seglog.Format(d.config())
	d.st = store.New(d.log, d.x, hashSeed)
	return d
}

// touched notes how far the segments hold bytes. Ends only grow between two
// restores.
func (d *disk) touched() {
	d.log.Save(&d.saved)
	for i := range d.saved.Segments {
		s := &d.saved.Segments[i]
		d.high[s.Place] = max(d.high[s.Place], min(s.End+2*record.HeaderBytes, segmentBytes))
	}
}

// keep copies the bytes of the segments in d.saved behind dst.
func (d *disk) keep(dst []byte) []byte {
	for i := range d.saved.Segments {
		s := &d.saved.Segments[i]
		from := s.Place * segmentBytes
		dst = append(dst, d.arena[from:from+s.End]...)
	}
	return dst
}

// restore makes the arena hold just these segments.
func (d *disk) restore(s *seglog.Saved, bytes []byte) {
	var used [arenaBytes / segmentBytes]int
	for i := range s.Segments {
		x := &s.Segments[i]
		copy(d.arena[x.Place*segmentBytes:], bytes[:x.End])
		bytes = bytes[x.End:]
		used[x.Place] = x.End
	}
	for i, high := range d.high {
		if high > used[i] {
			clear(d.arena[i*segmentBytes+used[i] : i*segmentBytes+high])
		}
		d.high[i] = used[i]
	}
	d.log.Restore(s)
}

// setWord makes the index refer to the word for the hash, or to nothing (0).
func (d *disk) setWord(hash uint64, w index.Word) {
	var c index.Cursor
	d.x.Seek(&c, hash)
	switch found := c.Next(); {
	case found && w != 0:
		if c.Word() != w {
			d.x.Store(&c, w)
		}
	case found:
		d.x.Erase(&c)
	case w != 0:
		if err := d.x.Insert(hash, w, func(pos uint64) uint64 { return record.Hash(d.log.Record(pos)) }); err != nil {
			panic(err)
		}
	}
}

func (d *disk) word(hash uint64) index.Word {
	var c index.Cursor
	d.x.Seek(&c, hash)
	if !c.Next() {
		return 0
	}
	return c.Word()
}

// open recovers log and index. What lies at or above the stable position is
// locked, whatever was known before, and everything is flushed again (H21).
func (d *disk) open(s *super, stable *uint64) (left []leftover, err error) {
	log, _, err := seglog.Recover(d.config(), s.durable, s.base)
	if err != nil {
		return nil, err
	}
	log.Save(&d.saved)
	d.log.Restore(&d.saved) // the store goes on with its log
	log = d.log
	d.x.Reset()
	d.st.Reset()
	*stable = min(*stable, log.Tail())
	marker := uint64(0)
	var locked []leftover
	err = log.Scan(0, log.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
		if h.Kind == record.Marker {
			marker = pos
			return true
		}
		var e store.Entry
		d.st.Find(&e, h.Hash, record.Key(img))
		if e.OK && h.TS < e.TS {
			return true
		}
		lock := pos >= *stable
		d.setWord(h.Hash, index.MakeWord(h.Hash, pos, lock))
		if lock {
			locked = append(locked, leftover{h.Hash, pos})
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	log.SetFlushed(log.Tail())
	d.st.SetLastMarker(marker)
	for _, l := range locked {
		if current, _ := d.st.References(l.hash, l.pos); current {
			left = append(left, l)
		}
	}
	return left, nil
}

// write is the superblock going out: it claims what earlier flushes covered.
func (s *super) write(d *disk, stable uint64) {
	s.durable = d.log.Flushed()
	s.stable = min(stable, s.durable)
}

// discard drops everything, for a full copy.
func (d *disk) discard(s *super, inc proto.Incarnation) {
	s.base = (d.log.Tail() + segmentBytes - 1) &^ (segmentBytes - 1)
	s.complete, s.inc = false, inc
	s.write(d, 0)
	d.x.Reset()
	d.log.Discard(nil)
	d.log.SetIncarnation(uint32(inc))
	d.log.SetFlushed(d.log.Tail())
	d.st.Reset()
}

// cut is a power loss that only the first k records above the flushed
// position survive.
func (d *disk) cut(k int) {
	flushed, at := d.log.Flushed(), d.log.Flushed()
	d.each(func(pos uint64, h *record.Header, _ []byte) {
		if pos >= flushed && k > 0 {
			k--
			at = pos + uint64(h.Bytes())
		}
	})
	d.touched()
	s := d.saved
	bytes := d.keep(nil)
	s.Segments = nil
	rest := []byte(nil)
	for _, x := range d.saved.Segments {
		start := x.Number * segmentBytes
		if start < at {
			n := min(x.End, int(at-start))
			s.Segments = append(s.Segments, seglog.SavedSegment{Place: x.Place, Number: x.Number, Incarnation: x.Incarnation, End: n})
			rest = append(rest, bytes[:n]...)
		} else if x.Place == s.Open {
			s.Open = -1
		}
		bytes = bytes[x.End:]
	}
	s.Tail = at
	d.restore(&s, rest)
}

// each goes through the records in the order of the log. It reads what was
// written here, without checks.
func (d *disk) each(fn func(pos uint64, h *record.Header, img []byte)) {
	d.log.Save(&d.saved)
	var h record.Header
	for i := range d.saved.Segments {
		s := &d.saved.Segments[i]
		for off := seglog.SegmentHeaderBytes; off < s.End; off += h.Bytes() {
			img := d.arena[s.Place*segmentBytes+off:]
			record.Decode(img, &h)
			if h.Kind == 0 {
				panic(fmt.Sprintf("explore: no record at %d of segment %d", off, s.Number))
			}
			fn(s.Number*segmentBytes+uint64(off), &h, img[:h.Bytes()])
		}
	}
}
