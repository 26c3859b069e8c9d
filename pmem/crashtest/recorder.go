package crashtest

import (
	"bytes"
	"slices"

	"healkv/pmem"
)

const (
	lineBytes = 64
	pageBytes = 4096
	wordBytes = 8
)

// write is one line as it was seen after a change.
type write struct {
	line int32
	data [lineBytes]byte
}

// covered is a flush that waits for its drain: the writes of these lines up to
// a point in time.
type covered struct {
	from, to int32 // lines
	writes   int   // of Recorder.writes
	number   int
}

// Recorder keeps, beside a region, what its medium holds for certain and all
// that may have reached it. The zero Recorder is ready for Start.
type Recorder struct {
	// Visit is called before every drain takes effect, and by Observe's
	// callers as they like (Look), with the window of states that a power
	// loss at any moment since the last drain could leave.
	Visit func(w *Window)
	// LoseFlush and LoseDrain, if not nil, say which calls have no effect;
	// numbers count from 0 over the recorder's life.
	LoseFlush func(number, off, n int) bool
	LoseDrain func(number int) bool
	// FailDrain, if not nil, makes a drain fail: nothing of it takes effect.
	FailDrain func(number int) error

	// Effective, if not nil, is told at every drain how many writes it makes
	// durable, and which flushes it would not have done so without.
	Effective func(drain, writes int, flushes []int)

	Flushes, Drains, Lost int

	mem    []byte // the region's
	media  []byte // compact: durable for certain
	shadow []byte // compact: as last seen
	writes []write
	pend   []covered
	window Window
}

// Compact is the size of the compact image of a pool of that many bytes.
func Compact(pool int) int { return pmem.SuperBytes + pool - pmem.DataOffset }

// Expand puts a compact image into a pool's memory.
func Expand(mem, image []byte) {
	copy(mem[:pmem.SuperBytes], image)
	copy(mem[pmem.DataOffset:], image[pmem.SuperBytes:])
}

// Compress is the opposite.
func Compress(image, mem []byte) {
	copy(image, mem[:pmem.SuperBytes])
	copy(image[pmem.SuperBytes:], mem[pmem.DataOffset:])
}

// Start forgets everything: the medium holds what mem holds now.
func (r *Recorder) Start(mem []byte) {
	n := Compact(len(mem))
	if len(r.media) != n {
		r.media, r.shadow = make([]byte, n), make([]byte, n)
	}
	r.mem = mem
	Compress(r.media, mem)
	copy(r.shadow, r.media)
	r.writes, r.pend = r.writes[:0], r.pend[:0]
	r.Flushes, r.Drains, r.Lost = 0, 0, 0
}

// Watch sets the hooks of a region over the memory given to Start. A second
// region over the same memory is the next process in the same boot: what the
// last one flushed and did not drain is not known to be on its way.
func (r *Recorder) Watch(region *pmem.Region) {
	r.pend = r.pend[:0]
	region.SetFlushHook(r.flush)
	region.SetSyncHook(r.drain)
}

// Observe looks for changes.
func (r *Recorder) Observe() {
	r.observe(r.mem[:pmem.SuperBytes], 0)
	r.observe(r.mem[pmem.DataOffset:], pmem.SuperBytes)
}

func (r *Recorder) observe(mem []byte, at int) {
	const step = 1024 // arenas are whole segments, of at least 1024 bytes
	shadow := r.shadow[at:]
	for off := 0; off < len(mem); off += step {
		if bytes.Equal(mem[off:off+step], shadow[off:off+step]) {
			continue
		}
		for l := off; l < off+step; l += lineBytes {
			if now := mem[l : l+lineBytes]; !bytes.Equal(now, shadow[l:l+lineBytes]) {
				copy(shadow[l:], now)
				r.writes = append(r.writes, write{line: int32((at + l) / lineBytes)})
				copy(r.writes[len(r.writes)-1].data[:], now)
			}
		}
	}
}

func (r *Recorder) flush(off, n int) {
	r.Observe()
	number := r.Flushes
	r.Flushes++
	if r.LoseFlush != nil && r.LoseFlush(number, off, n) {
		r.Lost++
		return
	}
	if off >= pmem.DataOffset {
		off += pmem.SuperBytes - pmem.DataOffset
	}
	// A flush covers whole lines, as they stand when it is called.
	r.pend = append(r.pend, covered{int32(off / lineBytes), int32((off + n + lineBytes - 1) / lineBytes), len(r.writes), number})
}

func (r *Recorder) drain() error {
	r.Look()
	number := r.Drains
	r.Drains++
	if r.FailDrain != nil {
		if err := r.FailDrain(number); err != nil {
			return err
		}
	}
	if r.LoseDrain != nil && r.LoseDrain(number) {
		r.Lost++
		return nil
	}
	if r.Effective != nil {
		r.effective(number)
	}
	kept := r.writes[:0]
	for i := range r.writes {
		w := &r.writes[i]
		if r.covers(w.line, i) {
			copy(r.media[int(w.line)*lineBytes:], w.data[:])
		} else {
			kept = append(kept, *w)
		}
	}
	r.writes, r.pend = kept, r.pend[:0]
	return nil
}

// effective finds the flushes that alone cover a line as it will be.
func (r *Recorder) effective(drain int) {
	writes, alone := 0, make([]int, 0, len(r.pend))
	for i := range r.writes {
		w, by := &r.writes[i], -1
		for j := range r.pend {
			if p := &r.pend[j]; w.line >= p.from && w.line < p.to && i < p.writes {
				if by >= 0 {
					by = -2
					break
				}
				by = j
			}
		}
		if by == -1 {
			continue
		}
		writes++
		if n := r.pend[max(by, 0)].number; by >= 0 && !slices.Contains(alone, n) {
			alone = append(alone, n)
		}
	}
	r.Effective(drain, writes, alone)
}

func (r *Recorder) covers(line int32, write int) bool {
	for i := range r.pend {
		if p := &r.pend[i]; line >= p.from && line < p.to && write < p.writes {
			return true
		}
	}
	return false
}

// Look shows the present window to Visit.
func (r *Recorder) Look() {
	r.Observe()
	if r.Visit == nil {
		return
	}
	r.window.media, r.window.writes = r.media, r.writes
	r.Visit(&r.window)
}

// Pending is how many writes are not known to be on the medium.
func (r *Recorder) Pending() int { return len(r.writes) }
