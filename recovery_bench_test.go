package healkv_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"healkv"
	"healkv/dataplane/proto"
)

// BenchmarkFullCopy: a node of three, without load, fetches everything.
//
// Estimate for 150-byte values: the puller copies (10 ns), verifies two
// checksums (40 ns) and walks; the worker looks the key up (a miss in the
// cache, 100 ns), appends (110 ns) and inserts (150 ns). They run side by
// side, so about 0.4 µs a record: 2.5 million records a second on two free
// cores.
//
// Over TCP the same as long as a round trip brings a whole batch: the link is
// loopback. Where every third key was written again, what is current lies in runs
// of two records, and a round trip of 40 µs for each would be 10 MB/s: expected is
// what the runs of a store that was only loaded give, half of it at the least.
func BenchmarkFullCopy(b *testing.B) {
	const keys = 200_000
	for _, provider := range []string{"shm", "tcp"} {
		for _, again := range []int{0, 3} {
			b.Run(fmt.Sprintf("%s/rewritten=%d", provider, again), func(b *testing.B) {
				g := newGroupOver(b, provider, 3, 1, proto.Synchronous, 256<<20)
				g.start()
				s := g.nodes[0].NewSession()
				loadKeys(b, s, keys, 1)
				if again > 0 {
					loadKeys(b, s, keys, again)
				}
				s.Close()
				var records, bytes uint64
				var took time.Duration
				for b.Loop() {
					g.close(2)
					g.cfgs[2].Recovery = healkv.RecoveryFull
					g.open(2)
					g.ready(2)
					r := g.nodes[2].Status().LastRecovery
					if r == nil || r.Kind != "full" || r.Records < keys {
						b.Fatalf("recovery %+v", r)
					}
					records += r.Records
					bytes += r.Bytes
					took += r.Transfer
				}
				b.ReportMetric(float64(records)/took.Seconds(), "records/s")
				b.ReportMetric(float64(bytes)/took.Seconds()/1e6, "MB/s")
				b.ReportMetric(took.Seconds()*1e3/float64(b.N), "transfer-ms")
			})
		}
	}
}

// loadKeys writes every step-th of n keys with values of 150 bytes, many in
// flight.
func loadKeys(tb testing.TB, s *healkv.Session, n, step int) {
	tb.Helper()
	ops := make([]healkv.Op, 512)
	free := make([]*healkv.Op, 0, len(ops))
	for i := range ops {
		ops[i].Value = make([]byte, 150)
		free = append(free, &ops[i])
	}
	done := make([]*healkv.Op, 64)
	for i := 0; i < n || s.Outstanding() > 0; {
		for ; i < n && len(free) > 0; i += step {
			op := free[len(free)-1]
			free = free[:len(free)-1]
			op.Kind, op.Key, op.Deadline = healkv.OpPut, fmt.Appendf(op.Key[:0], "key-%d", i), 0
			if err := s.Submit(op); err != nil {
				tb.Fatal(err)
			}
		}
		s.Wait(time.Second)
		for _, op := range done[:s.Poll(done)] {
			if op.Err != nil && !errors.Is(op.Err, healkv.ErrTryAgain) {
				tb.Fatal(op.Err)
			}
			free = append(free, op)
		}
	}
}
