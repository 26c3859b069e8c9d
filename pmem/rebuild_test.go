package pmem

import (
	"testing"
	"time"

	"healkv/pmem/record"
	"healkv/pmem/store"
)

// fillPool appends n records of n*3/4 keys with 100-byte values.
func fillPool(b testing.TB, p *Pool, n int) {
	var v [100]byte
	k := make([]byte, 16)
	s := p.Store()
	for i := range n {
		for j, x := 15, i%(n*3/4); j >= 0; j, x = j-1, x/10 {
			k[j] = byte('0' + x%10)
		}
		hash := s.Hash(k)
		var e store.Entry
		s.Find(&e, hash, k)
		h := record.Header{Kind: record.Put, TS: uint64(i + 1)}
		v[i%100]++
		s.Put(&e, &h, k, v[:], false)
		if i%1000 == 999 {
			if err := p.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := p.Flush(); err != nil {
		b.Fatal(err)
	}
	p.SetStable(s.Tail())
	if err := p.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := p.WriteSuperblock(func(*Super) {}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen is the time from Open to a pool that can serve, with 1 million
// records of 16+100 bytes, after a kill: the index rebuilt, and kept.
func BenchmarkOpen(b *testing.B) {
	const records = 1_000_000
	dir := memDir(b)
	huge, err := HugeTmpfs(dir)
	if err != nil {
		b.Fatal(err)
	}
	if huge {
		b.Cleanup(func() { UnmountTmpfs(dir) })
	}
	at := place{dir, dir}
	at.format(b, DomainMemory, 256<<20)
	p := at.open(b)
	begin(b, p, 1)
	fillPool(b, p, records)
	info := p.Info()
	closePool(b, p, false)
	for _, c := range []struct {
		name    string
		rebuild bool
	}{{"rebuild", true}, {"kept", false}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var index, scan time.Duration
			for range b.N {
				if c.rebuild {
					b.StopTimer()
					removeIndex(b, at)
					b.StartTimer()
				}
				p := at.open(b)
				r := p.Recovered()
				b.StopTimer()
				if r.Kept == c.rebuild && b.N > 1 || r.Keys != records*3/4 {
					b.Fatalf("%+v", r)
				}
				index += r.IndexTime
				scan += r.LogTime
				if c.rebuild {
					begin(b, p, r.PreviousIncarnation+1)
				}
				closePool(b, p, false)
				b.StartTimer()
			}
			b.ReportMetric(float64(index.Microseconds())/1e3/float64(b.N), "index-ms")
			b.ReportMetric(float64(scan.Microseconds())/1e3/float64(b.N), "log-ms")
			b.ReportMetric(float64(info.PageSize), "page-bytes")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1e3/float64(b.N), "open-ms")
		})
	}
}
