package ckpt

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/plant"
)

const (
	// PageBytes is the size of a slot: that of an index page.
	PageBytes = 16 << 10

	magic      = 0x3174_706b_636c_6568 // "helckpt1"
	version    = 2                     // of 1 some were written before the log was durable through Needs
	headBytes  = 4096
	blockBytes = 16
	localMax   = 32
)

// File is what a checkpoint lies in.
type File interface {
	ReadAt(b []byte, off int64) (int, error)
	WriteAt(b []byte, off int64) (int, error)
	// Sync returns when everything written before is durable.
	Sync() error
}

// Layout says whose checkpoint a file holds and how large it may be.
type Layout struct {
	Pool     [16]byte
	PagesMax int // index pages there is room for
}

// Table says what a checkpoint is made of.
type Table struct {
	Generation uint64
	Base       uint64 // the pool's: another one is of before a Discard
	Began      uint64 // the log's tail when it began: no image is older
	From       uint64 // where the log is to be replayed from
	Needs      uint64 // no image knows of more; written when the log is durable through here
	Life       uint32 // incarnation of the segment that Needs lies in
	Marker     uint64 // newest marker when it began
	Flags      uint64 // the caller's
	Blocks     []Block

	Place int // 0 or 1, where in the file it lies
}

// Block is one page, in the order of the hashes: it holds those that begin with
// the next number of Local bits.
type Block struct {
	Sum   uint64 // of the page's words
	Slot  uint32
	Live  uint16 // words
	Local uint8
}

// areaBytes is the room of one table.
func (l Layout) areaBytes() int64 {
	n := int64(headBytes + blockBytes*l.PagesMax)
	return (n + PageBytes - 1) &^ (PageBytes - 1)
}

// SlotOffset is where a slot lies in the file.
func (l Layout) SlotOffset(slot uint32) int64 { return 2*l.areaBytes() + int64(slot)*PageBytes }

// SlotsMax is how many slots can ever be in use: those of two tables.
func (l Layout) SlotsMax() int { return 2*l.PagesMax + 64 }

// WritePage writes an image into a slot.
func (l Layout) WritePage(f File, slot uint32, image []byte) error {
	_, err := f.WriteAt(image[:PageBytes], l.SlotOffset(slot))
	return err
}

// ReadPage reads it back. What it read is for the caller to verify.
func (l Layout) ReadPage(f File, slot uint32, image []byte) error {
	_, err := f.ReadAt(image[:PageBytes], l.SlotOffset(slot))
	return err
}

// Write puts the table at its place, over the one that lies there. buf is
// scratch, returned for the next call.
func (l Layout) Write(f File, t *Table, buf []byte) ([]byte, error) {
	if len(t.Blocks) > l.PagesMax {
		return buf, fmt.Errorf("ckpt: table of %d pages, room for %d", len(t.Blocks), l.PagesMax)
	}
	n := headBytes + blockBytes*len(t.Blocks)
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	clear(buf[:headBytes])
	for i := range t.Blocks {
		k := &t.Blocks[i]
		e := buf[headBytes+i*blockBytes:]
		binary.LittleEndian.PutUint64(e[0:], k.Sum)
		binary.LittleEndian.PutUint32(e[8:], k.Slot)
		binary.LittleEndian.PutUint16(e[12:], k.Live)
		e[14], e[15] = k.Local, 0
	}
	words := [...]uint64{magic, version | PageBytes<<32, t.Generation, t.Base, t.Began, t.From, t.Needs,
		uint64(t.Life), t.Marker, uint64(len(t.Blocks)), uint64(l.PagesMax), t.Flags}
	for i, w := range words {
		binary.LittleEndian.PutUint64(buf[16+8*i:], w)
	}
	copy(buf[16+8*len(words):], l.Pool[:])
	sum := xxh3.Hash128(buf[16:])
	binary.LittleEndian.PutUint64(buf[0:], sum.Lo)
	binary.LittleEndian.PutUint64(buf[8:], sum.Hi)
	_, err := f.WriteAt(buf, int64(t.Place)*l.areaBytes())
	return buf, err
}

// Clear makes Read find nothing: the slots are free.
func (l Layout) Clear(f File) error {
	for place := range int64(2) {
		if _, err := f.WriteAt(make([]byte, headBytes), place*l.areaBytes()); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Read returns the tables that verify, the newest first: none, one or two.
func (l Layout) Read(f File) (found []Table) {
	for place := range 2 {
		if t, ok := l.read(f, place); ok {
			found = append(found, t)
		}
	}
	if len(found) == 2 && found[1].Generation > found[0].Generation {
		found[0], found[1] = found[1], found[0]
	}
	return found
}

func (l Layout) read(f File, place int) (t Table, ok bool) {
	head := make([]byte, headBytes)
	at := int64(place) * l.areaBytes()
	if n, _ := f.ReadAt(head, at); n != headBytes {
		return t, false
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(head[16+8*i:]) }
	count := word(9)
	if word(0) != magic || word(1) != version|PageBytes<<32 || word(10) != uint64(l.PagesMax) || count == 0 || count > uint64(l.PagesMax) {
		return t, false
	}
	all := make([]byte, headBytes+blockBytes*int(count))
	if n, _ := f.ReadAt(all, at); n != len(all) {
		return t, false
	}
	sum := xxh3.Hash128(all[16:])
	whole := binary.LittleEndian.Uint64(all) == sum.Lo && binary.LittleEndian.Uint64(all[8:]) == sum.Hi
	if !whole && !plant.Is(plant.CkptTableSum) || [16]byte(all[16+8*12:16+8*12+16]) != l.Pool {
		return t, false
	}
	t = Table{Generation: word(2), Base: word(3), Began: word(4), From: word(5), Needs: word(6),
		Life: uint32(word(7)), Marker: word(8), Flags: word(11), Blocks: make([]Block, count), Place: place}
	used := make([]bool, l.SlotsMax())
	covered := uint64(0) // of 2^localMax
	for i := range t.Blocks {
		e := all[headBytes+i*blockBytes:]
		k := Block{binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint16(e[12:]), e[14]}
		if k.Local < 1 || k.Local > localMax || int64(k.Slot) >= int64(len(used)) || used[k.Slot] {
			return t, false
		}
		part := uint64(1) << (localMax - k.Local)
		if covered%part != 0 || covered+part > 1<<localMax {
			return t, false
		}
		covered += part
		used[k.Slot] = true
		t.Blocks[i] = k
	}
	return t, covered == 1<<localMax
}
