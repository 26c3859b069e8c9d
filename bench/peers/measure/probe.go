package measure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Probe is what the disk did just before a part: shared disks have an allowance
// of fast operations that ends.
type Probe struct {
	Rate float64 `json:"fdatasync_per_s"`
	P50  int64   `json:"p50_us"`
	P99  int64   `json:"p99_us"`
}

const (
	probeBlock = 4 << 10
	probeFile  = 16 << 20
)

// Disk writes 4 KiB blocks into a file that was written before, one flush each,
// for a while.
func Disk(ctx context.Context, dir string, long time.Duration) (p Probe, err error) {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return p, err
	}
	defer func() {
		f.Close()
		if e := os.Remove(f.Name()); err == nil {
			err = e
		}
	}()
	// Written, not only reserved: a first write to a reserved block changes the
	// file system's journal too.
	if _, err := f.Write(make([]byte, probeFile)); err != nil {
		return p, fmt.Errorf("disk probe in %s: %w", filepath.Dir(f.Name()), err)
	}
	if err := f.Sync(); err != nil {
		return p, err
	}
	block := make([]byte, probeBlock)
	hist := hdrhistogram.New(histLow, histHigh, histDigits)
	begin := time.Now()
	var n int64
	for time.Since(begin) < long {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		block[0] = byte(n)
		t0 := time.Now()
		if _, err := f.WriteAt(block, n*probeBlock%probeFile); err != nil {
			return p, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return p, fmt.Errorf("disk probe: fdatasync: %w", err)
		}
		_ = hist.RecordValue(min(max(time.Since(t0).Microseconds(), histLow), histHigh)) // within its bounds
		n++
	}
	return Probe{Rate: float64(n) / time.Since(begin).Seconds(), P50: hist.ValueAtQuantile(50), P99: hist.ValueAtQuantile(99)}, nil
}
