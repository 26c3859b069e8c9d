package replica

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// The state machine's steps, each beside the floor: what must be copied and
// summed. A record of 16 bytes of key and 150 of value takes 240 bytes.
//
// Estimate, written before the first run: copying 240 bytes that are in the
// cache 8 ns, CRC-32C of 166 bytes 12 ns, of the header 6 ns. An INV: two CRCs
// (18), one more of the header for the log (6), the key's hash (8), one copy
// (8), the index word (a miss with many keys: 60 to 90), the record before, for
// its timestamp (another miss), queue and calls (20): 70 ns with few keys, 200
// with many. A write: two images, so two copies, three CRCs and the same index
// work: 90 and 220 ns. A VAL: one index word again, 15 and 60 ns.

const (
	benchKey   = 16
	benchValue = 150
	benchBatch = 512
)

var benchSizes = sizes{ring: 1 << 20, segment: 1 << 20, segments: 128, keys: 300_000}

func BenchmarkFloorCopy(b *testing.B) {
	src, dst := make([]byte, 1<<16), make([]byte, 1<<16)
	n := record.Bytes(benchKey, benchValue)
	b.ReportAllocs()
	i := 0
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t := cpu()
	for b.Loop() {
		copy(dst[i:i+n], src[i:i+n])
		i = (i + n) & (1<<15 - 1)
	}
	b.ReportMetric(float64(cpu()-t)/float64(b.N), "cpu-ns/op")
}

func BenchmarkFloorCRC(b *testing.B) {
	body := make([]byte, benchKey+benchValue)
	table := crc32.MakeTable(crc32.Castagnoli)
	b.ReportAllocs()
	sum := uint32(0)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t := cpu()
	for b.Loop() {
		sum = crc32.Update(sum, table, body)
	}
	b.ReportMetric(float64(cpu()-t)/float64(b.N), "cpu-ns/op")
	_ = sum
}

// cpu is the processor time of this thread: the machine may be shared.
func cpu() time.Duration {
	var t unix.Timespec
	unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// steps runs a coordinator and a follower in bursts and reports what one entry
// costs in each step, in processor time.
func steps(b *testing.B, keys int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := newRigOf(b, 2, proto.Synchronous, benchSizes)
	c, f := r.nodes[0], r.nodes[1]
	key, value := make([]byte, benchKey), make([]byte, benchValue)
	n := uint64(0)
	var write, inv, val, complete time.Duration
	burst := func() {
		t0 := cpu()
		for range benchBatch {
			n++
			binary.LittleEndian.PutUint64(key, n*0x9E3779B97F4A7C15%uint64(keys))
			binary.LittleEndian.PutUint64(value, n)
			hash := c.st.Hash(key)
			if a, _, _ := c.Write(record.Put, hash, key, value, 0, true, Handle(n)); a != Taken {
				b.Fatalf("admission %d", a)
			}
		}
		t1 := cpu()
		got, err := r.stream(0, 1)
		if got == 0 || err != nil {
			b.Fatal(got, err)
		}
		t2 := cpu()
		f.flush()
		c.flush()
		f.Advance()
		r.marks(1, 0)
		t3 := cpu()
		c.Advance()
		if d := c.Done(); len(d) != benchBatch {
			b.Fatalf("%d answers", len(d))
		}
		t4 := cpu()
		r.marks(0, 1)
		f.Advance()
		t5 := cpu()
		r.marks(1, 0)
		write, inv, complete, val = write+t1-t0, inv+t2-t1, complete+t4-t3, val+t5-t4
		for _, u := range r.nodes { // what was superseded is given back
			for range 4 {
				u.st.Clean(1<<18, u.CleanBounds(0), u.st.Flushed())
				u.flush()
			}
			u.Advance()
		}
		r.marks(1, 0)
	}
	for range 2*keys/benchBatch + 1 {
		burst()
	}
	write, inv, val, complete = 0, 0, 0, 0
	b.ReportAllocs()
	bursts := 0
	for b.Loop() {
		burst()
		bursts++
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(bursts*benchBatch) }
	b.ReportMetric(per(write), "ns/write")
	b.ReportMetric(per(inv), "ns/INV")
	b.ReportMetric(per(complete), "ns/completion")
	b.ReportMetric(per(val), "ns/VAL")
}

func BenchmarkSteps(b *testing.B) {
	for _, keys := range []int{1000, 100_000} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) { steps(b, keys) })
	}
}

// Watermarks of a burst in which nothing happened, six members: what every idle
// turn costs. Estimate: 40 ns a member.
func BenchmarkIdleAdvance(b *testing.B) {
	r := newRig(b, 6, proto.Synchronous)
	r.settle()
	b.ReportAllocs()
	for b.Loop() {
		r.nodes[0].Advance()
	}
}
