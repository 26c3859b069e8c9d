package seglog

import "healkv/pmem/record"

// SureBytes is how many bytes of records of any sizes can be appended for
// certain. FreeBytes promises as much only to records no larger than the
// largest so far, and sinks by a part of every free segment when a larger one
// comes: whoever guarantees space to others must go by this one. In a log
// whose segments are too small for the largest record, which a pool's never
// are, the two are the same. Worker only.
func (l *Log) SureBytes() uint64 {
	const waste = record.BytesMax - record.Align
	if l.size < SegmentHeaderBytes+record.BytesMax {
		return l.FreeBytes()
	}
	n := len(l.free) * (l.size - SegmentHeaderBytes - waste)
	if l.open >= 0 {
		n += max(0, l.size-waste-l.off)
	}
	return uint64(n)
}
