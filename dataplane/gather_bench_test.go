package dataplane

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma/shm"
)

// Group commit on a pretended disk whose every flush takes as long, so that
// nothing but the order of things counts: clients with a session of their own
// write, wait and write again. "share" is the part of all clients that a flush
// serves on average, writes/s × flush time / clients: 1 if all were in every
// flush and took no time, 0.5 if they fall into two halves.
func BenchmarkGroupCommit(b *testing.B) {
	for _, took := range []time.Duration{200 * time.Microsecond, time.Millisecond, 4 * time.Millisecond} {
		for _, clients := range []int{1, 16, 128} {
			b.Run(fmt.Sprintf("flush=%v/clients=%d", took, clients), func(b *testing.B) { groupCommit(b, took, clients) })
		}
	}
}

func groupCommit(b *testing.B, took time.Duration, clients int) {
	m := &pmem.HeapMedium{BootID: [16]byte{1}}
	o := pmem.FormatOptions{Identity: pmem.Identity{Shards: 1, HashSeed: rigSeed}, SizeBytes: pmem.DataOffset + 64<<20, SegmentBytes: 2 << 20, MaxKeys: 1 << 14}
	if err := pmem.FormatHeap(o, m); err != nil {
		b.Fatal(err)
	}
	m.Watch = func(r *pmem.Region) { r.SetSyncHook(func() error { return nil }) }
	m.Later = func(job func()) { time.AfterFunc(took, job) }
	pool, err := m.Open(o.Identity)
	if err != nil {
		b.Fatal(err)
	}
	ep, err := shm.New(shm.Config{Dir: shm.Heap(), Nodes: 1, Incarnation: 1, RingBytes: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	var lease rigLease
	w := NewWorker(WorkerConfig{Nodes: 1, Pool: pool, Endpoint: ep, Lease: &lease, SpinTurns: 20, OnFailure: func(_ int, err error) { b.Error(err) },
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := w.Open(proto.Member{Incarnation: 1}, false); err != nil {
		b.Fatal(err)
	}
	core := NewCore([]*Worker{w}, &lease)
	host := NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, rigSeed) })
	host.SetCore(core)
	w.Start()
	view := proto.View{Epoch: 1, Shards: 1, Configured: 1, Live: 1}
	view.Incarnation[0] = 1
	w.Do(func() { w.InstallView(&view, &Links{}) })
	core.SetServing(true)

	var all sync.WaitGroup
	begun := time.Now()
	rounds := max(4, b.N)
	for i := range clients {
		all.Go(func() {
			s := host.NewSession()
			defer s.Close()
			key, value := fmt.Append(nil, "client-", i), make([]byte, 150)
			for range rounds {
				if _, err := s.Put(key, value, 0); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	rate := float64(rounds*clients) / time.Since(begun).Seconds()
	flushes := uint64(0)
	w.Do(func() { flushes = w.Counters.Flushes })
	core.Stop()
	ep.Close()
	pool.Close(false)
	b.ReportMetric(rate, "puts/s")
	b.ReportMetric(rate*took.Seconds()/float64(clients), "share")
	b.ReportMetric(float64(rounds*clients)/float64(flushes), "puts/flush")
}
