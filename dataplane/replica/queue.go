package replica

import "healkv/dataplane/plant"

// queue is a first-in first-out buffer that is addressed by ever-growing
// indices: head is the oldest element, tail the next to come. It doubles when
// full; what is queued is bounded by the ring of its stream.
type queue[T any] struct {
	buf        []T // power of two long
	head, tail uint64
}

func newQueue[T any](capacity int) queue[T] {
	n := 16
	for n < capacity {
		n *= 2
	}
	return queue[T]{buf: make([]T, n)}
}

func (q *queue[T]) len() int       { return int(q.tail - q.head) }
func (q *queue[T]) at(i uint64) *T { return &q.buf[i&uint64(len(q.buf)-1)] }
func (q *queue[T]) pop()           { q.head++ }
func (q *queue[T]) reset()         { q.head, q.tail = 0, 0 }
func (q *queue[T]) front() *T      { return q.at(q.head) }
func (q *queue[T]) back() *T       { return q.at(q.tail - 1) }
func (q *queue[T]) push(v T) {
	if q.tail-q.head == uint64(len(q.buf)) {
		q.grow()
	}
	*q.at(q.tail) = v
	q.tail++
}

//go:noinline
func (q *queue[T]) grow() {
	bigger := make([]T, 2*len(q.buf))
	for i := q.head; i != q.tail; i++ {
		bigger[i&uint64(len(bigger)-1)] = q.buf[i&uint64(len(q.buf)-1)]
	}
	q.buf = bigger
}

// span is a burst of one stream in the log: everything of the stream through
// seq lies below after, and nothing of the burst lies below before.
type span struct {
	seq           uint64 // stream position
	before, after uint64 // log positions
}

// spans is the follower's (and, for its own stream, the coordinator's) memory
// of where a stream's entries lie in the log: one element per burst, kept until
// the burst is stable. "before" serves the stable position, "after" the
// durable watermark (protocol.md, "INV from c at follower f").
//
// Invariant: seq, before and after do not decrease from head to tail, and
// durable >= head.
type spans struct {
	queue[span]
	durable uint64 // index of the first span not known to be flushed
	fixed   uint64 // spans before this index are in a flush that has begun
}

// spansMax bounds the memory of a stream whose stable lags far behind: beyond
// it the newest spans are merged, which only makes positions more careful.
const spansMax = 1 << 14

func (s *spans) add(seq, before, after uint64) {
	if s.len() >= spansMax && s.durable < s.tail {
		b := s.back()
		b.seq, b.after = seq, after
		return
	}
	s.push(span{seq, before, after})
}

// flushed passes the spans that lie below the flushed log position and returns
// the last of their sequence numbers, or seq if there is none.
func (s *spans) flushed(pos, seq uint64) uint64 {
	for s.durable < s.tail && s.at(s.durable).after <= pos {
		seq = s.at(s.durable).seq
		s.durable++
	}
	return seq
}

// stable drops the spans through the stream position seq.
func (s *spans) stable(seq uint64) {
	for s.len() > 0 && s.front().seq <= seq {
		s.pop()
	}
	s.durable = max(s.durable, s.head)
}

// floor is the lowest log position of an entry that is not stable, or tail.
func (s *spans) floor(tail uint64) uint64 {
	if s.len() == 0 {
		return tail
	}
	if plant.Is(plant.SpanAfter) {
		return min(tail, s.front().after)
	}
	return min(tail, s.front().before)
}

func (s *spans) clear() {
	s.reset()
	s.durable, s.fixed = 0, 0
}
