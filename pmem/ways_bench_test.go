package pmem

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How a burst of appends becomes durable on an ordinary disk: the figures that
// ADR 0022 decides by. Every way appends the same bursts to a file of its own,
// and in every round each has its turn, so that a shared disk and shared
// processors are the same for all; the ratio to the plain loop (pwrite and
// fdatasync of an overwritten file) is what counts.
//
// Run: go test ./pmem -run - -bench FlushWays -benchtime 300x, on the disk that
// is asked for with FLUSH_DIR.
func BenchmarkFlushWays(b *testing.B) {
	for _, burst := range []int{4 << 10, 40 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("burst=%dKiB", burst>>10), func(b *testing.B) { flushWays(b, burst) })
	}
}

const waysBytes = 32 << 20

// way is one of them: store appends at off, durable makes it count.
type way struct {
	name    string
	f       *os.File
	data    []byte // mapped, or a buffer of as many bytes
	region  *Region
	durable func(w *way, off, n int) error
	took    []float64
	stalls  []float64 // the longest that 64 bytes behind the burst took to store meanwhile
}

func benchDir(b testing.TB) string {
	dir := os.Getenv("FLUSH_DIR")
	if dir == "" {
		dir = "."
	}
	d, err := os.MkdirTemp(dir, "flush-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(d) })
	var st unix.Statfs_t
	if unix.Statfs(d, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		b.Skipf("no disk: %s is on tmpfs; name a directory with FLUSH_DIR", d)
	}
	return d
}

func flushWays(b *testing.B, burst int) {
	dir := benchDir(b)
	mapped := func(w *way, sparse bool) {
		path, opt := filepath.Join(dir, w.name), MapOptions{Create: true, Sparse: sparse}
		if w.name == "mmap-folios" { // as a copy of a file is written
			opt = MapOptions{}
			if err := os.WriteFile(path, make([]byte, waysBytes), 0o600); err != nil {
				b.Fatal(err)
			}
			unix.Sync()
		}
		r, err := MapRegion(path, waysBytes, DomainFile, opt)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { r.Close() })
		if sparse {
			if err := fallocate(int(r.file.Fd()), 0, waysBytes); err != nil {
				b.Fatal(err)
			}
		}
		w.region, w.f, w.data = r, r.file, r.data
	}
	sync := func(w *way, _, _ int) error { return fdatasync(int(w.f.Fd())) }
	ways := []*way{
		{name: "plain", durable: func(w *way, off, n int) error {
			if _, err := w.f.WriteAt(w.data[off:off+n], int64(off)); err != nil {
				return err
			}
			return fdatasync(int(w.f.Fd()))
		}},
		{name: "mmap", durable: sync},
		{name: "mmap-folios", durable: sync},
		{name: "mmap-unwritten", durable: sync},
		{name: "mmap-super", durable: func(w *way, off, n int) error {
			w.data[waysBytes-4096]++ // a page elsewhere, as the superblock is
			return fdatasync(int(w.f.Fd()))
		}},
		{name: "msync", durable: func(w *way, off, n int) error {
			from, to := off&^4095, (off+n+4095)&^4095
			return unix.Msync(w.data[from:to], unix.MS_SYNC)
		}},
		{name: "range-fdatasync", durable: func(w *way, off, n int) error {
			if err := unix.SyncFileRange(int(w.f.Fd()), int64(off), int64(n), unix.SYNC_FILE_RANGE_WRITE); err != nil {
				return err
			}
			return fdatasync(int(w.f.Fd()))
		}},
		{name: "direct-dsync", durable: func(w *way, off, n int) error {
			from, to := off&^4095, (off+n+4095)&^4095
			_, err := w.f.WriteAt(w.data[from:to], int64(from))
			return err
		}},
	}
	for _, w := range ways {
		switch w.name {
		case "plain", "direct-dsync":
			f, err := os.OpenFile(filepath.Join(dir, w.name), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			if err := allocate(f, f.Name(), waysBytes, false); err != nil {
				b.Fatal(err)
			}
			if w.name == "direct-dsync" {
				f.Close()
				if f, err = os.OpenFile(f.Name(), os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0o600); err != nil {
					b.Fatal(err)
				}
			}
			b.Cleanup(func() { f.Close() })
			w.f = f
			if w.data, err = unix.Mmap(-1, 0, waysBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil { // page aligned
				b.Fatal(err)
			}
			b.Cleanup(func() { unix.Munmap(w.data) })
		default:
			mapped(w, w.name == "mmap-unwritten")
		}
	}
	image := make([]byte, burst)
	off, round := 4096, 0
	b.ResetTimer()
	for b.Loop() {
		round++
		for i := range image {
			image[i] = byte(i*7 + round)
		}
		if off+burst+4096 > waysBytes-8192 {
			off = 4096
		}
		for _, w := range ways {
			// The burst goes in after the one before was durable, as a log's does.
			begun := time.Now()
			copy(w.data[off:], image)
			behind := off + burst
			ended := make(chan error, 1)
			var done atomic.Bool
			go func() {
				err := w.durable(w, off, burst)
				w.took = append(w.took, float64(time.Since(begun).Microseconds()))
				done.Store(true)
				ended <- err
			}()
			// Meanwhile the worker goes on: what does a store cost it?
			longest := time.Duration(0)
			for i := 0; !done.Load(); i++ {
				t := time.Now()
				at := behind + i*64%4032
				w.data[at]++
				w.data[at+63]++
				longest = max(longest, time.Since(t))
				time.Sleep(20 * time.Microsecond)
			}
			if err := <-ended; err != nil {
				b.Fatal(w.name, err)
			}
			w.stalls = append(w.stalls, float64(longest.Microseconds()))
		}
		off += burst
	}
	b.StopTimer()
	for _, w := range ways {
		slices.Sort(w.took)
		slices.Sort(w.stalls)
		at := func(s []float64, q float64) float64 { return s[int(q*float64(len(s)-1))] }
		mean := func(s []float64) (m float64) {
			for _, x := range s {
				m += x / float64(len(s))
			}
			return m
		}
		p := ways[0]
		b.Logf("%-16s mean %7.0f µs  p50 %7.0f  p99 %7.0f  × plain %.2f   store meanwhile: p50 %.0f p99 %.0f µs", w.name, mean(w.took), at(w.took, .5), at(w.took, .99), mean(w.took)/mean(p.took), at(w.stalls, .5), at(w.stalls, .99))
	}
}
