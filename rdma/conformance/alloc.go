package conformance

import (
	"encoding/binary"
	"fmt"
	"testing"

	"healkv/rdma"
	"healkv/rdma/ring"
)

func allocatesNothing(t *testing.T, f Fabric) {
	if !f.AllocFree {
		t.Log("this provider allocates by design")
		return
	}
	a, b := newEnd(t, f, 0, 1), newEnd(t, f, 1, 1)
	join(f, a, b)
	a.Feed(1, 0)
	f.Settle()
	b.Poll()
	n := uint64(0)
	var am, bm, in rdma.Marks
	burst := func() {
		for range 4 {
			dst, _, _ := a.Out().Next(32 + int(n%5)*16)
			binary.LittleEndian.PutUint64(dst, n)
			n++
		}
		a.Publish()
		am = marks(n)
		a.PublishMarks(1, &am)
		a.WakePeers()
		b.Poll()
		b.Marks(0, &in)
		m := b.Mirror(0)
		for w, _ := m.Window(); w != nil; w, _ = m.Window() {
			m.Advance(len(w) &^ (ring.Align - 1))
		}
		bm.Applied = m.Cursor()
		b.PublishMarks(0, &bm)
		b.WakePeers()
		a.Poll()
		a.Marks(1, &in)
		a.Out().Reclaim(in.Applied)
		b.PrepareSleep()
		a.Wake()
		b.Wake()
		b.Sleep(-1)
	}
	if got := testing.AllocsPerRun(2000, burst); got != 0 {
		t.Fatalf("%v allocations per burst", got)
	}
	t.Log(fmt.Sprint(n, " entries"))
}
