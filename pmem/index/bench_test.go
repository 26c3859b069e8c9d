package index

import (
	"fmt"
	"slices"
	"testing"
	"time"
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
// two pages, and reports the worst single insert: the stall a writer sees, and
// the 99th percentile of those that split (the worst also holds what else the
// machine did to this thread).
// hashOf reads a log of 64-byte headers, cold, as the store's does.
func BenchmarkInsertGrowing(b *testing.B) {
	const keys = 1_000_000
	headers := make([][8]uint64, keys)
	for key := range headers {
		headers[key][7] = keyHash(uint64(key))
	}
	hashOf := func(pos uint64) uint64 { return headers[pos>>posShift-2][7] }
	mem := make([]byte, Bytes(keys))
	var worst time.Duration
	var splits []time.Duration
	b.ResetTimer()
	for range b.N {
		clear(mem) // pages of the mapping are there, as in a formatted index file
		x, err := Create(mem, nil, 7)
		if err != nil {
			b.Fatal(err)
		}
		for key := range uint64(keys) {
			hash := keyHash(key)
			start := time.Now()
			err := x.Insert(hash, MakeWord(hash, (key+2)<<posShift, false), hashOf)
			took := time.Since(start)
			if err != nil {
				b.Fatal(err)
			}
			worst = max(worst, took)
			if x.Retired() > 0 {
				splits = append(splits, took)
				x.Release()
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*keys), "ns/insert")
	b.ReportMetric(float64(worst.Microseconds()), "worst-µs")
	slices.Sort(splits)
	b.ReportMetric(float64(splits[len(splits)/2].Nanoseconds())/1000, "p50-split-µs")
	b.ReportMetric(float64(splits[len(splits)*99/100].Nanoseconds())/1000, "p99-split-µs")
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
