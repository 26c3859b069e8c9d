package shm

import (
	"encoding/binary"
	"fmt"
	"testing"

	"healkv/rdma"
)

func benchEnds(b *testing.B) (x, y *Endpoint) {
	d := runDir(b)
	x, y = newEnd(b, d, 0, 1), newEnd(b, d, 1, 1)
	pairUp(b, x, y)
	x.Feed(1, 0)
	y.Poll()
	return x, y
}

// BenchmarkEntry is one entry of 192 bytes through all of the datapath of both
// sides, in one goroutine: next, publish, poll, window, advance, acks, reclaim.
// The floor beside it copies the same bytes once.
func BenchmarkEntry(b *testing.B) {
	const entry = 192
	var src [entry]byte
	for _, burst := range []int{1, 16} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			x, y := benchEnds(b)
			var in, out rdma.Marks
			n := uint64(0)
			b.ReportAllocs()
			b.SetBytes(entry)
			for i := 0; b.Loop(); i++ {
				dst, _, _ := x.Out().Next(entry)
				copy(dst, src[:])
				binary.LittleEndian.PutUint64(dst, n)
				n++
				if i%burst != 0 {
					continue
				}
				x.Publish()
				x.WakePeers()
				y.Poll()
				m := y.Mirror(0)
				for w, _ := m.Window(); w != nil; w, _ = m.Window() {
					m.Advance(entry)
				}
				out.Applied = m.Cursor()
				y.PublishMarks(0, &out)
				y.WakePeers()
				x.Marks(1, &in)
				x.Out().Reclaim(in.Applied)
			}
		})
	}
	b.Run("floor=memcpy", func(b *testing.B) {
		ring := make([]byte, 1<<16)
		b.SetBytes(entry)
		at := 0
		for b.Loop() {
			copy(ring[at:at+entry], src[:])
			at = (at + entry) % (len(ring) - entry)
		}
	})
}

// BenchmarkMarks is what a burst pays per peer: a line with four changed
// numbers written, a line read, an idle look at a peer.
func BenchmarkMarks(b *testing.B) {
	x, y := benchEnds(b)
	var m rdma.Marks
	b.Run("publish", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Applied++
			m.Durable++
			m.Visible++
			m.Stable++
			x.PublishMarks(1, &m)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			y.Marks(0, &m)
		}
	})
	b.Run("poll-idle", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			y.Poll()
		}
	})
	b.Run("wake-awake", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			y.Wake()
		}
	})
}

// BenchmarkRoundTrip is a watermark there and one back between two processes.
// Spinning needs a processor for each.
func BenchmarkRoundTrip(b *testing.B) {
	for _, mode := range []string{"echo-spin", "echo-sleep"} {
		b.Run(mode, func(b *testing.B) {
			d := runDir(b)
			x := newEnd(b, d, 0, 1)
			cmd := startHelper(b, mode, d, uint64(b.N))
			awaitPeer(b, x, 1)
			b.ReportAllocs()
			b.ResetTimer()
			ping(x, 1, uint64(b.N), mode == "echo-sleep")
			b.StopTimer()
			if err := cmd.Wait(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRemoteRead reads a peer's pool in pieces of 64 KiB, beside the same
// copy without anything around it.
func BenchmarkRemoteRead(b *testing.B) {
	const piece, size = 64 << 10, 64 << 20
	d := runDir(b)
	x, y := newEnd(b, d, 0, 1), newEnd(b, d, 1, 1)
	m, err := d.create(shardName(9, 1, 0, extRing), identity{kindRing, 9, 1, 0, size})
	if err != nil {
		b.Fatal(err)
	}
	defer m.close()
	if err := y.Expose(rdma.Exposed{Path: d.Path() + "/" + shardName(9, 1, 0, extRing), Base: pageBytes, Size: size}); err != nil {
		b.Fatal(err)
	}
	r, err := x.Remote(1, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	dst := make([]byte, piece)
	b.Run("ReadAt", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(piece)
		for i := 0; b.Loop(); i++ {
			if _, err := r.ReadAt(dst, int64(i*piece%size)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor=memcpy", func(b *testing.B) {
		b.SetBytes(piece)
		for i := 0; b.Loop(); i++ {
			at := pageBytes + i*piece%size
			copy(dst, m.mem[at:at+piece])
		}
	})
}
