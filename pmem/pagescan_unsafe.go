package pmem

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PAGEMAP_SCAN of ioctl(2) on /proc/self/pagemap, since Linux 6.7: see
// Documentation/admin-guide/mm/pagemap.rst.
const (
	pagemapScan   = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)
	pageIsPresent = 1 << 3
	pageIsHuge    = 1 << 6
)

type pmScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyof, returned                         uint64
}

const _ = -uint(unsafe.Sizeof(pmScanArg{}) - 96)

type pageRegion struct{ start, end, categories uint64 }

// scanPages says how many bytes from addr on are mapped, and how many of them by
// huge pages; fd is of /proc/self/pagemap. It sees so many stretches of one kind at
// most: what a few megabytes can have.
func scanPages(fd int, addr, length uintptr) (present, huge uint64, err error) {
	regions := new([32]pageRegion)
	var pin runtime.Pinner // a stack moves
	pin.Pin(regions)
	defer pin.Unpin()
	arg := pmScanArg{size: 96, start: uint64(addr), end: uint64(addr + length),
		vec: uint64(uintptr(unsafe.Pointer(regions))), vecLen: uint64(len(regions)), mask: pageIsPresent, returned: pageIsPresent | pageIsHuge}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return 0, 0, errno
	}
	for _, r := range regions[:n] {
		present += r.end - r.start
		if r.categories&pageIsHuge != 0 {
			huge += r.end - r.start
		}
	}
	return present, huge, nil
}
