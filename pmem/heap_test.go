package pmem

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/pmem/record"
	"healkv/pmem/store"
)

// A worker that appends, flushes and cleans, readers, and a control plane that
// writes superblocks: under -race this is what shows a missing atomic.
func TestHeapPoolUnderReaders(t *testing.T) {
	o := testFormat("", "", DomainMemory)
	p, err := NewHeapPool(o)
	if err != nil {
		t.Fatal(err)
	}
	begin(t, p, 1)
	const keys, rounds = 500, 40
	var wait sync.WaitGroup
	done := make(chan struct{})
	var reads [2]atomic.Int64
	var supers atomic.Int64
	for g := range reads {
		wait.Go(func() {
			r := p.Store().NewReader()
			defer r.Close()
			var newest [keys]uint64
			var buf []byte
			for i := g; ; i = (i + 7) % keys {
				select {
				case <-done:
					return
				default:
				}
				v, ts, st := r.Get(p.Store().Hash(key(i)), key(i), buf[:0])
				if buf = v; st == store.Found && (ts < newest[i] || string(v) != string(value(i, ts))) {
					t.Errorf("key %d: %q at %d after %d", i, v, ts, newest[i])
					return
				}
				newest[i] = max(newest[i], ts)
				reads[g].Add(1)
			}
		})
	}
	wait.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if err := p.WriteSuperblock(func(s *Super) { s.ViewEpoch++ }); err != nil {
				t.Error(err)
				return
			}
			_ = p.Recovered()
			_ = p.Super()
			supers.Add(1)
		}
	})
	ts := uint64(0)
	// On a machine that does other things the others may come to run late.
	for n := 0; n < rounds || reads[0].Load() == 0 || reads[1].Load() == 0 || supers.Load() == 0; n++ {
		for i := range keys {
			ts++
			put(p, i, ts, false)
		}
		marker(p, uint32(ts))
		p.SetStable(p.log.Flushed())
		flush(t, p)
		if r := p.Store().Clean(1<<20, store.Upto(p.Stable()), p.log.Flushed()); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	close(done)
	wait.Wait()
	t.Logf("%d writes, %d reads, %d superblocks", ts, reads[0].Load()+reads[1].Load(), supers.Load())
	closePool(t, p, true)
}

func TestFlushAllocatesNothing(t *testing.T) {
	p, err := NewHeapPool(testFormat("", "", DomainMemory))
	if err != nil {
		t.Fatal(err)
	}
	begin(t, p, 1)
	p.region.SetFlushHook(func(off, n int) {}) // the way of the flushing domains
	for i := range 2000 {
		put(p, i%50, uint64(i+1), false)
	}
	flush(t, p)
	s, h, k, v := p.Store(), record.Header{}, key(1), value(1, 1)
	ts := uint64(10_000)
	if n := testing.AllocsPerRun(2000, func() {
		ts++
		var e store.Entry
		v[0] = byte(ts)
		s.Find(&e, s.Hash(k), k)
		h = record.Header{Kind: record.Put, TS: ts}
		s.Put(&e, &h, k, v, false)
		p.SetStable(p.log.Flushed())
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per burst", n)
	}
}

// A peer reads a record through its own read-only mapping.
func TestExposed(t *testing.T) {
	at := testPlace(t, DomainMemory)
	at.format(t, DomainMemory, testPoolBytes)
	p := at.open(t)
	defer p.Close(true)
	begin(t, p, 1)
	pos := put(p, 4, 77, false)
	path, base := p.Exposed()
	if want := filepath.Join(at.dir, "shard-01.pool"); path != want {
		t.Fatalf("exposed %s, want %s", path, want)
	}
	peer, err := MapRegion(path, 0, DomainAuto, MapOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	off, ok := p.log.ArenaOffset(pos)
	if !ok {
		t.Fatal("no arena offset")
	}
	img := peer.Bytes()[base+off:]
	var h record.Header
	if err := record.VerifyHeader(img, record.Seed(pos, 1), &h); err != nil {
		t.Fatal(err)
	}
	if err := record.VerifyBody(img, &h); err != nil || string(record.Value(img)) != string(value(4, 77)) {
		t.Fatalf("%q, %v", record.Value(img), err)
	}
}

func BenchmarkFlush(b *testing.B) {
	p, err := NewHeapPool(testFormat("", "", DomainMemory))
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Begin(1); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := range b.N {
		if p.Store().FreeBytes() < 4096 {
			for p.Store().FreeBytes() < 8<<20 {
				p.Store().Clean(1<<20, store.Upto(p.log.Flushed()), p.log.Flushed())
				if err := p.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		}
		if i%16 == 0 {
			put(p, i%64, uint64(i+1), false)
		}
		p.SetStable(p.log.Flushed())
		if err := p.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}
