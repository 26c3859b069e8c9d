package pmem

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeBytes is the alignment of every mapping, so that the kernel can use
// huge pages for it wherever the file system has them.
const hugeBytes = 2 << 20

// mapping is an address range this package reserved.
type mapping struct {
	addr   uintptr
	length uintptr
}

// mapFile maps size bytes of f from its start, 2 MiB aligned. extra is
// MAP_SYNC or 0: with MAP_SYNC a file system that cannot do it fails the call
// (EOPNOTSUPP) and does not ignore it, thanks to MAP_SHARED_VALIDATE.
func mapFile(f *os.File, size int64, prot, extra int) (mapping, []byte, error) {
	length := uintptr(size)
	reserve := length + hugeBytes
	base, err := unix.MmapPtr(-1, 0, nil, reserve, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return mapping{}, nil, fmt.Errorf("pmem: reserving %d bytes of addresses: %w", reserve, err)
	}
	skip := -uintptr(base) & (hugeBytes - 1)
	at := unsafe.Add(base, skip)
	flags := unix.MAP_FIXED | unix.MAP_SHARED
	if extra != 0 {
		flags = unix.MAP_FIXED | unix.MAP_SHARED_VALIDATE | extra
	}
	got, err := unix.MmapPtr(int(f.Fd()), 0, at, length, prot, flags)
	if err != nil {
		_ = unix.MunmapPtr(base, reserve)
		return mapping{}, nil, err
	}
	// The slack on both sides goes back; the rest is what unmap releases.
	if skip > 0 {
		_ = unix.MunmapPtr(base, skip)
	}
	pageEnd := (length + uintptr(os.Getpagesize()) - 1) &^ (uintptr(os.Getpagesize()) - 1)
	if rest := reserve - skip - pageEnd; rest > 0 && rest < reserve {
		_ = unix.MunmapPtr(unsafe.Add(got, pageEnd), rest)
	}
	return mapping{addr: uintptr(got), length: pageEnd}, unsafe.Slice((*byte)(got), size), nil
}

func (m *mapping) unmap() error {
	if m.length == 0 {
		return nil
	}
	_, _, errno := unix.Syscall(unix.SYS_MUNMAP, m.addr, m.length, 0)
	*m = mapping{}
	if errno != 0 {
		return fmt.Errorf("pmem: munmap: %w", errno)
	}
	return nil
}

// advise passes a hint for the whole mapping; hints may be refused.
func (m *mapping) advise(advice int) error {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, m.addr, m.length, uintptr(advice))
	if errno != 0 {
		return errno
	}
	return nil
}

// ask has the kernel bring a few bytes into memory, and does not wait for them.
func (m *mapping) ask(off, n int) {
	page := uintptr(os.Getpagesize())
	from, to := uintptr(off)&^(page-1), uintptr(off+n)
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.addr+from, to-from, unix.MADV_WILLNEED)
}

// heapAligned is Go memory that starts on a cache line, as mapped memory does.
func heapAligned(size int) []byte {
	b := make([]byte, size+lineBytes)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (lineBytes - 1))
	return b[skip : skip+size : skip+size]
}
