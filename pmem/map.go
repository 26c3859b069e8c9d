package pmem

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// MapOptions says how MapRegion treats the file. The zero value maps an
// existing file for reading and writing.
type MapOptions struct {
	Create   bool // make the file (it must not exist), with every page written
	Sparse   bool // with Create: leave holes, nothing is allocated
	ReadOnly bool // map for reading only; stores fault
	Populate bool // fill the page tables now; cheap with huge pages, about 60 ms per GiB with 4 KiB pages
}

// ErrSize means that a file is smaller than the region it should hold.
var ErrSize = errors.New("pmem: file too small")

// ErrNoSpace means that the file system has no room for the file.
var ErrNoSpace = errors.New("pmem: no space on the file system")

// MapRegion maps size bytes of a file (0: all of an existing one), aligned to
// 2 MiB. The domain is exact unless it is DomainAuto. Nothing is created
// unless opt.Create asks for it, and on any error what was created is removed.
//
// Errors: ErrDomain, ErrSize, ErrNoSpace, those of os.OpenFile and mmap.
func MapRegion(path string, size int64, d Domain, opt MapOptions) (*Region, error) {
	flag := os.O_RDWR
	if opt.ReadOnly {
		flag = os.O_RDONLY
	}
	if opt.Create {
		if size <= 0 || opt.ReadOnly {
			return nil, fmt.Errorf("%w: creating %s needs a size and write access", ErrSize, path)
		}
		flag |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pmem: %w", err)
	}
	r, err := mapOpen(f, path, size, d, opt)
	if err != nil {
		_ = f.Close()
		if opt.Create {
			_ = os.Remove(path)
		}
		return nil, err
	}
	return r, nil
}

func mapOpen(f *os.File, path string, size int64, d Domain, opt MapOptions) (*Region, error) {
	if opt.Create {
		if err := allocate(f, path, size, opt.Sparse); err != nil {
			return nil, err
		}
	}
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("pmem: %w", err)
	}
	if size == 0 {
		size = st.Size()
	}
	if st.Size() < size || size == 0 {
		return nil, fmt.Errorf("%w: %s has %d bytes, the region needs %d", ErrSize, path, st.Size(), size)
	}
	prot := unix.PROT_READ | unix.PROT_WRITE
	if opt.ReadOnly {
		prot = unix.PROT_READ
	}
	r := &Region{file: f, path: path}
	if r.domain, err = chooseDomain(f, path, d); err != nil {
		return nil, err
	}
	extra := 0
	if r.domain == DomainDAX {
		extra = unix.MAP_SYNC
	}
	if r.mapped, r.data, err = mapFile(f, size, prot, extra); err != nil {
		return nil, fmt.Errorf("pmem: mapping %s (%d bytes, domain %s): %w", path, size, r.domain, err)
	}
	if r.domain == DomainMemory {
		_ = r.mapped.advise(unix.MADV_HUGEPAGE) // for tmpfs mounted with huge=advise; others refuse, harmless
	}
	if opt.Populate {
		advice := unix.MADV_POPULATE_WRITE
		if opt.ReadOnly {
			advice = unix.MADV_POPULATE_READ
		}
		_ = r.mapped.advise(advice) // before Linux 5.14 unknown: pages then fault in one by one
	}
	return r, nil
}

// chooseDomain compares what was asked for with what the place gives.
func chooseDomain(f *os.File, path string, want Domain) (Domain, error) {
	inMemory, err := onTmpfs(f)
	if err != nil {
		return 0, err
	}
	switch want {
	case DomainMemory:
		if !inMemory {
			return 0, fmt.Errorf("%w: memory asked for, but %s is not on tmpfs or hugetlbfs; move it or ask for file", ErrDomain, path)
		}
		return want, nil
	case DomainFile:
		if inMemory {
			return 0, fmt.Errorf("%w: file asked for, but %s is on tmpfs, which no power loss survives; move it or ask for memory", ErrDomain, path)
		}
		return want, nil
	case DomainDAX:
		if err := probeDAX(f); err != nil {
			return 0, fmt.Errorf("%w: dax asked for, but %s: %w; mount with -o dax on persistent memory or ask for file", ErrDomain, path, err)
		}
		return want, nil
	case DomainAuto:
		if probeDAX(f) == nil {
			return DomainDAX, nil
		}
		if inMemory {
			return DomainMemory, nil
		}
		return DomainFile, nil
	}
	return 0, fmt.Errorf("%w: %s", ErrDomain, want)
}

// probeDAX maps one page with MAP_SYNC, which only a DAX file system grants.
func probeDAX(f *os.File) error {
	if FlushInstruction() == "" {
		return errors.New("this processor has no cache-line flush that pmem knows")
	}
	m, _, err := mapFile(f, int64(os.Getpagesize()), unix.PROT_READ, unix.MAP_SYNC)
	if err != nil {
		return fmt.Errorf("MAP_SYNC refused: %w", err)
	}
	return m.unmap()
}

func onTmpfs(f *os.File) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false, fmt.Errorf("pmem: statfs %s: %w", f.Name(), err)
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.HUGETLBFS_MAGIC, nil
}

// allocate gives f its size. Not sparse: every byte is written, so that later
// stores neither fail for want of space nor change the file's metadata, which
// fdatasync would have to write along.
func allocate(f *os.File, path string, size int64, sparse bool) error {
	if sparse {
		if err := f.Truncate(size); err != nil {
			return fmt.Errorf("pmem: sizing %s: %w", path, err)
		}
		return nil
	}
	// Look before asking: a failing fallocate takes all there is first, which
	// neighbours on the disk would feel.
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("pmem: statfs %s: %w", path, err)
	}
	if free := int64(st.Bavail) * st.Bsize; st.Blocks > 0 && free < size { // a tmpfs without a limit has no blocks
		return fmt.Errorf("%w: %s needs %d bytes, %d are free; free some or choose a smaller pool", ErrNoSpace, path, size, free)
	}
	err := fallocate(int(f.Fd()), 0, size)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return spaceError(path, size, err)
	}
	memory, err := onTmpfs(f)
	if err != nil {
		return err
	}
	if memory {
		return nil // fallocate has made and zeroed the pages; there are no extents to convert
	}
	// In pages, not in large pieces: the page cache keeps what one call wrote in
	// one folio, and a store to a folio makes all of it dirty. Written in 4 MiB
	// pieces, a flush of one record took a MiB to the disk (ADR 0022).
	piece := int64(pageBytes)
	if plant.Is(plant.FlushFolios) {
		piece = 4 << 20
	}
	zeros := make([]byte, piece)
	for off := int64(0); off < size; {
		n, err := f.WriteAt(zeros[:min(piece, size-off)], off)
		if err != nil {
			return spaceError(path, size, err)
		}
		off += int64(n)
	}
	if err := f.Sync(); err != nil {
		return spaceError(path, size, err)
	}
	return nil
}

func spaceError(path string, size int64, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %s needs %d bytes (%w); free some or choose a smaller pool", ErrNoSpace, path, size, err)
	}
	return fmt.Errorf("pmem: writing %d bytes of %s: %w", size, path, err)
}

func fallocate(fd int, off, n int64) error {
	for {
		err := unix.Fallocate(fd, 0, off, n)
		if err != unix.EINTR {
			return err
		}
	}
}
