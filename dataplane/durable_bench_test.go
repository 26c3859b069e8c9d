package dataplane

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma/shm"
)

// Durable writes of one node in the file domain beside a plain loop on the same
// disk: append as many bytes as the node's mean flush, pwrite to a file whose
// every page was written before, fdatasync. Both have their turns within one
// run, so that a shared disk and shared processors are the same for both; what
// counts is the ratio.
//
// Expected, written before the first run: writes/s >= burst × flushes/s × 0.8,
// burst the records a flush carries, flushes/s those of the plain loop with as
// many bytes. With N clients that wait for their answers, half of them are in a
// flush and half wait for the next, so a burst of N/2; the part that is missing
// is the wake-up of worker and flusher (two of 10 to 50 µs a flush of 150 to
// 1000) and a superblock page now and then.
//
// Run: FLUSH_DIR=/the/disk go test ./dataplane -run - -bench DurablePut -benchtime 20x
func BenchmarkDurablePut(b *testing.B) {
	for _, clients := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { durablePut(b, clients) })
	}
}

const (
	turnTime    = 100 * time.Millisecond
	sessionsMax = 8
)

func durablePut(b *testing.B, clients int) {
	dir := os.Getenv("FLUSH_DIR")
	if dir == "" {
		dir = "."
	}
	dir, err := os.MkdirTemp(dir, "durable-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	index, err := os.MkdirTemp("/dev/shm", "durable-bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(index)
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		b.Skipf("no disk: %s is on tmpfs; name a directory with FLUSH_DIR", dir)
	}
	id := pmem.Identity{Shards: 1, HashSeed: rigSeed}
	if err := pmem.Format(pmem.FormatOptions{Dir: dir, IndexDir: index, Identity: id, SizeBytes: 256 << 20, Domain: pmem.DomainFile}); err != nil {
		b.Fatal(err)
	}
	pool, err := pmem.Open(pmem.OpenOptions{Dir: dir, IndexDir: index, Identity: id})
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
	defer func() {
		core.Stop()
		ep.Close()
		pool.Close(false)
	}()
	view := proto.View{Epoch: 1, Shards: 1, Configured: 1, Live: 1}
	view.Incarnation[0] = 1
	w.Do(func() { w.InstallView(&view, &Links{}) })
	core.SetServing(true)

	// Sessions of their own, each with as many operations under way as its share
	// of the clients.
	drivers := make([]*driver, min(clients, sessionsMax))
	for i := range drivers {
		drivers[i] = newDriver(host, clients/len(drivers), 50_000, 0)
		drivers[i].next = uint64(i) << 32
	}
	drivers[0].run(20_000) // the keys are there, and the pages of the pool
	stats := func() (s pmem.FlushStats) {
		w.Do(func() { s = w.pool.FlushStats() })
		return s
	}
	plain := newPlainLoop(b, filepath.Join(dir, "plain"))
	var ops, flushes, bytes, plainFlushes uint64
	var opsTime, plainTime time.Duration
	b.ResetTimer()
	for b.Loop() {
		before, begun := stats(), time.Now()
		var n atomic.Int64
		var all sync.WaitGroup
		for _, d := range drivers {
			all.Go(func() {
				for time.Since(begun) < turnTime {
					d.run(64 * len(d.ops))
					n.Add(int64(64 * len(d.ops)))
				}
			})
		}
		all.Wait()
		took := time.Since(begun)
		after := stats()
		opsTime += took
		ops += uint64(n.Load())
		flushes += after.Count - before.Count
		bytes += after.Bytes - before.Bytes
		burst := int((after.Bytes - before.Bytes) / (after.Count - before.Count))
		for begun := time.Now(); time.Since(begun) < turnTime; plainFlushes++ {
			plain.append(b, burst)
		}
		plainTime += turnTime
	}
	b.StopTimer()
	for _, d := range drivers {
		if d.errors > 0 {
			b.Fatalf("%d puts failed", d.errors)
		}
	}
	perFlush := float64(ops) / float64(flushes)
	rate := float64(ops) / opsTime.Seconds()
	plainRate := float64(plainFlushes) / plainTime.Seconds()
	b.ReportMetric(rate, "puts/s")
	b.ReportMetric(perFlush, "puts/flush")
	b.ReportMetric(float64(bytes)/float64(flushes), "B/flush")
	b.ReportMetric(float64(flushes)/opsTime.Seconds(), "flushes/s")
	b.ReportMetric(plainRate, "plain-flushes/s")
	b.ReportMetric(rate/(perFlush*plainRate), "ratio")
}

// plainLoop is what any program can do: append and fdatasync.
type plainLoop struct {
	f    *os.File
	data []byte
	off  int64
}

const plainBytes = 64 << 20

func newPlainLoop(b *testing.B, path string) *plainLoop {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	p := &plainLoop{f: f, data: make([]byte, 4<<20)}
	for off := int64(0); off < plainBytes; off += 4096 {
		if _, err := f.WriteAt(p.data[:4096], off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return p
}

func (p *plainLoop) append(b *testing.B, n int) {
	if p.off+int64(n) > plainBytes {
		p.off = 0
	}
	if _, err := p.f.WriteAt(p.data[:n], p.off); err != nil {
		b.Fatal(err)
	}
	if err := unix.Fdatasync(int(p.f.Fd())); err != nil {
		b.Fatal(err)
	}
	p.off += int64(n)
}
