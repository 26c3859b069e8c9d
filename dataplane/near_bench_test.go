package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// One write in flight between two nodes, submitted on its worker's thread, each
// worker on a thread of its own: what `measure -only near` shows, without processes
// around it. Beside other work only the median means anything.
func BenchmarkNear(b *testing.B) {
	const keys, warm = 10_000, 50_000
	r := newRig(b, rigOptions{nodes: 2, spin: 1 << 30, poolBytes: 192 << 20, ringBytes: 4 << 20, maxKeys: [3]uint64{1 << 20, 1 << 20, 1 << 20}})
	lease := new(clockLease)
	lease.until.Store(Now() + int64(time.Hour))
	for _, n := range r.nodes {
		n.core.lease = lease
		for _, w := range n.workers {
			w.Do(func() { w.lease, w.yield = lease, 64 })
		}
	}
	s := r.nodes[0].host.NewSession()
	op, key, value := Op{Deadline: Now() + int64(time.Hour)}, make([]byte, 16), make([]byte, 158)
	took := make([]int64, 0, b.N+warm)
	n, begun, done, over := uint64(0), int64(0), [1]*Op{}, make(chan struct{})
	leave := r.nodes[0].host.Attend(0, func() (awake bool) {
		if n > uint64(cap(took)) {
			return false
		}
		if n > 0 {
			if s.Poll(done[:]) == 0 {
				return false
			}
			took = append(took, Now()-begun)
		}
		if n++; n > uint64(cap(took)) || op.Err != nil {
			n = uint64(cap(took)) + 1
			close(over)
			return false
		}
		binary.LittleEndian.PutUint64(key, n*0x9E3779B97F4A7C15%keys)
		op.Kind, op.Key, op.Value = OpPut, key, value
		begun = Now()
		op.Err = s.Submit(&op)
		s.Kick()
		return true
	})
	<-over
	leave()
	if op.Err != nil {
		b.Fatal(op.Err)
	}
	took = took[warm:]
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "median-ns")
	b.ReportMetric(float64(took[len(took)/10]), "tenth-ns")
	b.ReportMetric(0, "ns/op")
}
