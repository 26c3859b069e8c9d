package pmem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"healkv/dataplane/plant"
)

// Layout constants. They corrupt old data if changed, so they stand in every
// superblock and a pool with other values is refused (ErrLayout).
const (
	layoutVersion = 2
	superBytes    = 4096               // one copy; copies lie at 0 and superBytes
	dataOffset    = hugeBytes          // the log's arena starts on a huge page
	superMagic    = 0x4c4f4f504c414548 // "HEALPOOL"
)

// Of pmem/record; the relations are checked beside them.
const (
	layoutRecordHeader = 64
	layoutRecordAlign  = 16
)

const _ = uint(dataOffset - 2*superBytes)

var (
	// ErrSuperblock means that neither copy of the superblock is intact.
	ErrSuperblock = errors.New("pmem: both superblock copies are damaged; the pool cannot be trusted, format it anew and heal by full copy")
	// ErrLayout means that a pool was written with other layout constants.
	ErrLayout = errors.New("pmem: pool has another layout")
	// ErrForeign means that a pool belongs to another cluster, node or shard.
	ErrForeign = errors.New("pmem: pool belongs to somebody else")
)

// Identity says whose pool it is. Every field must match at Open.
type Identity struct {
	Cluster  [16]byte
	Node     uint8
	Shard    uint8
	Shards   uint8
	HashSeed uint64
}

// Super is what a superblock holds beside the layout constants.
type Super struct {
	Generation uint64 // grows with every write; the newer intact copy counts

	Identity
	PoolID       [16]byte // random, made at format
	SizeBytes    int64    // of the whole file
	SegmentBytes int64
	MaxKeys      uint64
	Domain       Domain

	BootID      [16]byte // of the boot in which the pool was last written to
	Incarnation uint32   // of the last Begin, 0 before the first
	ViewEpoch   uint32   // last view this shard installed
	LostThrough uint32   // highest view whose missed range was given up for space
	Stable      uint64   // log position; everything below is durable at every member (P2)
	Durable     uint64   // log position; everything below is flushed (P1)
	LastMarker  uint64   // log position of the newest marker, 0 = none
	Base        uint64   // positions below were discarded for a full copy
	Complete    bool     // false: a full copy was begun and not finished
	Clean       bool     // closed in order, everything flushed
	Doubtful    bool     // records may be lost without a trace; until the pool was compared
	FailedFlush bool     // a flush failed: nothing above Durable counts

	// Seen is how far other nodes were seen to have flushed this shard, by node:
	// if one comes back in the life after with less, its pool is an older copy
	// (H19). Zero: not known.
	Seen [nodesMax]Seen
}

// Seen is a position through which a life said that its log is flushed.
type Seen struct {
	Incarnation uint32
	Pos         uint64
}

// nodesMax is proto.NodesMax, which this package must not import; the code that
// fills Seen in does not compile if they differ.
const nodesMax = 16

const (
	seenAt    = 176 // in a copy
	seenBytes = 12
)

const _ = uint(superBytes - seenAt - nodesMax*seenBytes)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Copy layout, little endian: magic 0, CRC 8 (over the copy with these four
// bytes zero), version 12, layout constants 16.., then the fields in order.
func (s *Super) encode(dst []byte) {
	_ = dst[superBytes-1]
	clear(dst[:superBytes])
	le := binary.LittleEndian
	le.PutUint64(dst[0:], superMagic)
	le.PutUint32(dst[12:], layoutVersion)
	le.PutUint32(dst[16:], layoutRecordHeader)
	le.PutUint32(dst[20:], layoutRecordAlign)
	le.PutUint64(dst[24:], dataOffset)
	le.PutUint64(dst[32:], s.Generation)
	copy(dst[40:56], s.Cluster[:])
	dst[56], dst[57], dst[58], dst[59] = s.Node, s.Shard, s.Shards, uint8(s.Domain)
	dst[60] = flagByte(s.Complete, 0) | flagByte(s.Clean, 1) | flagByte(s.FailedFlush, 2) | flagByte(s.Doubtful, 3)
	le.PutUint64(dst[64:], s.HashSeed)
	copy(dst[72:88], s.PoolID[:])
	le.PutUint64(dst[88:], uint64(s.SizeBytes))
	le.PutUint64(dst[96:], uint64(s.SegmentBytes))
	le.PutUint64(dst[104:], s.MaxKeys)
	copy(dst[112:128], s.BootID[:])
	le.PutUint32(dst[128:], s.Incarnation)
	le.PutUint32(dst[132:], s.ViewEpoch)
	le.PutUint32(dst[136:], s.LostThrough)
	le.PutUint64(dst[144:], s.Stable)
	le.PutUint64(dst[152:], s.Durable)
	le.PutUint64(dst[160:], s.LastMarker)
	le.PutUint64(dst[168:], s.Base)
	for i, x := range s.Seen {
		le.PutUint32(dst[seenAt+i*seenBytes:], x.Incarnation)
		le.PutUint64(dst[seenAt+i*seenBytes+4:], x.Pos)
	}
	le.PutUint32(dst[8:], crc32.Update(0, castagnoli, dst[:superBytes]))
}

// decodeSuper reads one copy. Any bytes are fine: errDamagedCopy or ErrLayout,
// never a panic.
func decodeSuper(src []byte) (Super, error) {
	var s Super
	if len(src) < superBytes {
		return s, errDamagedCopy
	}
	le := binary.LittleEndian
	if le.Uint64(src[0:]) != superMagic || le.Uint32(src[8:]) != superCRC(src) && !plant.Is(plant.SuperCRC) {
		return s, errDamagedCopy
	}
	for _, c := range [...]struct {
		what      string
		got, want uint64
	}{
		{"layout version", uint64(le.Uint32(src[12:])), layoutVersion},
		{"record header bytes", uint64(le.Uint32(src[16:])), layoutRecordHeader},
		{"record alignment", uint64(le.Uint32(src[20:])), layoutRecordAlign},
		{"data offset", le.Uint64(src[24:]), dataOffset},
	} {
		if c.got != c.want {
			return s, fmt.Errorf("%w: %s is %d in the pool and %d in this program; use the program that made it, or format anew and heal", ErrLayout, c.what, c.got, c.want)
		}
	}
	s.Generation = le.Uint64(src[32:])
	copy(s.Cluster[:], src[40:56])
	s.Node, s.Shard, s.Shards, s.Domain = src[56], src[57], src[58], Domain(src[59])
	s.Complete, s.Clean, s.FailedFlush = src[60]&1 != 0, src[60]&2 != 0, src[60]&4 != 0
	s.Doubtful = src[60]&8 != 0
	s.HashSeed = le.Uint64(src[64:])
	copy(s.PoolID[:], src[72:88])
	s.SizeBytes = int64(le.Uint64(src[88:]))
	s.SegmentBytes = int64(le.Uint64(src[96:]))
	s.MaxKeys = le.Uint64(src[104:])
	copy(s.BootID[:], src[112:128])
	s.Incarnation = le.Uint32(src[128:])
	s.ViewEpoch = le.Uint32(src[132:])
	s.LostThrough = le.Uint32(src[136:])
	s.Stable = le.Uint64(src[144:])
	s.Durable = le.Uint64(src[152:])
	s.LastMarker = le.Uint64(src[160:])
	s.Base = le.Uint64(src[168:])
	for i := range s.Seen {
		s.Seen[i] = Seen{le.Uint32(src[seenAt+i*seenBytes:]), le.Uint64(src[seenAt+i*seenBytes+4:])}
	}
	return s, nil
}

var errDamagedCopy = errors.New("pmem: superblock copy damaged")

func superCRC(src []byte) uint32 {
	var zero [4]byte
	c := crc32.Update(0, castagnoli, src[:8])
	c = crc32.Update(c, castagnoli, zero[:])
	return crc32.Update(c, castagnoli, src[12:superBytes])
}

// readSuper picks the newer intact copy of area (both copies, from the file's
// start). damaged counts the copies that did not verify, that lie in the other
// one's place, or that another shard's superblock was written over (want).
//
// The copies are written in turns, so their generations differ by one. If they
// do not, a write of one was lost: what is in both is as new as the newer one
// says, since whatever must not come back older is written to both.
func readSuper(area []byte, want *Identity) (s Super, damaged int, err error) {
	var all [2]Super
	n := 0
	for i := range 2 {
		c, err := decodeSuper(area[i*superBytes : (i+1)*superBytes])
		switch {
		case errors.Is(err, ErrLayout):
			return c, damaged, err
		case err != nil, int(c.Generation&1) != i && !plant.Is(plant.SuperOver):
			damaged++
		default:
			all[n] = c
			n++
		}
	}
	a, b := &all[0], &all[1]
	switch {
	case n == 0:
		return s, damaged, ErrSuperblock
	case n == 1:
		return *a, damaged, nil
	case want != nil && a.Identity != b.Identity && b.match(*want) == nil:
		return *b, damaged + 1, nil
	case want != nil && a.Identity != b.Identity && a.match(*want) == nil:
		return *a, damaged + 1, nil
	}
	if a.Generation != b.Generation+1 && b.Generation != a.Generation+1 {
		damaged++
	}
	if (b.Generation > a.Generation) != plant.Is(plant.SuperOlder) {
		return *b, damaged, nil
	}
	return *a, damaged, nil
}

// writeSuper stores s in the older copy and starts its write-back; the caller
// drains before the next one (P3).
func writeSuper(r *Region, s *Super) {
	s.Generation++
	off := int(s.Generation&1) * superBytes
	if plant.Is(plant.SuperOver) {
		off = superBytes
	}
	s.encode(r.Bytes()[off : off+superBytes])
	r.Flush(off, superBytes)
}

// match compares a pool's identity with the one the config names.
func (id Identity) match(want Identity) error {
	for _, c := range [...]struct {
		what      string
		got, want string
	}{
		{"cluster", fmt.Sprintf("%x", id.Cluster), fmt.Sprintf("%x", want.Cluster)},
		{"node", fmt.Sprint(id.Node), fmt.Sprint(want.Node)},
		{"shard", fmt.Sprint(id.Shard), fmt.Sprint(want.Shard)},
		{"number of shards", fmt.Sprint(id.Shards), fmt.Sprint(want.Shards)},
		{"hash seed", fmt.Sprintf("%#x", id.HashSeed), fmt.Sprintf("%#x", want.HashSeed)},
	} {
		if c.got != c.want && !plant.Is(plant.SuperForeign) {
			return fmt.Errorf("%w: %s is %s in the pool and %s in the config; nothing was changed: name its own pool, or correct the config", ErrForeign, c.what, c.got, c.want)
		}
	}
	return nil
}

func flagByte(b bool, bit uint) byte {
	if b {
		return 1 << bit
	}
	return 0
}
