package seglog

import (
	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// Ranges appends to dst the parts of the arena to flush so that the log is
// durable from `from` to `to`: the records with the blank header behind them,
// headers of segments begun or sealed in between, and zeroed headers of
// released segments. Worker only; `to` is at most the tail.
func (l *Log) Ranges(dst []Range, from, to uint64) []Range {
	if l.pending != 0 {
		for i := range l.segs {
			if s := l.segs[i].state; (s == segReleased || s == segCleared) && !plant.Is(plant.LogFlushReleased) {
				dst = append(dst, Range{i << l.shift, SegmentHeaderBytes})
			}
		}
	}
	dst, l.mended = append(dst, l.mended...), l.mended[:0]
	if from >= to {
		return dst
	}
	// From the segment before, if `from` is a segment's start: the seal of a
	// segment that ends full is written after its last record.
	first, last := (max(from, l.Oldest()+1)-1)>>l.shift, (to-1)>>l.shift
	for number := first; number <= last; number++ {
		start := number << l.shift
		i := l.lookup(start)
		if i < 0 {
			continue
		}
		a, b := 0, l.segs[i].end
		if i == l.open {
			b = l.off
		}
		if from > start {
			a = int(from - start)
			if plant.Is(plant.LogFlushFirst) {
				a += record.HeaderBytes
			}
		}
		sealed := i != l.open && to >= start+uint64(b)
		if to < start+uint64(b) {
			b = int(to - start)
		}
		if a <= SegmentHeaderBytes && plant.Is(plant.LogFlushHeader) {
			a = SegmentHeaderBytes
		} else if a <= SegmentHeaderBytes {
			a = 0 // the segment begins in the range: its header too
		} else if sealed && !plant.Is(plant.LogFlushSeal) {
			dst = append(dst, Range{i << l.shift, SegmentHeaderBytes})
		}
		b = min(b+record.HeaderBytes, l.size)
		if a < b {
			dst = append(dst, Range{i<<l.shift + a, b - a})
		}
	}
	return dst
}

// Unflushed appends the headers that the life before Recover may only have left
// in a cache: those of free places about which the log's durable position says
// nothing. Headers of live segments are Ranges' from that position on. To be
// asked before ClearReleased.
func (l *Log) Unflushed(dst []Range) []Range {
	if plant.Is(plant.FreeUnflushed) {
		return dst
	}
	for _, i := range l.unflushed {
		dst = append(dst, Range{int(i) << l.shift, SegmentHeaderBytes})
	}
	return dst
}

// HeaderRanges appends the headers of all segments: what Format wrote.
func (l *Log) HeaderRanges(dst []Range) []Range {
	for i := range l.segs {
		dst = append(dst, Range{i << l.shift, SegmentHeaderBytes})
	}
	return dst
}
