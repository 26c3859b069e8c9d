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
func BenchmarkFullCopy(b *testing.B) {
	const keys = 400_000
	g := newGroup(b, 3, 1, proto.Synchronous, 256<<20)
	g.start()
	s := g.nodes[0].NewSession()
	loadKeys(b, s, keys)
	s.Close()
	var records uint64
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
		took += r.Transfer
	}
	b.ReportMetric(float64(records)/took.Seconds(), "records/s")
	b.ReportMetric(took.Seconds()*1e3/float64(b.N), "transfer-ms")
}

// loadKeys writes n keys with values of 150 bytes, many in flight.
func loadKeys(tb testing.TB, s *healkv.Session, n int) {
	tb.Helper()
	ops := make([]healkv.Op, 512)
	free := make([]*healkv.Op, 0, len(ops))
	for i := range ops {
		ops[i].Value = make([]byte, 150)
		free = append(free, &ops[i])
	}
	done := make([]*healkv.Op, 64)
	for i := 0; i < n || s.Outstanding() > 0; {
		for ; i < n && len(free) > 0; i++ {
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
