package crashtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"healkv/pmem"
	"healkv/pmem/record"
)

const (
	keys     = 12
	valueMax = 1000
)

var keyNames [keys][]byte

func init() {
	for i := range keyNames {
		keyNames[i] = fmt.Appendf(nil, "k%02d", i)
	}
}

// fill writes the value of a key at a timestamp: no other has it.
func fill(dst []byte, key int, ts uint64) []byte {
	x := uint64(key+1)<<40 ^ ts
	for i := range dst {
		if i%8 == 0 {
			x = scramble(x + 1)
		}
		dst[i] = byte(x >> (i % 8 * 8))
	}
	return dst
}

// version is a record as it was appended.
type version struct {
	pos, ts   uint64
	bytes     int // of the value
	del       bool
	relocated bool
}

// gone says whether a crash that left the log to tail took the record along.
func (m *model) gone(pos, tail uint64) bool { return pos >= tail || m.inHole(pos) }

// claims is what a superblock says. Read from the bytes by the model's own
// knowledge of the layout.
type claims struct {
	gen                       uint64
	stable, durable, base     uint64
	marker                    uint64
	inc, view, lost           uint32
	complete, clean, failedOn bool
}

func (c claims) String() string { type plain claims; return fmt.Sprintf("%+v", plain(c)) }

func claimsOf(s pmem.Super) claims {
	return claims{s.Generation, s.Stable, s.Durable, s.Base, s.LastMarker, s.Incarnation, s.ViewEpoch, s.LostThrough, s.Complete, s.Clean, s.FailedFlush}
}

// model is what a pool was told and what it promised.
type model struct {
	log     [keys][]version // by position
	markers []uint64
	ends    []uint64 // positions where a record ends or a segment begins: where a log may end
	scanned uint64   // the log is known through here
	supers  []claims // every one that was written

	holes [][2]uint64 // positions that the last check found to be missing, see findHoles

	// Promises: what every state from now on must hold.
	flushed uint64 // the log through here
	gen     uint64 // the superblock of this generation, or a newer one
	both    claims // what no damage to one copy may bring an older state of
	said    uint64 // the highest stable position ever set

	dropped [keys]uint64 // newest tombstone of the key that the cleaner dropped
}

func (m *model) clone(from *model) {
	m.holes = m.holes[:0]
	for i := range m.log {
		m.log[i] = append(m.log[i][:0], from.log[i]...)
	}
	m.markers = append(m.markers[:0], from.markers...)
	m.ends = append(m.ends[:0], from.ends...)
	m.supers = append(m.supers[:0], from.supers...)
	m.scanned, m.flushed, m.gen, m.both, m.said, m.dropped = from.scanned, from.flushed, from.gen, from.both, from.said, from.dropped
}

// cut forgets what a crash has lost: records from tail on.
func (m *model) cut(tail uint64) {
	for i := range m.log {
		m.log[i] = slices.DeleteFunc(m.log[i], func(v version) bool { return m.gone(v.pos, tail) })
	}
	m.markers = slices.DeleteFunc(m.markers, func(p uint64) bool { return m.gone(p, tail) })
	m.ends = slices.DeleteFunc(m.ends, func(p uint64) bool { return p > tail })
	// Superblocks that the crash kept from being whole stay in the list. Of
	// such a one all words but the generation may have arrived; when the next
	// life stores that first, the copy is whole once more until its other words
	// follow. Nothing was made durable in between, so it is as if the last life
	// had finished it.
	m.scanned = tail
}

// look takes in what was appended and which superblocks were written since.
func (m *model) look(p *pmem.Pool) error {
	if p != nil {
		log := p.Store().Log()
		err := log.Scan(m.scanned, log.Tail(), func(pos uint64, h *record.Header, img []byte) bool {
			m.add(pos, h, img)
			return true
		})
		if err != nil {
			return fmt.Errorf("the memory's own log: %w", err)
		}
		m.scanned = log.Tail()
		m.ends = append(m.ends, m.scanned)
	}
	return nil
}

func (m *model) add(pos uint64, h *record.Header, img []byte) {
	m.ends = append(m.ends, pos+uint64(h.Bytes()), pos)
	if h.Kind == record.Marker {
		m.markers = append(m.markers, pos)
		return
	}
	k := slices.IndexFunc(keyNames[:], func(name []byte) bool { return string(name) == string(record.Key(img)) })
	m.log[k] = append(m.log[k], version{pos, h.TS, int(h.ValueLen), h.Kind == record.Delete, h.Flags&record.FlagRelocated != 0})
}

// lookSuper notes the superblock copies in a pool's memory.
func (m *model) lookSuper(mem []byte) {
	for i := range 2 {
		b := mem[i*pmem.SuperBytes/2:]
		le := binary.LittleEndian
		c := claims{gen: le.Uint64(b[32:]), inc: le.Uint32(b[128:]), view: le.Uint32(b[132:]), lost: le.Uint32(b[136:]),
			stable: le.Uint64(b[144:]), durable: le.Uint64(b[152:]), marker: le.Uint64(b[160:]), base: le.Uint64(b[168:]),
			complete: b[60]&1 != 0, clean: b[60]&2 != 0, failedOn: b[60]&4 != 0}
		if le.Uint32(b[8:]) != superSum(b[:pmem.SuperBytes/2]) {
			continue // torn by a crash
		}
		if !slices.Contains(m.supers[max(0, len(m.supers)-8):], c) {
			m.supers = append(m.supers, c)
		}
	}
}

// superSum is the checksum of a superblock copy, its own four bytes taken as
// zero.
func superSum(b []byte) uint32 {
	crc := crc32.Update(0, castagnoli, b[:8])
	crc = crc32.Update(crc, castagnoli, make([]byte, 4))
	return crc32.Update(crc, castagnoli, b[12:])
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// current is the newest record of a key in a log that holds [base, tail).
func (m *model) current(key int, base, tail uint64) (best version, ok bool) {
	for _, v := range m.log[key] {
		if v.pos >= base && !m.gone(v.pos, tail) && (!ok || v.ts >= best.ts) {
			best, ok = v, true
		}
	}
	return best, ok
}
