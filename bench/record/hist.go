package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The histogram's range: 1 µs to 60 s, three significant digits.
const (
	LowestMicros  = 1
	HighestMicros = 60_000_000
	Digits        = 3
)

// HdrHistogram's geometry for this range: values below 2048 have a cell each,
// above that every doubling has 1024 cells.
const (
	subBits   = 10
	subHalf   = 1 << subBits
	histCells = 17 * subHalf
)

// The highest value lies in the last doubling (tested against the library too).
const (
	_ = uint(1<<26 - 1 - HighestMicros)
	_ = uint(HighestMicros - 1<<25)
	_ = uint(histCells - (15*subHalf + HighestMicros>>15) - 1)
)

var errSparse = errors.New("record: bad histogram")

func cellOf(micros uint64) int {
	if micros < 2*subHalf {
		return int(micros)
	}
	b := bits.Len64(micros) - subBits - 1
	return b<<subBits + int(micros>>b)
}

// cellTop is the highest value of the cell, as HdrHistogram reports values.
func cellTop(cell int) uint64 {
	if cell < 2*subHalf {
		return uint64(cell)
	}
	b := cell>>subBits - 1
	return (uint64(cell&(subHalf-1))+subHalf+1)<<b - 1
}

// Micros is a duration in ns as the histogram takes it: rounded, at least 1 µs,
// at most 60 s.
func Micros(ns int64) uint64 {
	return uint64(min(max((ns+500)/1000, LowestMicros), HighestMicros))
}

// Hist counts latencies of one window: the cells of HdrHistogram, and which of
// them were touched, so that a window of a few hundred operations costs a few
// hundred cells to read and clear, not 17 408.
type Hist struct {
	counts [histCells]uint32
	lo, hi int // touched cells are in [lo, hi)
	total  uint64
	max    uint64 // µs, not rounded to a cell
}

// Record adds one latency in ns.
func (h *Hist) Record(ns int64) {
	v := Micros(ns)
	c := cellOf(v)
	h.counts[c]++
	if h.total == 0 {
		h.lo, h.hi = c, c+1
	} else {
		h.lo, h.hi = min(h.lo, c), max(h.hi, c+1)
	}
	h.total++
	h.max = max(h.max, v)
}

// Total is how many latencies were recorded.
func (h *Hist) Total() uint64 { return h.total }

// Reset forgets everything.
func (h *Hist) Reset() {
	clear(h.counts[h.lo:h.hi])
	h.lo, h.hi, h.total, h.max = 0, 0, 0, 0
}

// Latency is a distribution in four numbers, µs; all 0 if nothing was recorded.
type Latency struct{ P50, P99, P999, Max uint32 }

// Latency reads the four numbers in one pass.
func (h *Hist) Latency() (l Latency) {
	if h.total == 0 {
		return l
	}
	l.Max = uint32(h.max)
	r50, r99, r999 := rank(0.5, h.total), rank(0.99, h.total), rank(0.999, h.total)
	seen := uint64(0)
	for c := h.lo; c < h.hi; c++ {
		n := uint64(h.counts[c])
		if n == 0 {
			continue
		}
		before := seen
		seen += n
		top := uint32(min(cellTop(c), h.max))
		if before < r50 && r50 <= seen {
			l.P50 = top
		}
		if before < r99 && r99 <= seen {
			l.P99 = top
		}
		if r999 <= seen {
			l.P999 = top
			break
		}
	}
	return l
}

// rank of the quantile among total values, from 1: the nearest, as HdrHistogram
// takes it, so that our numbers and its files agree.
func rank(q float64, total uint64) uint64 {
	return min(max(uint64(q*float64(total)+0.5), 1), total)
}

// appendSparse appends the touched cells: pairs of varints, the distance from
// the cell before and the count.
func (h *Hist) appendSparse(dst []byte) []byte {
	last := 0
	for c := h.lo; c < h.hi; c++ {
		if n := h.counts[c]; n != 0 {
			dst = binary.AppendUvarint(dst, uint64(c-last))
			dst = binary.AppendUvarint(dst, uint64(n))
			last = c
		}
	}
	return dst
}

// Merged adds up histograms of many windows and nodes.
type Merged struct {
	counts []int64
	lo, hi int // touched cells are in [lo, hi)
	total  int64
	max    uint64 // µs, exact
}

// touch makes room for cells lo to hi-1 in what the readers look at.
func (m *Merged) touch(lo, hi int) {
	if m.counts == nil {
		m.counts = make([]int64, histCells)
	}
	if m.lo == m.hi {
		m.lo, m.hi = lo, hi
	} else {
		m.lo, m.hi = min(m.lo, lo), max(m.hi, hi)
	}
}

// Add adds a window's histogram; max is its exact maximum in µs. A histogram that
// does not parse is an error and adds nothing.
func (m *Merged) Add(sparse []byte, max uint32) error {
	if err := walkSparse(sparse, func(int, uint64) {}); err != nil {
		return err
	}
	if len(sparse) > 0 && uint64(max) > m.max {
		m.max = uint64(max)
	}
	return walkSparse(sparse, func(cell int, n uint64) {
		m.touch(cell, cell+1)
		m.counts[cell] += int64(n)
		m.total += int64(n)
	})
}

func walkSparse(sparse []byte, add func(cell int, n uint64)) error {
	cell := 0
	for len(sparse) > 0 {
		step, a := binary.Uvarint(sparse)
		if a <= 0 {
			return fmt.Errorf("%w: torn cell number", errSparse)
		}
		n, b := binary.Uvarint(sparse[a:])
		if b <= 0 || n == 0 || n > math.MaxUint32 {
			return fmt.Errorf("%w: bad count", errSparse)
		}
		if step >= histCells || cell+int(step) >= histCells {
			return fmt.Errorf("%w: cell %d, %d cells", errSparse, uint64(cell)+step, histCells)
		}
		cell += int(step)
		add(cell, n)
		sparse = sparse[a+b:]
	}
	return nil
}

// AddMerged adds another sum.
func (m *Merged) AddMerged(o *Merged) {
	if o.total == 0 {
		return
	}
	m.touch(o.lo, o.hi)
	for i := o.lo; i < o.hi; i++ {
		m.counts[i] += o.counts[i]
	}
	m.total += o.total
	m.max = max(m.max, o.max)
}

// Reset forgets everything and keeps the memory.
func (m *Merged) Reset() {
	clear(m.counts[m.lo:m.hi])
	m.lo, m.hi, m.total, m.max = 0, 0, 0, 0
}

// Total is how many latencies were added.
func (m *Merged) Total() int64 { return m.total }

// Max is the largest one, µs.
func (m *Merged) Max() uint64 { return m.max }

// Quantile is the value in µs that the part q of all latencies does not exceed; 0
// if there are none.
func (m *Merged) Quantile(q float64) uint64 {
	if m.total == 0 {
		return 0
	}
	want, seen := int64(rank(q, uint64(m.total))), int64(0)
	for c := m.lo; c < m.hi; c++ {
		if seen += m.counts[c]; seen >= want {
			return min(cellTop(c), m.max)
		}
	}
	return m.max
}

// Mean in µs.
func (m *Merged) Mean() float64 {
	if m.total == 0 {
		return 0
	}
	sum := 0.0
	for c, n := range m.counts {
		if n != 0 {
			sum += float64(n) * float64(cellTop(c))
		}
	}
	return sum / float64(m.total)
}

// HDR is the sum as the library's histogram, for its file formats.
func (m *Merged) HDR() *hdrhistogram.Histogram {
	h := hdrhistogram.New(LowestMicros, HighestMicros, Digits)
	for c, n := range m.counts {
		if n != 0 {
			if err := h.RecordValues(int64(cellTop(c)), n); err != nil {
				panic("record: a cell is out of the histogram's range: " + err.Error())
			}
		}
	}
	return h
}
