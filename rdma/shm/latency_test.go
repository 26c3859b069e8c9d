package shm

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/rdma"
)

// BenchmarkEntryLatency is one entry of 64 bytes: published, seen in the peer's
// mirror, and the peer's watermark back, two workers that spin, each on a thread
// of its own. Beside it, in turn with it, 64 bytes through a slot of ordinary
// memory with a word that says whose turn it is: what two processors need for
// it at least. The metric is the ratio of the medians.
//
// Expected: the plain one moves two cache lines there and one back. Ours moves
// the entry, the ring's tail and the peer's doorbell there, the watermark's line
// and our doorbell back, and looks at them with fences: 2 to 4 times as long, all
// in less than a microsecond, if each thread has a processor.
func BenchmarkEntryLatency(b *testing.B) {
	const size, block = 64, 200
	x, y := benchEnds(b)
	var entry, floor []float64
	for left := b.N; left > 0; left -= block {
		n := min(left, block)
		entry = append(entry, latency(n, func() {
			var in rdma.Marks
			for range n {
				if _, _, ok := x.Out().Next(size); !ok {
					b.Error("ring full")
					return
				}
				x.Publish()
				x.WakePeers()
				for tail := x.Out().Tail(); in.Applied < tail; x.Marks(1, &in) {
					yield(x)
				}
				x.Out().Reclaim(in.Applied)
			}
		}, func() {
			m := y.Mirror(0)
			var out rdma.Marks
			for range n {
				for {
					w, err := m.Window()
					if err != nil {
						b.Error(err)
						return
					}
					if w != nil {
						break
					}
					yield(y)
				}
				m.Advance(size)
				out.Applied = m.Cursor()
				y.PublishMarks(0, &out)
				y.WakePeers()
			}
		}))
		floor = append(floor, plainSlot(n))
	}
	e, f := median(entry), median(floor)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(e, "entry-ns")
	b.ReportMetric(f, "plain64-ns")
	b.ReportMetric(e/f, "x-plain64")
}

// yield is between two looks: the other one may be on the same processor.
func yield(e *Endpoint) {
	unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	e.Poll()
}

// plainSlot moves 64 bytes and awaits the answer, n times.
func plainSlot(n int) float64 {
	var slot struct {
		_    [64]byte
		turn atomic.Uint64
		_    [56]byte
		data [64]byte
	}
	var mine, theirs [64]byte
	pass := func(from, to uint64, do func()) {
		for range n {
			for slot.turn.Load() != from {
				unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			}
			do()
			slot.turn.Store(to)
		}
	}
	return latency(n,
		func() { pass(0, 1, func() { slot.data = mine }) },
		func() { pass(1, 0, func() { copy(theirs[:], slot.data[:]) }) })
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// latency runs two sides, each on its thread, and says what an exchange took, ns.
func latency(n int, first, second func()) float64 {
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		close(ready)
		second()
	})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	<-ready
	began := time.Now()
	first()
	took := time.Since(began)
	wg.Wait()
	return float64(took) / float64(n)
}
