package heal

import (
	"encoding/binary"
	"fmt"

	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// Kinds of requests of a recovery by digests (ADR 0027). heal.end ends it, as it
// ends one by range.
const (
	kindDigest  = "heal.digest"  // your sums over all ranges of keys; keep everything readable from here on
	kindParts   = "heal.parts"   // finer sums over parts of these ranges
	kindEntries = "heal.entries" // your current records in these parts
)

type digestRequest struct {
	To    proto.Member
	From  proto.Member
	Epoch proto.Epoch
	Shard int
}

type digestReply struct {
	ID         uint64
	NotYet     bool   // the sums are not complete: ask again
	Sums       []byte // of store.DigestRanges ranges
	Bits       int    // a range is looked at in 1<<Bits parts, each of a few keys
	StoreBytes uint64
}

type partsRequest struct {
	To     proto.Member
	ID     uint64
	Bits   int
	Ranges []uint32
}

type partsReply struct{ Sums []byte } // 8 bytes a part, in the order asked for

type entriesRequest struct {
	To    proto.Member
	ID    uint64
	Bits  int
	Parts []uint32 // range<<Bits | part, ascending
}

type entriesReply struct{ Data []byte }

const (
	digestBitsMax = 12       // parts of a range
	partSumsMax   = 8 << 10  // in one reply
	entryPartsMax = 256      // parts in one request for entries
	keysAPart     = 8        // about so many keys are in a part
	sumBytes      = 16       // of a range's sum
	partSumBytes  = 8        // of a part's
	rangeShift    = 64 - 12  // a hash above it is its range
	entryBytesMin = 20 + 4*1 // of an encoded entry
)

const _ = uint(store.DigestRanges - 1<<(64-rangeShift))
const _ = uint(1<<(64-rangeShift) - store.DigestRanges)

// partBits chooses into how many parts ranges are cut, by how many keys there are.
func partBits(keys uint64) (bits int) {
	for a := keys / store.DigestRanges / keysAPart; a > 0 && bits < digestBitsMax; a >>= 1 {
		bits++
	}
	return bits
}

// span is the hashes of a part.
func span(part uint32, bits int) (first, last uint64) {
	first = uint64(part) << (rangeShift - bits)
	return first, first | (1<<(rangeShift-bits) - 1)
}

func encodeSums(sums []store.Sum) []byte {
	b := make([]byte, 0, sumBytes*len(sums))
	for i := range sums {
		b = binary.LittleEndian.AppendUint64(b, sums[i].Values)
		b = binary.LittleEndian.AppendUint64(b, sums[i].Tombstones)
	}
	return b
}

// decodeSums is the inverse; the bytes come from a peer.
func decodeSums(b []byte, dst []store.Sum) error {
	if len(b) != sumBytes*len(dst) {
		return fmt.Errorf("%w: %d bytes of sums", errPage, len(b))
	}
	for i := range dst {
		dst[i].Values = binary.LittleEndian.Uint64(b[sumBytes*i:])
		dst[i].Tombstones = binary.LittleEndian.Uint64(b[sumBytes*i+8:])
	}
	return nil
}

// fold makes one word of a part's sum.
func fold(s store.Sum) uint64 { return s.Values + s.Tombstones*0x9e37_79b9_7f4a_7c15 }

const (
	entryLocked    = 1
	entryTombstone = 2
)

// appendEntry encodes a record of the buddy's.
func appendEntry(dst []byte, x *store.Listed) []byte {
	flags := uint64(0)
	if x.Locked {
		flags |= entryLocked
	}
	if x.Tombstone {
		flags |= entryTombstone
	}
	dst = binary.LittleEndian.AppendUint64(dst, x.Hash)
	dst = binary.LittleEndian.AppendUint64(dst, x.TS)
	dst = binary.LittleEndian.AppendUint32(dst, x.BodyCRC)
	dst = binary.AppendUvarint(dst, x.Pos)
	dst = binary.AppendUvarint(dst, uint64(x.Off))
	dst = binary.AppendUvarint(dst, uint64(x.Bytes)<<2|flags)
	return binary.AppendUvarint(dst, uint64(x.Incarnation))
}

// decodeEntry is the inverse; it comes from a peer.
func decodeEntry(b []byte) (x store.Listed, rest []byte, err error) {
	if len(b) < entryBytesMin {
		return x, nil, errPage
	}
	x.Hash, x.TS, x.BodyCRC = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:])
	b = b[20:]
	var v [4]uint64
	for i := range v {
		u, n := binary.Uvarint(b)
		if n <= 0 {
			return x, nil, errPage
		}
		v[i], b = u, b[n:]
	}
	x.Pos, x.Off, x.Bytes, x.Incarnation = v[0], int64(v[1]), int(v[2]>>2), uint32(v[3])
	x.Locked, x.Tombstone = v[2]&entryLocked != 0, v[2]&entryTombstone != 0
	if x.Off < 0 || x.Bytes <= 0 || v[2] > 1<<32 || v[3] > 1<<32-1 {
		return x, nil, fmt.Errorf("%w: offset %d, bytes %d", errPage, x.Off, x.Bytes)
	}
	return x, b, nil
}
