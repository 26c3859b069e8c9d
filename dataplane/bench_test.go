package dataplane

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
)

// What a client pays inside the node.
//
// Estimate, written before the first run. Read path: hash 8 ns, reader's
// announcement 2 × 8 (two locked stores), index word and record (2 misses with
// many keys, 120; few: 10), copy 10, lease (one look at the clock) 40, and a
// 16th of two CRCs: 100 ns with few keys, 200 with many. Submit and Poll add 30.
// Lane there and back with a worker that sleeps: two wake-ups of a thread, 10
// to 15 µs; with 256 under way the wake-ups are shared: 200 ns. A put at three
// nodes in one process on two cores: three times the steps of package replica's
// benchmark (write 220, INV 200 × 2, completion and VALs 150) and the lane,
// 1 µs of processor time, so 1.5 to 2 million a second less what wakes and
// sleeps cost.

// cpu reports the processor time of the whole process per operation: the
// machine may be shared. Call it at the start, and what it gives at the end.
func cpu(b *testing.B) (report func()) {
	now := func() int64 {
		var r unix.Rusage
		unix.Getrusage(unix.RUSAGE_SELF, &r)
		return r.Utime.Nano() + r.Stime.Nano()
	}
	start := now()
	return func() { b.ReportMetric(float64(now()-start)/float64(b.N), "cpu-ns/op") }
}

// clockLease looks at the clock as the real lease does.
type clockLease struct{ until atomic.Int64 }

func (l *clockLease) Valid() bool        { return l.until.Load() > Now() }
func (l *clockLease) Generation() uint64 { return 1 }

func benchRig(b *testing.B, nodes, spin int, keys uint64) *rig {
	r := newRig(b, rigOptions{nodes: nodes, spin: spin, poolBytes: 192 << 20, ringBytes: 4 << 20, maxKeys: [3]uint64{1 << 20, 1 << 20, 1 << 20}})
	lease := new(clockLease)
	lease.until.Store(Now() + int64(time.Hour))
	for _, n := range r.nodes {
		n.core.lease = lease // no session yet
	}
	d := newDriver(r.nodes[0].host, 256, keys, 0)
	d.run(int(2 * keys))
	d.s.Close()
	return r
}

func BenchmarkLease(b *testing.B) {
	l := new(clockLease)
	l.until.Store(Now() + int64(time.Hour))
	var x Lease = l
	for b.Loop() {
		if !x.Valid() {
			b.Fatal("lost")
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, keys := range []uint64{1000, 200_000} {
		r := benchRig(b, 1, 1, keys)
		s := r.nodes[0].host.NewSession()
		key, dst := make([]byte, 24), make([]byte, 0, 256)
		n, found := uint64(0), 0
		next := func() []byte {
			n++
			id := n * 0x9E3779B97F4A7C15 % keys
			binary.LittleEndian.PutUint64(key, id)
			return key[:12+id%12]
		}
		b.Run(fmt.Sprint("get/keys=", keys), func(b *testing.B) {
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				if v, _, err := s.Get(next(), dst[:0]); err == nil && len(v) >= 150 {
					found++
				}
			}
		})
		b.Run(fmt.Sprint("submit-poll/keys=", keys), func(b *testing.B) {
			b.ReportAllocs()
			var op Op
			var done [1]*Op
			defer cpu(b)()
			for b.Loop() {
				op.Kind, op.Key, op.Value = OpGet, next(), dst[:0]
				if s.Submit(&op) != nil || s.Poll(done[:]) != 1 {
					b.Fatal("not answered at once")
				}
			}
		})
		if found == 0 && n > 0 {
			b.Fatal("nothing found")
		}
		s.Close()
		b.Run(fmt.Sprint("window=256/keys=", keys), func(b *testing.B) {
			d := newDriver(r.nodes[0].host, 256, keys, 8)
			defer d.s.Close()
			b.ReportAllocs()
			b.ResetTimer()
			report := cpu(b)
			d.run(b.N)
			report()
		})
		r.close()
		r.nodes = nil
	}
}

// The lane: a get of an unlocked key, sent to the worker and answered by it.
func BenchmarkLane(b *testing.B) {
	for _, window := range []int{1, 256} {
		for _, spin := range []int{1, 100} {
			b.Run(fmt.Sprint("window=", window, "/spin=", spin), func(b *testing.B) {
				r := benchRig(b, 1, spin, 1000)
				d := newDriver(r.nodes[0].host, window, 1000, 8)
				for i := range d.s.writing {
					d.s.writing[i] = 1 // as if a write were under way: all gets go to the worker
				}
				b.ReportAllocs()
				b.ResetTimer()
				report := cpu(b)
				d.run(b.N)
				report()
			})
		}
	}
}

// One put through session, worker, log, index, ring and the other nodes, closed
// loop.
func BenchmarkPut(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		for _, window := range []int{1, 256} {
			b.Run(fmt.Sprint("nodes=", nodes, "/window=", window), func(b *testing.B) {
				r := benchRig(b, nodes, 20, 20_000)
				d := newDriver(r.nodes[0].host, window, 20_000, 0)
				b.ReportAllocs()
				b.ResetTimer()
				report := cpu(b)
				d.run(b.N)
				report()
				b.StopTimer()
				if d.errors > 0 {
					b.Fatalf("%d puts failed", d.errors)
				}
			})
		}
	}
}

// All nodes write, 256 each: the whole data plane. ns/op is wall time per put
// of anybody; compare with FloorCopy and FloorCRC of package replica.
func BenchmarkAllNodesPut(b *testing.B) {
	for _, model := range []proto.Model{proto.Synchronous, proto.Eventual} {
		b.Run(model.String(), func(b *testing.B) {
			r := newRig(b, rigOptions{nodes: 3, spin: 20, model: model, poolBytes: 192 << 20, ringBytes: 4 << 20})
			drivers := make([]*driver, 3)
			for i := range drivers {
				drivers[i] = newDriver(r.nodes[i].host, 256, 20_000, 0)
			}
			all := func(n int) {
				done := make(chan struct{})
				for _, d := range drivers {
					go func() { d.run(n); done <- struct{}{} }()
				}
				for range drivers {
					<-done
				}
			}
			all(20_000)
			b.ReportAllocs()
			b.ResetTimer()
			report := cpu(b)
			all(b.N/3 + 1)
			report()
			b.StopTimer()
			for _, d := range drivers {
				if d.errors > 0 {
					b.Fatalf("%d puts failed", d.errors)
				}
			}
		})
	}
}
