package pmem

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"healkv/pmem/index"
	"healkv/pmem/seglog"
	"healkv/pmem/store"
)

// NewHeapPool makes an empty pool of Go memory, in the memory domain, without
// files and without a lock. The race detector sees what it does, which mapped
// memory hides; simulations have as many as they like. It cannot be opened
// again, and no peer can map it (Exposed names no file).
//
// Errors: ErrOptions; Dir, IndexDir and Domain are not looked at.
func NewHeapPool(o FormatOptions) (*Pool, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &Pool{
		stableEvery: superEveryStable, tailEvery: superEveryTail,
		region:    HeapRegion(int(o.SizeBytes)),
		indexFile: &indexFile{region: HeapRegion(index.Bytes(o.MaxKeys))},
		super: Super{
			Identity: o.Identity, SizeBytes: o.SizeBytes, SegmentBytes: int64(o.SegmentBytes),
			MaxKeys: o.MaxKeys, Domain: DomainMemory, Complete: true, Clean: true,
		},
	}
	_, _ = rand.Read(p.super.PoolID[:]) // never fails (crypto/rand)
	tag := binary.LittleEndian.Uint64(p.super.PoolID[:])
	p.log = seglog.Format(seglog.Config{Arena: p.region.Bytes()[dataOffset:], SegmentBytes: o.SegmentBytes, PoolTag: tag})
	p.log.SetFlushed(p.log.Tail())
	var err error
	if p.index, err = index.Create(p.indexFile.region.Bytes(), nil, p.indexTag()); err != nil {
		return nil, fmt.Errorf("pmem: %w", err)
	}
	p.store = store.New(p.log, p.index, p.super.HashSeed)
	p.ckpt.p, p.ckpt.never = p, true
	p.keep(0)
	p.recovered = Recovered{Tail: p.log.Tail(), Shown: p.log.Tail(), Complete: true, Clean: true, Why: "new, on the heap"}
	return p, nil
}
