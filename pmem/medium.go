package pmem

import (
	"crypto/rand"
	"errors"
	"fmt"

	"healkv/pmem/ckpt"
	"healkv/pmem/index"
	"healkv/pmem/seglog"
)

// HeapMedium is a pool in Go memory that can be opened again and again: Pool
// and Index are what the pool's file and its index file are to Open. Tests and
// simulations decide what a crash leaves in them: a process crash leaves both
// as they stand; a power loss leaves of Pool what its medium held, and takes
// Index along, which a new BootID says.
type HeapMedium struct {
	Pool, Index []byte
	BootID      [16]byte
	PoolID      [16]byte // of FormatHeap; zero: random
	// Watch, if not nil, is given the region before anything is read or
	// written, to set its hooks. With hooks the code goes through its flushes.
	Watch func(*Region)
	// Later, if not nil, makes flushes run beside the worker, as in the file
	// domain: it is given the drain of every flush that StartFlush begins, and
	// calls it when it likes; a call that comes too late, or twice, does nothing.
	// Whoever must wait for the flush runs it at once.
	Later func(job func())
	// SuperEvery is how many bytes of log, or of stable position, bring the
	// superblock along with a flush; 0: as for files.
	SuperEvery uint64
	// Checkpoint, if not nil, is where checkpoints of the index go, after so many
	// bytes of log (as in OpenOptions).
	Checkpoint      ckpt.File
	CheckpointBytes int64
}

// DataOffset is where in a pool the log's arena begins. Between the superblocks
// at its start and there nothing is ever stored.
const DataOffset = dataOffset

// SuperBytes is the size of both superblock copies.
const SuperBytes = 2 * superBytes

// FormatHeap makes an empty pool in Go memory, as Format makes one of files.
// Unlike there SegmentBytes may be as small as seglog takes; the caller then
// appends no record that does not fit a segment.
//
// Errors: ErrOptions; Dir, IndexDir and Domain are not looked at.
func FormatHeap(o FormatOptions, m *HeapMedium) error {
	if s := int64(o.SegmentBytes); s == 0 || s >= segmentBytesMin {
		if err := o.complete(); err != nil {
			return err
		}
	} else if o.Shards == 0 || o.Shard >= o.Shards || o.MaxKeys == 0 || s&(s-1) != 0 || s < seglog.SegmentBytesMin ||
		o.SizeBytes < dataOffset+segmentsMin*s || (o.SizeBytes-dataOffset)%s != 0 {
		return fmt.Errorf("%w: heap medium of %d bytes, segments of %d, %d keys", ErrOptions, o.SizeBytes, s, o.MaxKeys)
	}
	m.Pool, m.Index = heapAligned(int(o.SizeBytes)), heapAligned(index.Bytes(o.MaxKeys))
	s := Super{
		Identity: o.Identity, SizeBytes: o.SizeBytes, SegmentBytes: int64(o.SegmentBytes),
		MaxKeys: o.MaxKeys, Domain: DomainMemory, BootID: m.BootID, Complete: true, Clean: true,
	}
	if s.PoolID = m.PoolID; s.PoolID == [16]byte{} {
		_, _ = rand.Read(s.PoolID[:]) // never fails (crypto/rand)
	}
	r := m.region()
	formatLog(r, &s)
	return formatSuper(r, &s)
}

func (m *HeapMedium) region() *Region {
	r := &Region{data: m.Pool, domain: DomainMemory}
	if m.Watch != nil {
		m.Watch(r)
	}
	return r
}

// Open is Open for a pool in Go memory: the same checks and the same recovery,
// without files and without a lock.
//
// Errors: ErrForeign, ErrLayout, ErrSuperblock, ErrDamaged, ErrFlush.
func (m *HeapMedium) Open(id Identity) (*Pool, error) {
	p, err := m.open(id)
	if errors.Is(err, ErrDecayed) { // the index it came upon is distrusted now
		p, err = m.open(id)
	}
	return p, err
}

func (m *HeapMedium) open(id Identity) (*Pool, error) {
	s, damaged, err := readSuper(m.Pool, &id)
	if err != nil {
		return nil, err
	}
	if err := s.Identity.match(id); err != nil {
		return nil, err
	}
	if s.SizeBytes != int64(len(m.Pool)) {
		return nil, fmt.Errorf("%w: pool of %d bytes in a medium of %d", ErrLayout, s.SizeBytes, len(m.Pool))
	}
	p := &Pool{bootID: m.BootID, super: s, region: m.region(), heapIndex: m.Index, stableEvery: superEveryStable, tailEvery: superEveryTail}
	if m.SuperEvery != 0 {
		p.stableEvery, p.tailEvery = m.SuperEvery, m.SuperEvery
	}
	p.later = m.Later
	p.found(&s, damaged)
	p.mediumCheckpoints(m.Checkpoint, m.CheckpointBytes)
	if err := Guard(p.recover); err != nil {
		return nil, err
	}
	return p, nil
}
