package damage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"healkv/pmem"
	"healkv/pmem/record"
)

// errNoPlace means that a node has no such structure.
var errNoPlace = errors.New("damage: no such place")

// place is a range of a file.
type place struct {
	path     string
	off, len int64
}

func (p place) String() string {
	return fmt.Sprintf("%s [%d, %d)", filepath.Base(p.path), p.off, p.off+p.len)
}

// files are a node's, as they are now.
type files struct {
	pool, index, checkpoint string
}

func (c *cluster) files(node int) (f files, err error) {
	cfg := &c.cfgs[node]
	one := func(patterns ...string) string {
		for _, p := range patterns {
			if list, _ := filepath.Glob(p); len(list) > 0 {
				return list[0]
			}
		}
		return ""
	}
	f.pool = one(filepath.Join(cfg.PoolDir, "*.pool"))
	f.index = one(filepath.Join(cfg.IndexDir, "*.index"))
	f.checkpoint = one(filepath.Join(cfg.PoolDir, "*.ckpt"), filepath.Join(cfg.PoolDir, "*.checkpoint"),
		filepath.Join(cfg.IndexDir, "*.ckpt"), filepath.Join(cfg.IndexDir, "*.checkpoint"))
	if f.pool == "" {
		return f, fmt.Errorf("%w: no pool in %s", errNoPlace, cfg.PoolDir)
	}
	return f, nil
}

// recordOf is the newest record of a key in a pool file: the one with the
// highest timestamp, of equal ones the one further up in the log.
func recordOf(pool []byte, key []byte) (off int64, img []byte, err error) {
	var newest, highest uint64
	for at := pmem.DataOffset; ; {
		i := bytes.Index(pool[at:], key)
		if i < 0 {
			break
		}
		at += i + 1
		head := at - 1 - record.HeaderBytes
		if head < pmem.DataOffset || head%record.Align != 0 {
			continue
		}
		x := pool[head:]
		n := record.HeaderBytes + record.KeyLen(x) + record.ValueLen(x)
		if record.KeyLen(x) != len(key) || n > len(x) || record.ValueLen(x) > record.ValueBytesMax {
			continue
		}
		if pos := position(pool, int64(head)); record.TS(x) > newest || record.TS(x) == newest && pos > highest {
			newest, highest, off, img = record.TS(x), pos, int64(head), x[:record.ImageBytes(x)]
		}
	}
	if img == nil {
		return 0, nil, fmt.Errorf("%w: no record of %q", errNoPlace, key)
	}
	return off, img, nil
}

// position is the log position of an offset in the pool file.
func position(pool []byte, off int64) uint64 {
	head := segmentOf(off)
	number := binary.LittleEndian.Uint64(pool[head+8:])
	return number*segmentBytes + uint64(off-head)
}

// segmentOf is where the segment's header stands.
func segmentOf(off int64) int64 {
	return pmem.DataOffset + (off-pmem.DataOffset)/segmentBytes*segmentBytes
}

const (
	segmentHeaderBytes = 64
	superBytes         = pmem.SuperBytes / 2
	pageBytes          = 4096
	refMask            = 1<<48 - 1 // of an index word: where the record lies, by 16
)

// wordOf is where the index file refers to a log position.
func wordOf(index []byte, pos uint64) (int64, bool) {
	for off := 0; off+8 <= len(index); off += 8 {
		if w := binary.LittleEndian.Uint64(index[off:]); w != 0 && w&refMask == pos>>4 {
			return int64(off), true
		}
	}
	return 0, false
}

// find names the place of a cell at one node, and another one of its kind, for
// what is misdirected. key's record is what it is about.
func (c *cluster) find(cell Cell, node int, key, other []byte, rng *rand.Rand) (at, from place, err error) {
	f, err := c.files(node)
	if err != nil {
		return at, from, err
	}
	pool, err := os.ReadFile(f.pool)
	if err != nil {
		return at, from, err
	}
	off, img, err := recordOf(pool, key)
	if err != nil {
		return at, from, err
	}
	switch cell.What {
	case Record:
		at = place{f.pool, off, int64(len(img))}
		off2, img2, err := recordOf(pool, other)
		if err != nil {
			return at, from, err
		}
		from = place{f.pool, off2, int64(len(img2))}
	case SegmentHeader:
		at = place{f.pool, segmentOf(off), segmentHeaderBytes}
		segments := (int64(len(pool)) - pmem.DataOffset) / segmentBytes
		other := pmem.DataOffset + (segmentOf(off)-pmem.DataOffset+segmentBytes*(1+rng.Int64N(segments-1)))%(segments*segmentBytes)
		from = place{f.pool, other, segmentHeaderBytes}
	case Superblock:
		which := rng.Int64N(2)
		at, from = place{f.pool, which * superBytes, superBytes}, place{f.pool, (1 - which) * superBytes, superBytes}
		if rng.IntN(2) == 0 { // of another pool on the same device
			neighbour, err := c.files((node + 1) % Nodes)
			if err != nil {
				return at, from, err
			}
			from.path = neighbour.pool
		}
	case IndexPage:
		if f.index == "" {
			return at, from, fmt.Errorf("%w: no index file", errNoPlace)
		}
		index, err := os.ReadFile(f.index)
		if err != nil {
			return at, from, err
		}
		w, ok := wordOf(index, position(pool, off))
		if !ok {
			return at, from, fmt.Errorf("%w: the index refers nowhere to %d", errNoPlace, position(pool, off))
		}
		at = place{f.index, w &^ (pageBytes - 1), pageBytes}
		if cell.How == BitFlip {
			at = place{f.index, w, 8}
		}
		from = place{f.index, at.off ^ pageBytes, pageBytes}
	case Checkpoint:
		if f.checkpoint == "" {
			return at, from, fmt.Errorf("%w: no checkpoint file", errNoPlace)
		}
		st, err := os.Stat(f.checkpoint)
		if err != nil {
			return at, from, err
		}
		pages := max(1, st.Size()/pageBytes)
		n := min(st.Size(), pageBytes)
		at = place{f.checkpoint, rng.Int64N(pages) * pageBytes, n}
		from = place{f.checkpoint, rng.Int64N(pages) * pageBytes, n}
	}
	return at, from, nil
}

// hurt does it to the file. old is the file as it was before the cell's keys
// were written, nil: it was not there.
func hurt(how How, at, from place, old []byte, rng *rand.Rand) error {
	f, err := os.OpenFile(at.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	now := make([]byte, at.len)
	if _, err := f.ReadAt(now, at.off); err != nil {
		return err
	}
	before := make([]byte, at.len)
	if at.off < int64(len(old)) {
		copy(before, old[at.off:])
	}
	b := bytes.Clone(now)
	switch how {
	case BitFlip:
		bit := rng.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
	case Zeroed:
		clear(b)
	case Torn:
		cut := rng.IntN(max(1, len(b)/8)) * 8
		copy(b[cut:], before[cut:])
		if bytes.Equal(b, now) {
			clear(b[cut:])
		}
	case Stale:
		copy(b, before)
	case Misdirected:
		other := make([]byte, min(at.len, from.len))
		src, err := os.Open(from.path)
		if err != nil {
			return err
		}
		defer src.Close()
		if _, err := src.ReadAt(other, from.off); err != nil {
			return err
		}
		copy(b, other)
	}
	_, err = f.WriteAt(b, at.off)
	return err
}
