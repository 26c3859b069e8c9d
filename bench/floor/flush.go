package floor

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"healkv/pmem"
)

var flushFloors = []floor{
	{"write-back of a line", "ns", "one dirty cache line and the fence after it, as the dax domain flushes",
		func(_ context.Context, o *Options) (float64, error) { return writeBack(o, 1) }},
	{"write-back of a burst", "ns", "64 dirty lines in a row under one fence: nanoseconds per line",
		func(_ context.Context, o *Options) (float64, error) { return writeBack(o, 64) }},
	{"fdatasync of 4 KiB", "µs", "written over bytes that were there: no block is allocated",
		func(ctx context.Context, o *Options) (float64, error) { return sync(ctx, o, 4<<10) }},
	{"fdatasync of 64 KiB", "µs", "the same, a burst of 270 records",
		func(ctx context.Context, o *Options) (float64, error) { return sync(ctx, o, 64<<10) }},
}

func writeBack(o *Options, lines int) (float64, error) {
	r, err := mapped(o, "lines", 64<<20)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	const line = 64
	b, at := r.Bytes(), 0
	if !pmem.WriteBackLines(b[:line]) {
		return 0, fmt.Errorf("%w: the processor has no instruction that writes a line back", errMissing)
	}
	return perOperation(o, lines, func() {
		for i := range lines {
			b[at+i*line]++
		}
		pmem.WriteBackLines(b[at : at+lines*line])
		at = (at + lines*line) % (len(b) / 2)
	}), nil
}

func sync(ctx context.Context, o *Options, bytes int) (float64, error) {
	return Flush(ctx, o.Disk, bytes, o.Time)
}

// Flush is how long an fdatasync of so many bytes takes in the folder, written
// over bytes that were there, in the mean of a time, µs. It leaves no file.
func Flush(ctx context.Context, folder string, bytes int, patience time.Duration) (float64, error) {
	f, err := os.CreateTemp(folder, "healkv-floor-")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errMissing, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const size = 8 << 20
	if _, err := f.Write(make([]byte, size)); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	piece, at, count := make([]byte, bytes), int64(0), 0
	begun := time.Now()
	for time.Since(begun) < patience && ctx.Err() == nil {
		piece[0]++
		if _, err := f.WriteAt(piece, at); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		at = (at + int64(bytes)) % size
		count++
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return float64(time.Since(begun).Microseconds()) / float64(count), nil
}
