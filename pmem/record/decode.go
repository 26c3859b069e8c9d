package record

import (
	"encoding/binary"
	"errors"

	"healkv/dataplane/plant"
)

// What is wrong with bytes that are no image. Made in advance: they are
// returned on the apply path, once per rejected entry. Damage is decided by
// the caller, who knows the position and what was durable.
var (
	ErrShort  = errors.New("record: fewer bytes than the image needs; read again with the whole image")
	ErrHeader = errors.New("record: header checksum does not match its position and incarnation; take it as the end of the data or as damage")
	ErrLimit  = errors.New("record: key above 1024 bytes, value above 1 MiB, or lengths the kind does not have; written by another layout version")
	ErrKind   = errors.New("record: unknown kind; written by another layout version")
	ErrBody   = errors.New("record: key or value does not match its checksum; fetch the record from a peer")
)

// Decode reads the header's fields without any check.
//
// Precondition: len(src) >= HeaderBytes.
func Decode(src []byte, h *Header) {
	s := src[:HeaderBytes]
	h.BodyCRC = binary.LittleEndian.Uint32(s[offBodyCRC:])
	h.TS = binary.LittleEndian.Uint64(s[offTS:])
	h.Seq = binary.LittleEndian.Uint64(s[offSeq:])
	h.Durable = binary.LittleEndian.Uint64(s[offDurable:])
	h.OwnerIncarnation = binary.LittleEndian.Uint32(s[offOwnerIncarnation:])
	h.Epoch = binary.LittleEndian.Uint32(s[offEpoch:])
	h.ValueLen = binary.LittleEndian.Uint32(s[offValueLen:])
	h.KeyLen = binary.LittleEndian.Uint16(s[offKeyLen:])
	h.OwnerNode = s[offOwnerNode]
	h.Kind = Kind(s[offKind])
	h.Scope = binary.LittleEndian.Uint32(s[offScope:])
	h.Flags = binary.LittleEndian.Uint32(s[offFlags:])
	h.Hash = binary.LittleEndian.Uint64(s[offHash:])
}

// VerifyHeader decodes the header into h if it is one under this seed and the
// whole image lies within src: ErrShort, ErrHeader, ErrLimit or ErrKind
// otherwise. It does not look at the body.
//
// Where src may change under the call (a peer's ring), the caller copies the
// image first and verifies its copy (H27).
func VerifyHeader(src []byte, seed uint32, h *Header) error {
	if len(src) < HeaderBytes {
		return ErrShort
	}
	if headCRC(src, seed) != binary.LittleEndian.Uint32(src[offHeadCRC:]) && !plant.Is(plant.RecordHeaderCRC) {
		return ErrHeader
	}
	Decode(src, h)
	// Below here only a writer of another layout, or a checksum that matched
	// by chance, fails.
	if h.Kind < Put || h.Kind > kindMax {
		return ErrKind
	}
	if plant.Is(plant.RecordLimit) {
		return nil
	}
	if h.KeyLen > KeyBytesMax || h.ValueLen > ValueBytesMax || !h.shaped() {
		return ErrLimit
	}
	if len(src) < h.Bytes() {
		return ErrShort
	}
	return nil
}

// shaped says whether the lengths are ones the kind can have.
func (h *Header) shaped() bool {
	switch h.Kind {
	case Put:
		return h.KeyLen > 0
	case Delete:
		return h.KeyLen > 0 && h.ValueLen == 0
	}
	return true
}

// VerifyBody compares key and value with h's checksum: ErrBody if they differ,
// ErrShort if src is shorter than the image.
func VerifyBody(src []byte, h *Header) error {
	body := HeaderBytes + int(h.KeyLen) + int(h.ValueLen)
	if len(src) < h.Bytes() {
		return ErrShort
	}
	if bodySum(src[HeaderBytes:body]) != h.BodyCRC && !plant.Is(plant.RecordBodyCRC) {
		return ErrBody
	}
	return nil
}

// Sound says whether the header is one under this seed, without decoding it:
// then TS, hash, kind and lengths can be believed. It is what everybody asks
// who reads a record that may have lain on a medium for long.
func Sound(img []byte, seed uint32) bool {
	return len(img) >= HeaderBytes && (headCRC(img, seed) == binary.LittleEndian.Uint32(img[offHeadCRC:]) || plant.Is(plant.RecordHeaderCRC))
}

// SoundBody says whether key and value are those that the header was made for.
// Precondition: Sound.
func SoundBody(img []byte) bool {
	to := HeaderBytes + int(binary.LittleEndian.Uint16(img[offKeyLen:])) + int(binary.LittleEndian.Uint32(img[offValueLen:]))
	return to <= len(img) && (bodySum(img[HeaderBytes:to]) == binary.LittleEndian.Uint32(img[offBodyCRC:]) || plant.Is(plant.RecordBodyCRC))
}

// Blank says whether the header is all zero, which no image's is: the end of a
// segment's or a stream's used part.
//
// Precondition: len(src) >= HeaderBytes.
func Blank(src []byte) bool {
	s := src[:HeaderBytes]
	var or uint64
	for i := 0; i < HeaderBytes; i += 8 {
		or |= binary.LittleEndian.Uint64(s[i:])
	}
	return or == 0
}
