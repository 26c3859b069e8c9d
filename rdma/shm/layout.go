package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"healkv/rdma"
)

const (
	nodesMax  = rdma.NodesMax // lines in a header page, whatever is configured
	shardsMax = rdma.ShardsMax

	pageBytes = 4096
	lineBytes = 64
	bellAt    = 128 // of the doorbell line in its file

	ringBytesMin     = 4096
	ringBytesMax     = 1 << 30
	ringBytesDefault = 4 << 20

	layoutMagic   = 0x68656c6d72647368 // "hsdrmleh"
	layoutVersion = 1
)

const (
	kindRing = 1
	kindBell = 2
)

// ErrFile is a file in the run directory that is not what its name says: of
// another layout, owner, mode or size, or damaged.
var ErrFile = errors.New("shm: bad file in the run directory")

// identity is what a file says about itself in its first line. It is written
// before the file gets its name and never changes.
type identity struct {
	kind        uint32
	node        uint32
	incarnation uint32
	shard       uint32
	dataBytes   uint64 // of the ring; 0 for a bell
}

func (id *identity) encode(line []byte) {
	binary.LittleEndian.PutUint64(line[0:], layoutMagic)
	binary.LittleEndian.PutUint32(line[8:], layoutVersion)
	binary.LittleEndian.PutUint32(line[12:], id.kind)
	binary.LittleEndian.PutUint32(line[16:], id.node)
	binary.LittleEndian.PutUint32(line[20:], id.incarnation)
	binary.LittleEndian.PutUint32(line[24:], id.shard)
	binary.LittleEndian.PutUint64(line[32:], id.dataBytes)
}

// fileBytes is the exact size of such a file.
func (id *identity) fileBytes() int64 { return pageBytes + int64(id.dataBytes) }

// decodeIdentity checks a first line against the file's size; everything a
// mapping relies on is checked here.
func decodeIdentity(line []byte, fileBytes int64) (identity, error) {
	if len(line) < lineBytes {
		return identity{}, fmt.Errorf("%w: %d bytes, shorter than its first line", ErrFile, len(line))
	}
	id := identity{
		kind:        binary.LittleEndian.Uint32(line[12:]),
		node:        binary.LittleEndian.Uint32(line[16:]),
		incarnation: binary.LittleEndian.Uint32(line[20:]),
		shard:       binary.LittleEndian.Uint32(line[24:]),
		dataBytes:   binary.LittleEndian.Uint64(line[32:]),
	}
	if m := binary.LittleEndian.Uint64(line); m != layoutMagic {
		return id, fmt.Errorf("%w: magic %#x, want %#x", ErrFile, m, uint64(layoutMagic))
	}
	if v := binary.LittleEndian.Uint32(line[8:]); v != layoutVersion {
		return id, fmt.Errorf("%w: layout %d, this program speaks %d; run one version in a group", ErrFile, v, layoutVersion)
	}
	switch {
	case id.node >= nodesMax || id.shard >= shardsMax || id.incarnation == 0:
		return id, fmt.Errorf("%w: node %d, incarnation %d, shard %d out of range", ErrFile, id.node, id.incarnation, id.shard)
	case id.kind == kindRing:
		if err := checkRingBytes(id.dataBytes); err != nil {
			return id, fmt.Errorf("%w: %w", ErrFile, err)
		}
	case id.kind != kindBell || id.dataBytes != 0:
		return id, fmt.Errorf("%w: kind %d with %d bytes of data", ErrFile, id.kind, id.dataBytes)
	}
	if want := id.fileBytes(); fileBytes != want {
		return id, fmt.Errorf("%w: %d bytes long, want %d", ErrFile, fileBytes, want)
	}
	return id, nil
}

func checkRingBytes(n uint64) error {
	if n < ringBytesMin || n > ringBytesMax || n&(n-1) != 0 {
		return fmt.Errorf("ring of %d bytes: want a power of two from %d to %d", n, ringBytesMin, ringBytesMax)
	}
	return nil
}

const (
	extRing = ".ring"
	extBell = ".bell"
	extPool = ".pool"
	extLive = ".live"

	tmpPrefix = "tmp." // of files that are not complete yet
)

func shardName(node int, incarnation uint32, shard int, ext string) string {
	return fmt.Sprintf("n%d-%d-s%d%s", node, incarnation, shard, ext)
}

func liveName(node int, incarnation uint32) string {
	return fmt.Sprintf("n%d-%d%s", node, incarnation, extLive)
}

// parseName tells whose file a name belongs to; ok is false for names that
// are not ours.
func parseName(name string) (node int, incarnation uint32, ext string, ok bool) {
	name = strings.TrimPrefix(name, tmpPrefix)
	dot := strings.IndexByte(name, '.')
	if dot < 0 || !strings.HasPrefix(name, "n") {
		return 0, 0, "", false
	}
	ext = name[dot:]
	parts := strings.Split(name[1:dot], "-")
	want := 3
	switch ext {
	case extRing, extBell, extPool:
		if len(parts) == 3 {
			s, err := strconv.ParseUint(strings.TrimPrefix(parts[2], "s"), 10, 32)
			if err != nil || s >= shardsMax || parts[2][:1] != "s" {
				return 0, 0, "", false
			}
		}
	case extLive:
		want = 2
	default:
		return 0, 0, "", false
	}
	if len(parts) != want {
		return 0, 0, "", false
	}
	n, errN := strconv.ParseUint(parts[0], 10, 32)
	inc, errI := strconv.ParseUint(parts[1], 10, 32)
	if errN != nil || errI != nil || n >= nodesMax || inc == 0 {
		return 0, 0, "", false
	}
	return int(n), uint32(inc), ext, true
}
