package seglog

import "healkv/pmem/record"

// SureBytes is how many bytes of records of any sizes can be appended for
// certain. FreeBytes promises as much only to records no larger than the
// largest so far, and sinks by a part of every free segment when a larger one
// comes: whoever guarantees space to others must go by this one. In a log
// whose segments are too small for the largest record, which a pool's never
// are, the two are the same. Worker only.
func (l *Log) SureBytes() uint64 {
	if l.size < SegmentHeaderBytes+record.BytesMax {
		return l.FreeBytes()
	}
	n := l.SureOf(len(l.free))
	if l.open >= 0 {
		n += uint64(max(0, l.size-waste-l.off))
	}
	return n
}

// waste is what a segment's end can lose to a record that does not fit.
const waste = record.BytesMax - record.Align

// SureOf is what so many free segments add to SureBytes.
func (l *Log) SureOf(segments int) uint64 {
	if l.size < SegmentHeaderBytes+record.BytesMax {
		return uint64(segments * (l.size - SegmentHeaderBytes))
	}
	return uint64(segments * (l.size - SegmentHeaderBytes - waste))
}
