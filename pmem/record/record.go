// Package record is the byte image of one record: a 64-byte header, the key,
// the value, padded with zeroes to 16 bytes. The log of a shard and the stream
// of a coordinator carry the same image; only the checksum's seed differs, so
// a record moves from one to the other by copying its body.
//
// It is not a log: it knows neither segments nor where a record stands, and it
// decides nothing about timestamps. It does no I/O and allocates nothing.
//
// Sources: storage.md, "Log" and "Damage". Units: bytes.
//
// Invariants:
//
//	C1  An image verifies only under the seed it was encoded with, so bytes
//	    left over from another position or another life do not (H14).
//	C2  Decoding never panics and never looks beyond the bytes given.
//	C3  The body follows its own checksum, so it is copied without being
//	    summed again.
//
// Functions are pure and may be called from any goroutine.
package record

import (
	"encoding/binary"
	"hash/crc32"

	"healkv/dataplane/plant"
)

// Kind says what a record is.
type Kind uint8

const (
	Put     Kind = 1 // key and value
	Delete  Kind = 2 // tombstone: key, no value
	Marker  Kind = 3 // a view's marker (protocol.md, "Installing view e at n"): no key, any body
	Persist Kind = 4 // PERSIST of a scope; in streams only

	kindMax = Persist
)

// String names the kind for messages.
func (k Kind) String() string {
	switch k {
	case Put:
		return "put"
	case Delete:
		return "delete"
	case Marker:
		return "marker"
	case Persist:
		return "persist"
	}
	return "unknown"
}

const (
	HeaderBytes   = 64
	Align         = 16
	KeyBytesMax   = 1024
	ValueBytesMax = 1 << 20

	// BytesMax is the largest image: every log segment must hold at least one.
	BytesMax = (HeaderBytes + KeyBytesMax + ValueBytesMax + Align - 1) &^ (Align - 1)
)

// The header is a whole number of alignment units, so an image that starts
// aligned ends aligned.
const (
	_ = -uint(HeaderBytes % Align)
	_ = uint(1<<16 - 1 - KeyBytesMax)   // KeyLen is 16 bits
	_ = uint(1<<32 - 1 - ValueBytesMax) // ValueLen is 32 bits
)

const (
	// FlagRelocated marks a copy the cleaner made: same TS, owner and sequence
	// number as its source, and durable at every member that was there. A buddy
	// skips it when it sends a missed range.
	FlagRelocated uint32 = 1 << iota
	// FlagAdopted marks a record taken over from a buddy.
	FlagAdopted
	// FlagMissed, beside FlagRelocated: the copy was made of a record in a missed
	// range, and belongs to every missed range it lies in itself.
	FlagMissed
	// FlagBarrier, in streams, of a Persist entry: its writer has rolled forward
	// all it had to in the view that the entry is of.
	FlagBarrier
)

// Offsets in the header, little endian.
const (
	offHeadCRC          = 0
	offBodyCRC          = 4
	offTS               = 8
	offSeq              = 16
	offDurable          = 24
	offOwnerIncarnation = 32
	offEpoch            = 36
	offValueLen         = 40
	offKeyLen           = 44
	offOwnerNode        = 46
	offKind             = 47
	offScope            = 48
	offFlags            = 52
	offHash             = 56
)

// Header is the decoded header. Field meanings:
type Header struct {
	TS               uint64 // the write's timestamp (proto.TS); marker: 0
	Seq              uint64 // end position of the entry in its owner's stream; marker: stable position
	Durable          uint64 // log: the durable position when it was appended
	Hash             uint64 // keyed hash of the key
	OwnerIncarnation uint32 // with OwnerNode: whose entry set or last confirmed TS
	Epoch            uint32 // stream epoch; marker: the view's epoch
	ValueLen         uint32
	Scope            uint32
	Flags            uint32
	KeyLen           uint16
	OwnerNode        uint8
	Kind             Kind
	BodyCRC          uint32 // CRC-32C over key and value
}

// Bytes is the size of an image with these lengths, padding included.
func Bytes(keyLen, valueLen int) int {
	return (HeaderBytes + keyLen + valueLen + Align - 1) &^ (Align - 1)
}

// Bytes is the size of the image h describes, padding included.
func (h *Header) Bytes() int { return Bytes(int(h.KeyLen), int(h.ValueLen)) }

// Seed is the start value of the header's checksum at a position (log or
// stream) written by an incarnation. Within one incarnation two positions less
// than 64 GiB apart never share a seed, as every step is a bijection of 32
// bits; otherwise they do with a probability of 2^-32.
func Seed(position uint64, incarnation uint32) uint32 {
	if plant.Is(plant.H14Position) {
		position = 0
	}
	x := uint32(position>>4) + uint32(position>>36)*0x9e3779b1 + incarnation*0x85ebca77
	if plant.Is(plant.H14Life) {
		x -= incarnation * 0x85ebca77
	}
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	x ^= x >> 16
	return x
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode writes the image of (h, key, value) to dst and completes h with the
// lengths and the body's checksum. The body is written before the header, so
// an append cut off by a crash leaves no header that verifies over a body that
// is not there (on one processor; what a power loss leaves is the checksums'
// business).
//
// Preconditions: len(dst) >= Bytes(len(key), len(value)); lengths within the
// limits; a kind in h.
func Encode(dst []byte, h *Header, key, value []byte, seed uint32) {
	n := Bytes(len(key), len(value))
	assert(len(key) <= KeyBytesMax && len(value) <= ValueBytesMax, "key or value above its limit")
	assert(len(dst) >= n, "image longer than its place")
	dst = dst[:n]
	h.KeyLen, h.ValueLen = uint16(len(key)), uint32(len(value))
	// The last unit is zeroed first: padding costs two stores, no branches.
	binary.LittleEndian.PutUint64(dst[n-16:], 0)
	binary.LittleEndian.PutUint64(dst[n-8:], 0)
	h.BodyCRC = copySum(dst[HeaderBytes:], key, value)
	putHeader(dst, h, seed)
}

// EncodeCopy writes the image of h with the body of the image src, which may
// come from a peer: its body checksum travels along unchecked (C3), so the
// caller verifies the copy before an index refers to it.
//
// Preconditions: h.KeyLen, h.ValueLen and h.BodyCRC are src's; both slices
// hold h.Bytes().
func EncodeCopy(dst []byte, h *Header, src []byte, seed uint32) {
	n := h.Bytes()
	assert(len(dst) >= n && len(src) >= n, "image longer than its place or its source")
	dst = dst[:n]
	binary.LittleEndian.PutUint64(dst[n-16:], 0)
	binary.LittleEndian.PutUint64(dst[n-8:], 0)
	// Not the source's padding: its bytes are under no checksum.
	copyBody(dst[HeaderBytes:], src[HeaderBytes:HeaderBytes+int(h.KeyLen)+int(h.ValueLen)])
	putHeader(dst, h, seed)
}

// putHeader stores the header in whole words, as the checksum loads them: a load
// that needs parts of several stores waits until they are in the cache, and
// before them the body, whose place in a log is in none.
func putHeader(dst []byte, h *Header, seed uint32) {
	d := dst[:HeaderBytes]
	binary.LittleEndian.PutUint32(d[offBodyCRC:], h.BodyCRC)
	binary.LittleEndian.PutUint64(d[offTS:], h.TS)
	binary.LittleEndian.PutUint64(d[offSeq:], h.Seq)
	binary.LittleEndian.PutUint64(d[offDurable:], h.Durable)
	binary.LittleEndian.PutUint64(d[offOwnerIncarnation:], uint64(h.OwnerIncarnation)|uint64(h.Epoch)<<32)
	binary.LittleEndian.PutUint64(d[offValueLen:], uint64(h.ValueLen)|uint64(h.KeyLen)<<32|uint64(h.OwnerNode)<<48|uint64(h.Kind)<<56)
	binary.LittleEndian.PutUint64(d[offScope:], uint64(h.Scope)|uint64(h.Flags)<<32)
	binary.LittleEndian.PutUint64(d[offHash:], h.Hash)
	binary.LittleEndian.PutUint32(d[offHeadCRC:], headCRC(d, seed))
}

// The words that hold several fields.
const (
	_ = -uint(offEpoch - offOwnerIncarnation - 4)
	_ = -uint(offKeyLen - offValueLen - 4)
	_ = -uint(offOwnerNode - offValueLen - 6)
	_ = -uint(offKind - offValueLen - 7)
	_ = -uint(offFlags - offScope - 4)
)
