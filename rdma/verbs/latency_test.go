//go:build verbs

package verbs

import (
	"encoding/binary"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"healkv/rdma"
)

// pingBytes is the stream entry whose latency is told.
const pingBytes = 64

// How long a 64-byte stream entry takes to the other end, as ib_write_lat tells
// it: half a round trip between two workers that look all the time. Each entry
// goes with the line behind it, and its reader's watermark comes back with the
// answer.
func TestLatencyOfAnEntry(t *testing.T) {
	c := newCluster(t)
	p := &pair{c: c, a: c.end(0, 1), b: c.end(1, 1)}
	p.attach(p.a, p.b)
	p.attach(p.b, p.a)
	p.a.Feed(1, 0)
	p.b.Feed(0, 0)
	c.settle()
	const warm, rounds = 50, 1000
	deadline := time.Now().Add(2 * time.Minute)
	var lost atomic.Bool
	// throw sends number n, catch waits for it.
	throw := func(e *Endpoint, peer int, n uint64) {
		dst, _, ok := e.Out().Next(pingBytes)
		if !ok {
			t.Error("ring full")
			lost.Store(true)
			return
		}
		binary.LittleEndian.PutUint64(dst, n)
		e.Publish()
		var m rdma.Marks
		if in := e.Mirror(peer); in != nil {
			m.Applied = in.Cursor()
		}
		e.PublishMarks(peer, &m)
		e.WakePeers()
	}
	catch := func(e *Endpoint, peer int, n uint64) {
		for turns := 0; !lost.Load(); turns++ {
			e.Poll()
			var w []byte
			var err error
			m := e.Mirror(peer)
			if m != nil {
				w, err = m.Window()
			}
			if w != nil && err == nil {
				if x := binary.LittleEndian.Uint64(w); x != n {
					t.Errorf("entry %d, want %d", x, n)
					lost.Store(true)
				}
				m.Advance(pingBytes)
				var marks rdma.Marks
				e.Marks(peer, &marks)
				if marks.Applied > e.Out().Reclaimed() && marks.Applied <= e.Out().Tail() {
					e.Out().Reclaim(marks.Applied)
				}
				return
			}
			if err != nil || turns%1024 == 0 && time.Now().After(deadline) {
				t.Errorf("entry %d does not come: %v", n, err)
				lost.Store(true)
			}
			if turns%64 == 63 {
				e.cross() // what a full send queue put off
				runtime.Gosched()
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for n := range uint64(warm + rounds) {
			catch(p.b, 0, n)
			throw(p.b, 0, n)
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	took := make([]time.Duration, 0, warm+rounds)
	for n := range uint64(warm + rounds) {
		began := time.Now()
		throw(p.a, 1, n)
		catch(p.a, 1, n)
		took = append(took, time.Since(began)/2)
	}
	<-done
	if t.Failed() {
		return
	}
	took = took[warm:]
	slices.Sort(took)
	us := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3
	}
	t.Logf("64-byte stream entry: typical %.2f µs, least %.2f, 99 %% below %.2f, most %.2f; %d round trips", us(0.5), us(0), us(0.99), us(1), len(took))
}
