// Package ring is the memory of a stream: the producer's staging ring and a
// consumer's mirror of it. It is pure: bytes and positions, no I/O, no
// atomics. Publishing a tail and learning a limit is the provider's part.
//
// A position counts bytes of the stream from 0 and never wraps; byte p lies
// at p modulo the ring's size. An entry is contiguous and 16-byte aligned. An
// entry that does not fit before the ring's end is preceded by a skip mark
// (eight bytes 0xFF), which tells the consumer to go on at the ring's start.
package ring

import (
	"encoding/binary"
	"errors"

	"healkv/dataplane/plant"
)

const (
	Align    = 16
	skipMark = ^uint64(0)
)

// ErrSkip is a peer's skip mark where none can be, or a window that breaks
// the alignment: the connection must be cut.
var ErrSkip = errors.New("ring: malformed stream")

// Out is the producer's side. One goroutine.
//
// Invariant: reclaimed <= tail <= reclaimed + len(buf).
type Out struct {
	buf       []byte
	tail      uint64 // next byte to write
	reclaimed uint64 // bytes below may be overwritten; only grows
}

// NewOut makes a producer over buf, whose length is a power of two of at
// least 4 KiB.
func NewOut(buf []byte) *Out {
	if len(buf) < 4096 || len(buf)&(len(buf)-1) != 0 {
		panic("ring: size must be a power of two of at least 4096")
	}
	return &Out{buf: buf}
}

func (o *Out) Tail() uint64      { return o.tail }
func (o *Out) Reclaimed() uint64 { return o.reclaimed }
func (o *Out) Size() uint64      { return uint64(len(o.buf)) }

// Room is the number of bytes that can be appended now, not counting what a
// skip at the end may cost.
func (o *Out) Room() uint64 { return o.Size() - (o.tail - o.reclaimed) }

// Reclaim lets everything below pos be overwritten. Lower than before is
// ignored; beyond the tail is the caller's error.
func (o *Out) Reclaim(pos uint64) {
	if pos > o.tail {
		panic("ring: reclaim beyond the tail")
	}
	if pos > o.reclaimed || plant.Is(plant.RingReclaimBack) {
		o.reclaimed = pos
	}
}

// Next gives the memory of the next entry, n bytes (rounded up to Align by
// the caller), and the position after it, which is the entry's sequence
// number. ok is false when the ring is full: nothing has changed then.
func (o *Out) Next(n int) (dst []byte, end uint64, ok bool) {
	size := o.Size()
	need := uint64(n)
	at := o.tail & (size - 1)
	skip := uint64(0)
	if at+need > size {
		skip = size - at
	}
	if need+skip > o.Room() && !(plant.Is(plant.RingSkipRoom) && need <= o.Room()) {
		return nil, 0, false
	}
	if skip > 0 {
		if !plant.Is(plant.RingSkipMark) {
			binary.LittleEndian.PutUint64(o.buf[at:], skipMark)
		}
		o.tail += skip
		at = 0
	}
	o.tail += need
	return o.buf[at : at+need : at+need], o.tail, true
}

// Bytes is the memory of [from, to), which the caller knows to be in the
// ring, as at most two pieces; for providers that send it.
func (o *Out) Bytes(from, to uint64) (a, b []byte) {
	size := o.Size()
	if to-from > size || to > o.tail {
		panic("ring: range not in the ring")
	}
	i, n := from&(size-1), to-from
	if i+n <= size {
		return o.buf[i : i+n], nil
	}
	return o.buf[i:], o.buf[:i+n-size]
}

// Mirror is a consumer's side. One goroutine.
//
// Invariant: cursor <= limit <= cursor + len(buf).
type Mirror struct {
	buf    []byte
	cursor uint64 // next byte to take
	limit  uint64 // bytes below are published
}

// NewMirror makes a consumer over buf that starts at position from.
func NewMirror(buf []byte, from uint64) *Mirror {
	if len(buf)&(len(buf)-1) != 0 {
		panic("ring: size must be a power of two")
	}
	return &Mirror{buf: buf, cursor: from, limit: from}
}

func (m *Mirror) Cursor() uint64 { return m.cursor }
func (m *Mirror) Limit() uint64  { return m.limit }

// SetLimit takes in a published tail. It comes from a peer: false if it steps
// back or lies further ahead than the ring is long; nothing has changed then.
func (m *Mirror) SetLimit(pos uint64) bool {
	if plant.Is(plant.RingLimit) {
		m.limit = pos
		return true
	}
	if pos < m.limit || pos-m.cursor > uint64(len(m.buf)) || pos%Align != 0 {
		return false
	}
	m.limit = pos
	return true
}

// Window is what can be read now in one piece, beginning with an entry; nil
// when there is nothing. ErrSkip if the peer's bytes make no stream. Only the
// first entry is known to be one: after it, within the piece, a skip mark may
// stand where the next did not fit. So: Advance by one entry and ask again.
func (m *Mirror) Window() ([]byte, error) {
	size := uint64(len(m.buf))
	for m.cursor < m.limit {
		at := m.cursor & (size - 1)
		n := min(m.limit-m.cursor, size-at)
		if n < 8 {
			return nil, ErrSkip
		}
		if binary.LittleEndian.Uint64(m.buf[at:]) != skipMark {
			return m.buf[at : at+n : at+n], nil
		}
		if (at == 0 || m.limit-m.cursor < size-at) && !plant.Is(plant.RingSkipBelieved) {
			return nil, ErrSkip
		}
		m.cursor += size - at
	}
	return nil, nil
}

// Unread is what was published and not passed, as far as it lies in one piece,
// at most n bytes of it. Nothing in it was looked at.
func (m *Mirror) Unread(n int) []byte {
	size := uint64(len(m.buf))
	at := m.cursor & (size - 1)
	return m.buf[at : at+min(m.limit-m.cursor, size-at, uint64(n))]
}

// Advance passes n bytes of the window; n is a multiple of Align.
func (m *Mirror) Advance(n int) {
	if n < 0 || n%Align != 0 || m.cursor+uint64(n) > m.limit {
		panic("ring: advance beyond the limit")
	}
	m.cursor += uint64(n)
}
