package tcp

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"healkv/dataplane/plant"
	"healkv/rdma"
)

// A frame's header, little endian:
//
//	 0  CRC-32C of bytes 4 to 103
//	 4  magic and kind
//	 8  length: bytes of the stream that follow
//	12  CRC-32C of those bytes
//	16  tag: which attachment of the sender this is; from 1, only grows in a life
//	24  position of the first byte that follows
//	32  feed: 1 + position the receiver is fed from; 0: not fed yet
//	40  watermarks, eight numbers in the order of rdma.Marks
const (
	frameBytes = 104
	frameMagic = 0x6b684600 // "\x00Fhk" and the kind in the lowest byte
	marksAt    = 40

	// partBytes bounds what a frame carries, so that a long stretch makes
	// progress over a connection that keeps breaking. A usual burst is shorter.
	partBytes = 256 << 10
)

const _ = uint(frameBytes - marksAt - 8*8)

type frameKind uint32

const (
	frameBurst  frameKind = 1 // stream and watermarks
	frameDetach frameKind = 2 // the sender has detached the receiver: nothing follows
	// frameResume is what the receiver sends: position is 1 + where it reads on
	// from in the attachment of that tag, 0 for "from the feed".
	frameResume frameKind = 3
	// framePart is a burst of which more follows: where it ends, an entry need
	// not end.
	framePart frameKind = 4
)

// frame is a header in words.
type frame struct {
	kind   frameKind
	length uint32
	sum    uint32
	tag    uint64
	pos    uint64
	feed   uint64
	marks  rdma.Marks
}

// errFrame is what no peer of this version sends: the link is cut.
var errFrame = errors.New("tcp: malformed frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (f *frame) encode(b *[frameBytes]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[4:], frameMagic|uint32(f.kind))
	le.PutUint32(b[8:], f.length)
	le.PutUint32(b[12:], f.sum)
	le.PutUint64(b[16:], f.tag)
	le.PutUint64(b[24:], f.pos)
	le.PutUint64(b[32:], f.feed)
	m := &f.marks
	le.PutUint64(b[marksAt:], m.Epoch)
	le.PutUint64(b[marksAt+8:], m.Visible)
	le.PutUint64(b[marksAt+16:], m.Stable)
	le.PutUint64(b[marksAt+24:], m.Applied)
	le.PutUint64(b[marksAt+32:], m.Durable)
	le.PutUint64(b[marksAt+40:], m.Room)
	le.PutUint64(b[marksAt+48:], m.Settled)
	le.PutUint64(b[marksAt+56:], m.Flushed)
	le.PutUint32(b[0:], crc32.Update(0, castagnoli, b[4:]))
}

// decode is false if the bytes are no header. What the numbers mean at this
// moment is the caller's to check.
func (f *frame) decode(b *[frameBytes]byte) bool {
	le := binary.LittleEndian
	if le.Uint32(b[0:]) != crc32.Update(0, castagnoli, b[4:]) && !plant.Is(plant.TCPHeader) {
		return false
	}
	kind := le.Uint32(b[4:])
	if kind&^0xFF != frameMagic {
		return false
	}
	f.kind = frameKind(kind & 0xFF)
	f.length = le.Uint32(b[8:])
	f.sum = le.Uint32(b[12:])
	f.tag = le.Uint64(b[16:])
	f.pos = le.Uint64(b[24:])
	f.feed = le.Uint64(b[32:])
	m := &f.marks
	m.Epoch = le.Uint64(b[marksAt:])
	m.Visible = le.Uint64(b[marksAt+8:])
	m.Stable = le.Uint64(b[marksAt+16:])
	m.Applied = le.Uint64(b[marksAt+24:])
	m.Durable = le.Uint64(b[marksAt+32:])
	m.Room = le.Uint64(b[marksAt+40:])
	m.Settled = le.Uint64(b[marksAt+48:])
	m.Flushed = le.Uint64(b[marksAt+56:])
	return true
}

// sumOf is the CRC-32C of a range that lies in two pieces.
func sumOf(a, b []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, a), castagnoli, b)
}
