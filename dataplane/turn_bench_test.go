package dataplane

import (
	"encoding/binary"
	"testing"
)

// What a worker's turn costs its core, with nothing to do and for one write of two
// nodes: both workers in one goroutine, so nothing is waited for. What crosses
// between cores comes on top (bench/measure, near).
//
// Estimate, before the first run: 150 ns for a turn without work (two looks at the
// clock 50, a peer's line and tail 10, the rest loads and branches that are in the
// cache); a write 800 ns in the four turns it takes.
func BenchmarkTurn(b *testing.B) {
	r := newRig(b, rigOptions{nodes: 2, driven: true, poolBytes: 192 << 20, ringBytes: 4 << 20, maxKeys: [3]uint64{1 << 20, 1 << 20, 1 << 20}})
	lease := new(clockLease)
	lease.until.Store(Now() + int64(3600e9))
	for _, n := range r.nodes {
		n.core.lease = lease
		for _, w := range n.workers {
			w.lease = lease
		}
	}
	one, other := r.nodes[0].workers[0], r.nodes[1].workers[0]
	b.Run("idle", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			one.Turn()
		}
	})
	s := r.nodes[0].host.NewSession()
	op, key, value := Op{}, make([]byte, 16), make([]byte, 158)
	var done [1]*Op
	n := uint64(0)
	b.Run("write", func(b *testing.B) {
		turns := 0
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			n++
			binary.LittleEndian.PutUint64(key, n*0x9E3779B97F4A7C15%10_000)
			op.Kind, op.Key, op.Value = OpPut, key, value
			if err := s.Submit(&op); err != nil {
				b.Fatal(err)
			}
			for s.Poll(done[:]) == 0 {
				one.Turn()
				other.Turn()
				turns += 2
			}
			if op.Err != nil {
				b.Fatal(op.Err)
			}
		}
		b.ReportMetric(float64(turns)/float64(b.N), "turns/op")
	})
}
