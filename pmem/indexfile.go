package pmem

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"healkv/pmem/index"
)

// indexFile is the tmpfs file an index lives in: sparse, mapped as a whole,
// backed step by step as the index grows.
type indexFile struct {
	region *Region
	backed atomic.Int64 // bytes below are allocated
	kept   bool         // it is of an earlier life
	onGrow func(bytes int64) error
}

// openIndexFile is the package's, or the index of a HeapMedium.
func (p *Pool) openIndexFile(fresh bool) (*indexFile, error) {
	if p.heapIndex != nil {
		return &indexFile{region: &Region{data: p.heapIndex, domain: DomainMemory}}, nil
	}
	f, err := openIndexFile(p.indexPath, p.super.MaxKeys, fresh)
	if err == nil {
		f.onGrow = p.onGrow
	}
	return f, err
}

// lastIndex is the index that the last life has left, opened once: its directory
// is gone through, which takes a while with many keys.
type lastIndex struct {
	opened bool
	file   *indexFile
	x      *index.Index
	err    error // os.ErrNotExist: there is none
}

func (p *Pool) lastIndex() (*index.Index, error) {
	l := &p.last
	if l.opened {
		return l.x, l.err
	}
	l.opened = true
	if l.file, l.err = p.openIndexFile(false); l.err != nil {
		return nil, l.err
	}
	l.x, l.err = index.Open(l.file.region.Bytes(), l.file.ensure, p.indexTag())
	return l.x, l.err
}

// close gives back what was not taken over.
func (l *lastIndex) close() {
	if l.file != nil {
		_ = l.file.region.Close()
	}
	*l = lastIndex{}
}

// openIndexFile maps the index file of a pool; fresh makes a new one, without
// it os.ErrNotExist or ErrSize mean that there is none to keep.
func openIndexFile(path string, maxKeys uint64, fresh bool) (*indexFile, error) {
	if fresh {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("pmem: old index: %w", err)
		}
	}
	size := int64(index.Bytes(maxKeys)+hugeBytes-1) &^ (hugeBytes - 1)
	r, err := MapRegion(path, size, DomainMemory, MapOptions{Create: fresh, Sparse: fresh})
	if err != nil {
		return nil, err
	}
	return &indexFile{region: r, kept: !fresh}, nil
}

// allocated is how many bytes a kept file has from its beginning, in whole huge
// pages: no life touches what lies beyond those it has asked for, and one that
// loads the pages of a checkpoint leaves an index behind only once it has them
// all. Asking the tmpfs again for what is there takes it 40 ms per GiB.
func (f *indexFile) allocated() int64 {
	if !f.kept {
		return 0
	}
	st, err := f.region.file.Stat()
	if err != nil {
		return 0
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return sys.Blocks * 512 &^ (hugeBytes - 1)
}

// ensure allocates the first n bytes, in steps of a huge page. Without it a
// full tmpfs would answer a store with SIGBUS. Goroutines of a rebuild may
// call it at the same time; what is allocated twice is harmless.
func (f *indexFile) ensure(n int) error {
	if f.region.file == nil {
		return nil // Go heap
	}
	have := f.backed.Load()
	want := min((int64(n)+hugeBytes-1)&^(hugeBytes-1), int64(len(f.region.data)))
	if want <= have {
		return nil
	}
	err := error(nil)
	if f.onGrow != nil {
		err = f.onGrow(want)
	}
	if from := max(have, f.allocated()); err == nil && from < want {
		err = fallocate(int(f.region.file.Fd()), from, want-from)
	}
	if err != nil {
		return spaceError(f.region.path, want, err)
	}
	for {
		if f.backed.CompareAndSwap(have, want) { // pairs with the Load above
			return nil
		}
		if have = f.backed.Load(); have >= want {
			return nil
		}
	}
}
