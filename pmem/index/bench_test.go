package index

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// benchSizes: in the caches, and far beyond them.
var benchSizes = []uint64{10_000, 1_000_000}

func filled(tb testing.TB, keys uint64) *Index {
	tb.Helper()
	x := mustCreate(tb, keys)
	for key := range keys {
		if err := x.Insert(keyHash(key), MakeWord(keyHash(key), posOf(key, 0), false), hashAt); err != nil {
			tb.Fatal(err)
		}
		if x.Retired() > 0 {
			x.Release()
		}
	}
	return x
}

var sink uint64

func BenchmarkHit(b *testing.B) {
	for _, keys := range benchSizes {
		x := filled(b, keys)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			var c Cursor
			seed, sum := uint64(1), uint64(0)
			for b.Loop() {
				seed = seed*6364136223846793005 + 1442695040888963407
				key := seed >> 32 * keys >> 32
				x.Seek(&c, keyHash(key))
				if !c.Next() || !c.Valid() {
					b.Fatal("missed", key)
				}
				sum += c.Word().Pos()
			}
			sink += sum
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	for _, keys := range benchSizes {
		x := filled(b, keys)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			var c Cursor
			seed, wrong := uint64(1), uint64(0)
			for b.Loop() {
				seed = seed*6364136223846793005 + 1442695040888963407
				x.Seek(&c, keyHash(seed>>20+keys))
				for c.Next() {
					wrong++
				}
				if !c.SameDirectory() {
					b.Fatal("moved")
				}
			}
			sink += wrong
		})
	}
}

func BenchmarkStore(b *testing.B) {
	const keys = 1_000_000
	x := filled(b, keys)
	b.ReportAllocs()
	var c Cursor
	seed := uint64(1)
	for b.Loop() {
		seed = seed*6364136223846793005 + 1442695040888963407
		key := seed >> 32 * keys >> 32
		x.Seek(&c, keyHash(key))
		if !c.Next() {
			b.Fatal("missed", key)
		}
		x.Store(&c, c.Word().WithLock(seed>>40&1 == 0))
	}
}

// BenchmarkInsertGrowing inserts a million keys into an index that starts with
// two pages. worst-µs is the stall a writer sees on this machine as it is;
// worst-cpu-µs is the processor time of the worst insert, the same without what
// the machine gave to others meanwhile. hashOf reads a log of 64-byte headers,
// cold, as the store's does.
func BenchmarkInsertGrowing(b *testing.B) {
	const keys = 1_000_000
	headers := make([][8]uint64, keys)
	for key := range headers {
		headers[key][7] = keyHash(uint64(key))
	}
	hashOf := func(pos uint64) uint64 { return headers[pos>>posShift-2][7] }
	mem := make([]byte, Bytes(keys))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			b.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	var worst, worstCPU, plain time.Duration
	var splits []time.Duration
	for range b.N {
		clear(mem) // pages of the mapping are there, as in a formatted index file
		x, err := Create(mem, nil, 7)
		if err != nil {
			b.Fatal(err)
		}
		for key := range uint64(keys) {
			hash := keyHash(key)
			startCPU, start := cpu(), time.Now()
			err := x.Insert(hash, MakeWord(hash, (key+2)<<posShift, false), hashOf)
			took := time.Since(start)
			tookCPU := cpu() - startCPU
			if err != nil {
				b.Fatal(err)
			}
			worst, worstCPU = max(worst, took), max(worstCPU, tookCPU)
			plain += took
			if x.Retired() > 0 {
				splits = append(splits, tookCPU)
				x.Release()
			}
		}
	}
	slices.Sort(splits)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	b.ReportMetric(float64(plain.Nanoseconds())/float64(b.N*keys), "ns/insert")
	b.ReportMetric(us(splits[len(splits)/2]), "split-p50-cpu-µs")
	b.ReportMetric(us(splits[len(splits)*99/100]), "split-p99-cpu-µs")
	b.ReportMetric(us(worstCPU), "worst-cpu-µs")
	b.ReportMetric(us(worst), "worst-µs")
}

// BenchmarkOpen takes over an index after a crash.
func BenchmarkOpen(b *testing.B) {
	x := filled(b, 1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(x.mem.bytes, nil, 7); err != nil {
			b.Fatal(err)
		}
	}
}
