package tcp

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"healkv/rdma"
)

func benchPair(b *testing.B, c *tls.Config) (x, y *Endpoint) {
	n := newNetwork(b, c)
	n.ring = 4 << 20
	x, y = n.end(0, 1), n.end(1, 1)
	n.pair(x, y)
	x.Feed(1, 0)
	y.Feed(0, 0)
	n.settle()
	x.Poll()
	y.Poll()
	return x, y
}

// exchange sends an entry of size bytes and awaits the peer's, rounds times;
// the second one answers. Between looks it yields, or sleeps.
func exchange(e *Endpoint, peer, size, rounds int, first, sleep bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	m := e.Mirror(peer)
	var in, out rdma.Marks
	look := func() bool {
		e.Poll()
		w, err := m.Window()
		if err != nil {
			panic(err)
		}
		return w != nil
	}
	say := func() {
		e.Marks(peer, &in)
		e.Out().Reclaim(in.Applied)
		if _, _, ok := e.Out().Next(size); !ok {
			panic("ring full")
		}
		e.Publish()
		out.Applied = m.Cursor()
		e.PublishMarks(peer, &out)
		e.WakePeers()
	}
	for range rounds {
		if first {
			say()
		}
		for !look() {
			if !sleep {
				unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
				continue
			}
			e.PrepareSleep()
			if look() {
				e.CancelSleep()
				break
			}
			e.Sleep(-1)
		}
		m.Advance(size)
		if !first {
			say()
		}
	}
}

// BenchmarkRoundTrip is an entry of 64 bytes there and one back between two
// workers, each on a thread of its own, beside the same bytes over a plain
// connection: as blocking goroutines of package net, and as two threads that
// spin on nonblocking sockets.
func BenchmarkRoundTrip(b *testing.B) {
	const size = 64
	for _, c := range []struct {
		name  string
		tls   bool
		sleep bool
	}{{"spin", false, false}, {"sleep", false, true}, {"tls-spin", true, false}, {"tls-sleep", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			var conf *tls.Config
			if c.tls {
				conf = mutual()
			}
			x, y := benchPair(b, conf)
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan struct{})
			go func() {
				exchange(y, 0, size, b.N, false, c.sleep)
				close(done)
			}()
			exchange(x, 1, size, b.N, true, c.sleep)
			<-done
			b.StopTimer()
			if s := x.Stats(); s.Writes > uint64(b.N)+10 {
				b.Errorf("%d writes for %d bursts", s.Writes, b.N)
			}
		})
	}
	for _, bytes := range []int{size, size + frameBytes} {
		b.Run(fmt.Sprintf("floor=net-%d", bytes), func(b *testing.B) { plain(b, bytes, echoNet) })
		b.Run(fmt.Sprintf("floor=spin-%d", bytes), func(b *testing.B) { plain(b, bytes, echoSpin) })
	}
}

// plain is the ping-pong of two sockets without anything around them.
func plain(b *testing.B, size int, echo func(x *net.TCPConn, size, rounds int, first bool)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	defer y.Close()
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan struct{})
	go func() {
		echo(y.(*net.TCPConn), size, b.N, false)
		close(done)
	}()
	echo(x.(*net.TCPConn), size, b.N, true)
	<-done
}

func echoNet(x *net.TCPConn, size, rounds int, first bool) {
	buf := make([]byte, size)
	for range rounds {
		if first {
			x.Write(buf)
		}
		if _, err := io.ReadFull(x, buf); err != nil {
			panic(err)
		}
		if !first {
			x.Write(buf)
		}
	}
}

func echoSpin(x *net.TCPConn, size, rounds int, first bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	rc, err := x.SyscallConn()
	if err != nil {
		panic(err)
	}
	rc.Control(func(s uintptr) {
		fd := int(s)
		buf := make([]byte, size)
		var v vector
		v.add(buf)
		for range rounds {
			if first {
				writev(fd, &v)
			}
			for {
				n, errno := readv(fd, &v)
				if n == size {
					break
				}
				if errno != again {
					panic(errno)
				}
				unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			}
			if !first {
				writev(fd, &v)
			}
		}
	})
}

// BenchmarkBurst is what the two workers pay for a burst, in one goroutine:
// entries of 192 bytes, published, sent, received, taken; per entry.
func BenchmarkBurst(b *testing.B) {
	const entry = 192
	for _, burst := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("entries=%d", burst), func(b *testing.B) {
			x, y := benchPair(b, nil)
			m := y.Mirror(0)
			var out rdma.Marks
			b.ReportAllocs()
			b.SetBytes(entry)
			for i := 0; b.Loop(); i++ {
				x.Out().Next(entry)
				if i%burst != 0 {
					continue
				}
				x.Publish()
				out.Visible++
				x.PublishMarks(1, &out)
				x.WakePeers()
				for m.Cursor() < x.Out().Tail() {
					y.Poll()
					for w, _ := m.Window(); w != nil; w, _ = m.Window() {
						m.Advance(entry)
					}
				}
				x.Out().Reclaim(m.Cursor())
			}
		})
	}
	b.Run("poll-idle", func(b *testing.B) {
		x, _ := benchPair(b, nil)
		b.ReportAllocs()
		for b.Loop() {
			x.Poll()
		}
	})
}

// BenchmarkRemoteRead reads a peer's memory in pieces of 1 MiB over loopback,
// beside the same bytes through a plain connection.
func BenchmarkRemoteRead(b *testing.B) {
	const piece, size = 1 << 20, 32 << 20
	mem := text(size)
	b.Run("ReadAt", func(b *testing.B) {
		n := newNetwork(b, nil)
		x, y := n.end(0, 1), n.end(1, 1)
		expose(b, y, mem)
		r, err := x.Remote(1, 1)
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		dst := make([]byte, piece)
		b.SetBytes(piece)
		for i := 0; b.Loop(); i++ {
			if _, err := r.ReadAt(dst, int64(i*piece%size)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(r.(*Remote).BytesOnWire())/float64(r.BytesRead()), "wire/raw")
	})
	b.Run("floor=net", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		go func() {
			y, err := l.Accept()
			for i := 0; err == nil; i++ {
				_, err = y.Write(mem[i*piece%size:][:piece])
			}
		}()
		x, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer x.Close()
		dst := make([]byte, piece)
		b.SetBytes(piece)
		for b.Loop() {
			if _, err := io.ReadFull(x, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRemoteRecords reads what a recovery reads: records of 208 bytes with
// something superseded between them, 256 KiB of them at a time, each by itself
// and all with one call.
func BenchmarkRemoteRecords(b *testing.B) {
	const batch, size, length, step = 256 << 10, 32 << 20, 208, 416
	mem := noise(size)
	var ranges []rdma.Range
	for n := 0; n+length <= batch; n += length {
		ranges = append(ranges, rdma.Range{Off: int64(len(ranges) * step), Len: length})
	}
	dst := make([]byte, len(ranges)*length)
	for _, c := range []struct {
		name string
		read func(r rdma.Remote) error
	}{
		{"each", func(r rdma.Remote) error {
			for i, x := range ranges {
				if _, err := r.ReadAt(dst[i*length:][:length], x.Off); err != nil {
					return err
				}
			}
			return nil
		}},
		{"gathered", func(r rdma.Remote) error { return r.Gather(dst, ranges) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := newNetwork(b, nil)
			x, y := n.end(0, 1), n.end(1, 1)
			expose(b, y, mem)
			r, err := x.Remote(1, 1)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				if err := c.read(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
