package seglog

import (
	"errors"
	"fmt"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

var (
	// ErrDamaged is wrapped by every error about bytes that were durable once
	// and no longer verify. The records must come from a peer.
	ErrDamaged = errors.New("seglog: damaged log")

	errEndBeforeSeal = errors.New("record crosses the end its segment's seal names")
	errNoSeal        = errors.New("the segment's seal does not verify")
	errTornHeader    = errors.New("a segment before it was torn while it was begun")
	errBlank         = errors.New("blank where a record should stand")
)

// Damage is where a walk could not go on, and why. It wraps ErrDamaged and
// the cause.
type Damage struct {
	Pos   uint64
	Cause error
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%v at position %d: %v; heal this node from its peers", ErrDamaged, d.Pos, d.Cause)
}

func (d *Damage) Unwrap() []error { return []error{ErrDamaged, d.Cause} }

// padKind is the kind of the seglog's own filler; see Log.Pad.
const (
	padKind  = record.Kind(0xff)
	padBytes = record.HeaderBytes
)

func putPad(dst []byte, pos uint64, inc uint32, durable uint64) {
	h := record.Header{Kind: padKind, Durable: durable}
	record.Encode(dst, &h, nil, nil, record.Seed(pos, inc))
}

// step reads the header at the start of b, which lies at pos. A pad is one too.
func step(b []byte, pos uint64, inc uint32, h *record.Header) (pad bool, err error) {
	err = record.VerifyHeader(b, record.Seed(pos, inc), h)
	if err == nil {
		return false, nil
	}
	if err == record.ErrKind && h.Kind == padKind && h.KeyLen == 0 && h.ValueLen == 0 {
		return true, nil
	}
	if len(b) >= record.HeaderBytes && record.Blank(b) {
		err = errBlank
	}
	return false, err
}

// Walker goes through the live records between two positions in order,
// verifying headers. The zero Walker is at its end. See the package doc for who
// may walk.
type Walker struct {
	log  *Log
	pos  uint64 // of the next record
	to   uint64
	seg  []byte // the segment of pos up to its last record; nil: to be looked up
	base uint64 // position of seg[0]
	inc  uint32
	err  error

	keepOff bool // from retired segments
}

// Walk begins at the record at `from`, or at the first live one above, and
// ends before `to` (clamped to the tail).
func (l *Log) Walk(from, to uint64) Walker {
	return Walker{log: l, pos: max(from, l.Oldest()), to: min(to, l.Tail())}
}

// Next is the next record: its position and its image with what follows it in
// the segment. img is nil at the end and where the walk cannot go on (Err).
func (w *Walker) Next(h *record.Header) (pos uint64, img []byte) {
	for w.pos < w.to && w.err == nil {
		if w.seg == nil {
			w.enter()
			continue
		}
		off := w.pos - w.base
		if off == uint64(len(w.seg)) {
			w.pos, w.seg = w.base+uint64(w.log.size), nil
			continue
		}
		pad, err := step(w.seg[off:], w.pos, w.inc, h)
		if err != nil {
			if err == record.ErrShort {
				err = errEndBeforeSeal
			}
			w.err = &Damage{w.pos, err}
			return w.pos, nil
		}
		pos, img = w.pos, w.seg[off:]
		w.pos += uint64(h.Bytes())
		if !pad {
			return pos, img
		}
	}
	return w.pos, nil
}

// Ahead is the hash of the record at a position that the walk will come to in its
// present segment, and the position behind it. Nothing is verified: it is good
// for a hint. ok is false at the segment's end, and before the walk is in one.
func (w *Walker) Ahead(at uint64) (hash, next uint64, ok bool) {
	off := at - w.base
	if off > uint64(len(w.seg)) || uint64(len(w.seg))-off < record.HeaderBytes {
		return 0, at, false
	}
	img := w.seg[off:]
	return record.Hash(img), at + uint64(record.Bytes(record.KeyLen(img), record.ValueLen(img))), true
}

// enter looks up the segment of pos; if it is not live, pos moves to the next.
func (w *Walker) enter() {
	l := w.log
	number := w.pos >> l.shift
	start := number << l.shift
	i := l.lookup(start)
	if i < 0 || w.keepOff && !l.inUse(number, i) {
		w.pos = start + uint64(l.size)
		return
	}
	b := l.place(i)
	w.inc = l.lives[i].inc.Load()
	// The tail's segment may be about to be sealed. An earlier one was sealed
	// before the tail left it.
	var end int
	if tail := l.Tail(); (tail-1)>>l.shift == number {
		end = int(tail - start)
	} else if end = int(l.lives[i].end.Load()); end == 0 {
		w.err = &Damage{start, errNoSeal}
		return
	}
	w.base, w.seg = start, b[:end:end]
	w.pos = max(w.pos, start+SegmentHeaderBytes)
	if w.pos > start+uint64(end) {
		w.pos, w.seg = start+uint64(l.size), nil
	}
}

// Pos is where the walk stands: the next record's position, or the end.
func (w *Walker) Pos() uint64 { return w.pos }

// Done says that the walk has reached its end or an error.
func (w *Walker) Done() bool { return w.err != nil || w.pos >= w.to }

// Err is why the walk ended early: nil or a *Damage.
func (w *Walker) Err() error { return w.err }

// Scan calls fn for every live record in [from, to), in order, header and body
// verified; img is exactly the image. fn returns false to stop. The error is
// nil or a *Damage at the first record that does not verify.
func (l *Log) Scan(from, to uint64, fn func(pos uint64, h *record.Header, img []byte) bool) error {
	var h record.Header
	w := l.Walk(from, to)
	for {
		pos, img := w.Next(&h)
		if img == nil {
			return w.Err()
		}
		if err := record.VerifyBody(img, &h); err != nil && !plant.Is(plant.LogScanBody) {
			return &Damage{pos, err}
		}
		if !fn(pos, &h, img[:h.Bytes():h.Bytes()]) {
			return nil
		}
	}
}

// Segment describes a live segment.
type Segment struct {
	Start, End  uint64 // positions of its first record and behind its last
	Incarnation uint32
}

// Segments lists the live segments by position, so that a rebuild can scan
// them in parallel.
func (l *Log) Segments() []Segment {
	var all []Segment
	tail := l.Tail()
	if tail == 0 {
		return nil
	}
	for number := l.Oldest() >> l.shift; number <= (tail-1)>>l.shift; number++ {
		i := l.lookup(number << l.shift)
		if i < 0 {
			continue
		}
		s := &l.segs[i]
		start := number << l.shift
		end := start + uint64(s.end)
		if i == l.open {
			end = tail
		}
		all = append(all, Segment{start + SegmentHeaderBytes, end, s.inc})
	}
	return all
}
