package pmem

import (
	"golang.org/x/sys/unix"
)

// every reads the first n bytes of every step of the region from `from` on, one
// after the other, through the file: a page that is touched in the mapping costs
// a fault, which maps all around it as well, and where it is not in memory the
// kernel reads as much around it as the device's setting says, which is
// megabytes on some, and waits. What is not in memory is asked for at once here.
// nil: there is no file, or it cannot be read so, or is in memory as a whole, where
// a tmpfs takes 9 µs for each piece; whoever reads the mapping then meets what is
// wrong.
func (r *Region) every(from, step, n int) []byte {
	if r.file == nil || r.domain == DomainMemory {
		return nil
	}
	fd := int(r.file.Fd())
	all := make([]byte, (len(r.data)-from)/step*n)
	part := func(i int) ([]byte, int64) { return all[i*n:][:n:n], int64(from + i*step) }
	var missing []int
	for i := range len(all) / n {
		b, off := part(i)
		if got, err := unix.Preadv2(fd, [][]byte{b}, off, unix.RWF_NOWAIT); err != nil || got != n {
			missing = append(missing, i)
			_ = unix.Fadvise(fd, off, int64(n), unix.FADV_WILLNEED)
		}
	}
	for _, i := range missing {
		b, off := part(i)
		if got, err := r.file.ReadAt(b, off); err != nil || got != n {
			return nil
		}
	}
	return all
}
