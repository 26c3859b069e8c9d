package pmem

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PageSize is the size of the pages that really back the mapping, in bytes:
// 2 MiB where at least half of the touched part is mapped by huge pages. It is for
// start-up and status, not for a loop.
//
// It asks about no more than pageWindows places, a few microseconds each. A kernel
// that cannot be asked so (before 6.7) counts every page of the whole mapping:
// 5 ms per GiB, for each process, where its first status is asked for.
func (r *Region) PageSize() int {
	if r.mapped.length == 0 {
		return os.Getpagesize()
	}
	if p, err := scannedPages(&r.mapped); err == nil {
		return p
	}
	p, err := mappedPages(r.mapped.addr)
	if err != nil {
		return os.Getpagesize()
	}
	return p
}

const pageWindows = 64

// scannedPages looks at windows of the size of a huge page, spread over the mapping.
func scannedPages(m *mapping) (int, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var present, huge uint64
	windows := (m.length + hugeBytes - 1) / hugeBytes
	for i := range min(windows, pageWindows) {
		off := i * windows / min(windows, pageWindows) * hugeBytes
		p, h, err := scanPages(int(f.Fd()), m.addr+off, min(hugeBytes, m.length-off))
		if err != nil {
			return 0, err
		}
		present, huge = present+p, huge+h
	}
	switch {
	case present == 0:
		return 0, errUntouched
	case huge >= present/2 && huge > 0:
		return hugeBytes, nil
	}
	return os.Getpagesize(), nil
}

var errUntouched = errors.New("pmem: nothing of the mapping is mapped yet")

// mappedPages finds the mapping that starts at or covers addr in smaps.
func mappedPages(addr uintptr) (int, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var inside bool
	var kernelPage, rss, huge int
	in := bufio.NewScanner(f)
	for in.Scan() {
		line := in.Text()
		name, rest, ok := strings.Cut(line, ":")
		if span, _, isMap := strings.Cut(line, " "); isMap && strings.Contains(span, "-") {
			if inside {
				break
			}
			lo, hi, _ := strings.Cut(span, "-")
			l, err1 := strconv.ParseUint(lo, 16, 64)
			h, err2 := strconv.ParseUint(hi, 16, 64)
			inside = err1 == nil && err2 == nil && uint64(addr) >= l && uint64(addr) < h
			continue
		}
		if !inside || !ok {
			continue
		}
		kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		if err != nil {
			continue
		}
		switch name {
		case "KernelPageSize":
			kernelPage = kb << 10
		case "Rss":
			rss = kb << 10
		case "ShmemPmdMapped", "FilePmdMapped":
			huge += kb << 10
		}
	}
	if err := in.Err(); err != nil {
		return 0, err
	}
	if !inside {
		return 0, fmt.Errorf("pmem: no mapping at %#x", addr)
	}
	if huge > 0 && huge >= rss/2 {
		return hugeBytes, nil
	}
	return kernelPage, nil
}
