package record

import "encoding/binary"

// Direct accessors of an image that was verified, or that the caller's own
// index refers to. Precondition of all: img holds at least the header, and for
// Key, Value and Body the whole image.

// Key is the key, a view into img.
func Key(img []byte) []byte {
	n := HeaderBytes + int(binary.LittleEndian.Uint16(img[offKeyLen:]))
	return img[HeaderBytes:n:n]
}

// Value is the value, a view into img.
func Value(img []byte) []byte {
	from := HeaderBytes + int(binary.LittleEndian.Uint16(img[offKeyLen:]))
	to := from + int(binary.LittleEndian.Uint32(img[offValueLen:]))
	return img[from:to:to]
}

// Body is key and value, what the body's checksum covers.
func Body(img []byte) []byte {
	to := HeaderBytes + int(binary.LittleEndian.Uint16(img[offKeyLen:])) + int(binary.LittleEndian.Uint32(img[offValueLen:]))
	return img[HeaderBytes:to:to]
}

// ImageBytes is the size of the image, padding included.
func ImageBytes(img []byte) int {
	return Bytes(int(binary.LittleEndian.Uint16(img[offKeyLen:])), int(binary.LittleEndian.Uint32(img[offValueLen:])))
}

func TS(img []byte) uint64      { return binary.LittleEndian.Uint64(img[offTS:]) }
func Seq(img []byte) uint64     { return binary.LittleEndian.Uint64(img[offSeq:]) }
func Durable(img []byte) uint64 { return binary.LittleEndian.Uint64(img[offDurable:]) }
func BodyCRC(img []byte) uint32 { return binary.LittleEndian.Uint32(img[offBodyCRC:]) }
func Hash(img []byte) uint64    { return binary.LittleEndian.Uint64(img[offHash:]) }
func OwnerIncarnation(img []byte) uint32 {
	return binary.LittleEndian.Uint32(img[offOwnerIncarnation:])
}
func Epoch(img []byte) uint32    { return binary.LittleEndian.Uint32(img[offEpoch:]) }
func Flags(img []byte) uint32    { return binary.LittleEndian.Uint32(img[offFlags:]) }
func Scope(img []byte) uint32    { return binary.LittleEndian.Uint32(img[offScope:]) }
func OwnerNode(img []byte) uint8 { return img[offOwnerNode] }
func KindOf(img []byte) Kind     { return Kind(img[offKind]) }
func KeyLen(img []byte) int      { return int(binary.LittleEndian.Uint16(img[offKeyLen:])) }
func ValueLen(img []byte) int    { return int(binary.LittleEndian.Uint32(img[offValueLen:])) }
