package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

// driver keeps a window of operations of one session going without allocating:
// keys and values are written into its own buffers and change each time.
type driver struct {
	s      *Session
	ops    []Op
	keys   [][]byte
	bufs   [][]byte
	done   [256]*Op
	next   uint64
	errors int
	late   int // of errors: they ran into their deadlines
	keyMax uint64
	reads  uint64 // of 8
}

func newDriver(h *Host, window int, keyMax, reads uint64) *driver {
	d := &driver{s: h.NewSession(), ops: make([]Op, window), keyMax: keyMax, reads: reads}
	for i := range d.ops {
		d.keys, d.bufs = append(d.keys, make([]byte, 24)), append(d.bufs, make([]byte, 256))
		d.ops[i].Tag = uint64(i)
	}
	return d
}

func (d *driver) submit(op *Op) {
	i, n := op.Tag, d.next
	d.next++
	id := n * 0x9E3779B97F4A7C15 % d.keyMax
	k := d.keys[i][:12+id%12] // lengths change too, but one key has one length
	binary.LittleEndian.PutUint64(k, id)
	op.Key = k
	if n%8 < d.reads {
		op.Kind, op.Value = OpGet, d.bufs[i][:0]
	} else {
		op.Kind, op.Value = OpPut, d.bufs[i][:150+n%40]
		binary.LittleEndian.PutUint64(op.Value, n)
	}
	if err := d.s.Submit(op); err != nil {
		panic(err) // the window is below the session's
	}
}

// run starts n operations more and keeps the window full; wait ends it.
func (d *driver) run(n int) {
	for i := range d.ops {
		if n > 0 {
			d.submit(&d.ops[i])
			n--
		}
	}
	for d.s.Outstanding() > 0 {
		got := d.s.Poll(d.done[:])
		for _, op := range d.done[:got] {
			if op.Err != nil && op.Err != ErrNotFound {
				d.errors++
				if errors.Is(op.Err, ErrDeadline) || errors.Is(op.Err, ErrUnknown) {
					d.late++
				}
			}
			if n > 0 {
				d.submit(op)
				n--
			}
		}
		if got == 0 {
			d.s.Wait(time.Second)
		}
	}
}

// skipUncounted skips a test of allocations where they say nothing.
func skipUncounted(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("missing feature: a count of allocations without the race detector's own")
	}
}

// mallocs counts what the whole process allocates while f runs. The collector
// empties the runtime's pools of what a parked select needs, so warm fills them
// again before the count begins.
func mallocs(warm, f func()) uint64 {
	var a, b runtime.MemStats
	runtime.GC()
	warm()
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.Mallocs - a.Mallocs
}

// The hot path allocates nothing: puts and gets with changing keys, values and
// lengths through session, worker, log, index, ring and two followers, for
// every model. The whole process is counted, so a few objects are allowed for:
// what the runtime makes for a parked select, and a segment's header. Fewer
// than there are bursts, so one per burst would show. A process that is stopped
// for a while has operations that run into their deadlines, which is another
// path: the count begins again then, a few times.
func TestHotPathAllocatesNothing(t *testing.T) {
	skipUncounted(t)
	const ops, allowed, rounds = 40_000, 100, 5
	for _, model := range proto.Models() {
		for _, shards := range []int{1, 2} {
			t.Run(fmt.Sprint(model, "-", shards), func(t *testing.T) {
				r := newRig(t, rigOptions{nodes: 3, shards: shards, model: model, spin: 20, poolBytes: 32 << 20})
				d := newDriver(r.nodes[0].host, 128, 2000, 3)
				d.run(20_000) // queues, timers and buffers reach their sizes
				var got uint64
				for round := 1; ; round++ {
					d.errors, d.late = 0, 0
					got = mallocs(func() { d.run(5000) }, func() { d.run(ops) })
					if d.late == 0 || d.late < d.errors || round == rounds {
						break
					}
					t.Logf("counted again: %d operations ran into their deadlines (%d allocations)", d.late, got)
				}
				if got > allowed {
					t.Errorf("%d allocations in %d operations", got, ops)
				}
				if d.errors > 0 {
					t.Errorf("%d operations failed, %d of them late", d.errors, d.late)
				}
				t.Logf("%d allocations in %d operations", got, ops)
				d.s.Close()
			})
		}
	}
}

// The read path in the caller's goroutine, all ways to call it.
func TestReadPathAllocatesNothing(t *testing.T) {
	skipUncounted(t)
	r := newRig(t, rigOptions{nodes: 1, spin: 1})
	d := newDriver(r.nodes[0].host, 64, 1000, 0)
	d.run(4000)
	d.s.Close()
	s := r.nodes[0].host.NewSession()
	defer s.Close()
	key, dst := make([]byte, 24), make([]byte, 0, 256)
	var op Op
	done := make([]*Op, 1)
	found, n := 0, uint64(0)
	pass := func() {
		for range 1000 {
			n++
			id := n * 0x9E3779B97F4A7C15 % 1000
			k := key[:12+id%12]
			binary.LittleEndian.PutUint64(k, id)
			if v, _, err := s.Get(k, dst[:0]); err == nil && len(v) >= 150 {
				found++
			}
			op.Kind, op.Key, op.Value = OpGet, k, dst[:0]
			if err := s.Submit(&op); err != nil || s.Poll(done) != 1 || done[0] != &op {
				t.Fatal("a read of an unlocked key was not answered at once", err)
			}
			if op.Err == nil {
				found++
			}
		}
	}
	if got := testing.AllocsPerRun(20, pass); got != 0 {
		t.Errorf("%v allocations in 2000 reads", got)
	}
	if found == 0 {
		t.Error("nothing was found")
	}
	t.Logf("%d reads found a value", found)
	bursts := newDriver(r.nodes[0].host, 256, 1000, 8)
	defer bursts.s.Close()
	bursts.run(4000)
	if got := testing.AllocsPerRun(20, func() { bursts.run(2000) }); got != 0 || bursts.errors > 0 {
		t.Errorf("%v allocations in 2000 reads in bursts, %d errors", got, bursts.errors)
	}
}
