package dataplane

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// What a write costs all processors together, with nodes that all write: workers
// and sessions take turns in one goroutine, so that nothing spins or waits, and what
// other work the machine has changes little. cpu-ns/op is the figure.
func BenchmarkTogether(b *testing.B) {
	const keys = 100_000
	for _, nodes := range []int{3, 6} {
		for _, window := range []int{16, 256} {
			b.Run(fmt.Sprint("nodes=", nodes, "/window=", window), func(b *testing.B) {
				r := newRig(b, rigOptions{nodes: nodes, driven: true, poolBytes: 96 << 20, ringBytes: 4 << 20})
				lease := new(clockLease)
				lease.until.Store(Now() + int64(3600e9))
				type client struct {
					s   *Session
					ops []Op
					key [][16]byte
					get []*Op
				}
				clients := make([]client, nodes)
				for i, n := range r.nodes {
					n.core.lease, n.workers[0].lease = lease, lease
					c := &clients[i]
					c.s, c.ops, c.key, c.get = n.host.NewSession(), make([]Op, window), make([][16]byte, window), make([]*Op, window)
					for k := range c.ops {
						c.ops[k].Tag = uint64(k)
						c.get[k] = &c.ops[k]
					}
				}
				value, n, left := make([]byte, 158), uint64(0), 0
				free := make([]int, nodes)
				for i := range free {
					free[i] = window
				}
				round := func() {
					for i := range clients {
						c := &clients[i]
						for _, op := range c.get[:free[i]] {
							if op.Err != nil {
								b.Fatal(op.Err)
							}
							n++
							key := &c.key[op.Tag]
							binary.LittleEndian.PutUint64(key[:], n*0x9E3779B97F4A7C15%keys)
							op.Kind, op.Key, op.Value = OpPut, key[:], value
							if err := c.s.Submit(op); err != nil {
								b.Fatal(err)
							}
						}
						c.s.Kick()
						r.nodes[i].workers[0].Turn()
						free[i] = c.s.Poll(c.get)
						left -= free[i]
					}
				}
				for left = 3 * keys; left > 0; {
					round()
				}
				b.ReportAllocs()
				b.ResetTimer()
				report := cpu(b)
				for left = b.N; left > 0; {
					round()
				}
				report()
				b.StopTimer()
			})
		}
	}
}
