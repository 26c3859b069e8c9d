package store

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"healkv/pmem/record"
)

// What the hot path calls allocates nothing, with keys and values that change.
func TestHotPathAllocatesNothing(t *testing.T) {
	const keys = 2000
	m := makeStore(t, 64, 1<<16, 20000)
	key, value := make([]byte, 16), make([]byte, 150)
	img := make([]byte, record.Bytes(16, 150))
	rd := m.NewReader()
	dst := make([]byte, 0, 256)
	var e Entry
	var h, hi record.Header
	n, cleaned := uint64(0), 0
	step := func() {
		n++
		binary.LittleEndian.PutUint64(key, n%keys)
		binary.LittleEndian.PutUint64(value, n)
		hash := m.Hash(key)
		m.Find(&e, hash, key)
		h = record.Header{Kind: record.Put, TS: n}
		pos := m.Put(&e, &h, key, value, true)
		if _, _, st := rd.Get(hash, key, dst); st != Locked {
			t.Fatal(st)
		}
		m.Unlock(hash, pos)
		if _, ts, st := rd.Get(hash, key, dst); st != Found || ts != n {
			t.Fatal(st, ts)
		}
		hi = record.Header{Kind: record.Put, TS: n}
		record.Encode(img, &hi, key, value, 1)
		m.Find(&e, hash, key)
		m.PutCopy(&e, &hi, img, false)
		m.Find(&e, hash, key)
		if _, err := m.PutVerified(&e, &hi, img, false); err != nil {
			t.Fatal(err)
		}
		if current, _ := m.References(hash, pos); current {
			t.Fatal("an old position is current")
		}
		m.SetFlushed(m.Tail())
		cleaned += m.Clean(4096, Upto(m.Tail()), m.Flushed()).FreedSegments
		if m.FreeBytes() == 0 || !m.Fits(240) {
			t.Fatal("no room")
		}
	}
	for range 4 * keys { // the index has grown
		step()
	}
	if a := testing.AllocsPerRun(4000, step); a != 0 {
		t.Fatalf("%v allocations", a)
	}
	if cleaned == 0 {
		t.Fatal("the cleaner did nothing")
	}
	t.Logf("%d steps, %d segments freed", n, cleaned)
}

// benchStore holds `keys` records of 150-byte values in touched memory.
func benchStore(b *testing.B, keys int) (*made, [][]byte, []uint64) {
	m := makeStore(b, max(16, 4*keys*240>>20), 1<<20, uint64(keys))
	for i := 0; i < len(m.arena); i += 4096 {
		m.arena[i] = 0
	}
	all, hashes := make([][]byte, keys), make([]uint64, keys)
	value := make([]byte, 150)
	var e Entry
	for i := range keys {
		key := make([]byte, 16)
		binary.LittleEndian.PutUint64(key, uint64(i)*0x9e3779b97f4a7c15)
		all[i], hashes[i] = key, m.Hash(key)
		m.Find(&e, hashes[i], key)
		h := record.Header{Kind: record.Put, TS: 1}
		if m.Put(&e, &h, key, value, false) == 0 {
			b.Fatal("full")
		}
	}
	m.SetFlushed(m.Tail())
	return m, all, hashes
}

const benchKeys = 500_000

// Estimate: 250 ns with half a million keys at random (three cache misses:
// bucket, record header, key and value), 120 ns with few.
func benchmarkGet(b *testing.B, keys int) {
	m, all, hashes := benchStore(b, keys)
	r := rand.New(rand.NewPCG(1, 1))
	order := make([]int32, 1<<16)
	for i := range order {
		order[i] = int32(r.IntN(keys))
	}
	rd := m.NewReader()
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		n := order[i&(1<<16-1)]
		if _, _, st := rd.Get(hashes[n], all[n], dst); st != Found {
			b.Fatal(st)
		}
	}
}

func BenchmarkGetFewKeys(b *testing.B)  { benchmarkGet(b, 1000) }
func BenchmarkGetManyKeys(b *testing.B) { benchmarkGet(b, benchKeys) }

// Estimate: Find 40 ns + append 110 + index 10 with few keys; with many, two
// more misses. The cleaner runs as it would in a worker.
func benchmarkPut(b *testing.B, keys int) {
	m, all, hashes := benchStore(b, keys)
	r := rand.New(rand.NewPCG(1, 1))
	order := make([]int32, 1<<16)
	for i := range order {
		order[i] = int32(r.IntN(keys))
	}
	value := make([]byte, 150)
	var e Entry
	var h record.Header
	moved, put := 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		n := order[i&(1<<16-1)]
		binary.LittleEndian.PutUint64(value, uint64(i))
		m.Find(&e, hashes[n], all[n])
		h = record.Header{Kind: record.Put, TS: uint64(i) + 2}
		m.Put(&e, &h, all[n], value, false)
		put += h.Bytes()
		if i&31 == 0 {
			m.SetFlushed(m.Tail())
			if m.WantsCleaning() {
				moved += m.Clean(1<<14, Upto(m.Tail()), m.Flushed()).MovedBytes
			}
			if m.FreeBytes() < 64<<10 {
				b.Fatal("the cleaner falls behind")
			}
		}
	}
	b.ReportMetric(float64(moved)/float64(put), "moved/put")
}

func BenchmarkPutFewKeys(b *testing.B)  { benchmarkPut(b, 1000) }
func BenchmarkPutManyKeys(b *testing.B) { benchmarkPut(b, benchKeys) }

func BenchmarkUnlock(b *testing.B) {
	m, all, hashes := benchStore(b, 1000)
	pos := make([]uint64, len(all))
	var e Entry
	for i := range all {
		m.Find(&e, hashes[i], all[i])
		pos[i] = e.Pos
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		m.Lock(hashes[i%1000], pos[i%1000])
		m.Unlock(hashes[i%1000], pos[i%1000])
	}
}

func BenchmarkFreeBytes(b *testing.B) {
	m, _, _ := benchStore(b, 1000)
	b.ReportAllocs()
	n := uint64(0)
	for range b.N {
		n += m.FreeBytes()
	}
	if n == 0 {
		b.Fatal("full")
	}
}

// Per record of the log, headers only.
func BenchmarkManifest(b *testing.B) {
	m, _, _ := benchStore(b, benchKeys)
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for ; n < b.N; n += benchKeys {
		if err := m.Manifest(0, m.Tail(), true, func(uint64, int64, int, uint32, bool) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
}
