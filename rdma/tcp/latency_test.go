package tcp

import (
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/rdma"
)

// entryBytes is the stream entry whose latency is told.
const entryBytes = 64

// latencyBlock is how many exchanges are timed together, before it is the other
// one's turn: what disturbs the machine disturbs both.
const latencyBlock = 200

// BenchmarkEntryLatency is one entry of 64 bytes: published, in the peer's mirror,
// and the peer's watermark back, each worker on a thread of its own. Beside it,
// in the same run and in turn with it, plain sockets over loopback: 64 bytes
// there and back; as many bytes as our frames have, there and back; and these
// found by epoll_wait before they are read, as by everybody who has several
// peers. The metrics are medians and their ratios.
//
// Expected: a leg of the plain one is a write and a read that finds something,
// with some reads before that find nothing. Ours is a writev, an epoll_wait that
// finds something and a readv, with an epoll_wait for each read that finds
// nothing, and two CRCs of 104 and 64 bytes: less than a microsecond more on 4 to
// 6. So 1.1 to 1.3 spinning, and 1.0 to 1.1 of the one with epoll. Asleep, both
// are woken by the kernel, which costs several times as much as all the rest: 1.0
// to 1.2.
func BenchmarkEntryLatency(b *testing.B) {
	for _, mode := range []struct {
		name  string
		sleep bool
		plain plainSide
	}{{"spin", false, spinning}, {"sleep", true, asleep}} {
		b.Run(mode.name, func(b *testing.B) {
			x, y := benchPair(b, nil)
			same, small, polled := plainPair(b), plainPair(b), plainPair(b)
			var entry, floor, floor64, floorPoll []float64
			for left := b.N; left > 0; left -= latencyBlock {
				n := min(left, latencyBlock)
				entry = append(entry, timed(n,
					func() { sayEntries(b, x, n, mode.sleep) },
					func() { hearEntries(b, y, n, mode.sleep) }))
				floor = append(floor, same.timed(b, n, frameBytes+entryBytes, frameBytes, mode.plain))
				floor64 = append(floor64, small.timed(b, n, entryBytes, entryBytes, mode.plain))
				if !mode.sleep {
					floorPoll = append(floorPoll, polled.timed(b, n, frameBytes+entryBytes, frameBytes, polling))
				}
			}
			e, f, f64 := median(entry), median(floor), median(floor64)
			// One system call more than these on either side would show in all else.
			for _, end := range []*Endpoint{x, y} {
				if s := end.Stats(); s.Writes > uint64(b.N)+10 || s.Reads > uint64(b.N)+10 {
					b.Errorf("%d writes and %d reads for %d entries", s.Writes, s.Reads, b.N)
				}
			}
			b.ReportMetric(0, "ns/op") // setting up in between is not the subject
			b.ReportMetric(e, "entry-ns")
			b.ReportMetric(f, "plain-ns")
			b.ReportMetric(f64, "plain64-ns")
			b.ReportMetric(e/f, "x-plain")
			b.ReportMetric(e/f64, "x-plain64")
			if !mode.sleep {
				p := median(floorPoll)
				b.ReportMetric(p, "epoll-ns")
				b.ReportMetric(e/p, "x-epoll")
			}
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// timed runs two sides, each on its thread, and says what an exchange took, ns.
func timed(n int, first, second func()) float64 {
	var wg sync.WaitGroup
	ready := make(chan struct{})
	wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		close(ready)
		second()
	})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	<-ready
	began := time.Now()
	first()
	took := time.Since(began)
	wg.Wait()
	return float64(took) / float64(n)
}

// until looks, yielding or sleeping between two looks, until there is something.
func until(e *Endpoint, sleep bool, look func() bool) {
	for e.Poll(); !look(); e.Poll() {
		if !sleep {
			unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			continue
		}
		e.PrepareSleep()
		e.Poll()
		if look() {
			e.CancelSleep()
			return
		}
		e.Sleep(-1)
	}
}

func sayEntries(b *testing.B, e *Endpoint, n int, sleep bool) {
	var in rdma.Marks
	for range n {
		if _, _, ok := e.Out().Next(entryBytes); !ok {
			b.Error("ring full")
			return
		}
		e.Publish()
		e.WakePeers()
		tail := e.Out().Tail()
		until(e, sleep, func() bool { e.Marks(1, &in); return in.Applied >= tail })
		e.Out().Reclaim(in.Applied)
	}
}

func hearEntries(b *testing.B, e *Endpoint, n int, sleep bool) {
	m := e.Mirror(0)
	var out rdma.Marks
	for range n {
		until(e, sleep, func() bool {
			w, err := m.Window()
			if err != nil {
				b.Error(err)
			}
			return w != nil || err != nil
		})
		m.Advance(entryBytes)
		out.Applied = m.Cursor()
		e.PublishMarks(0, &out)
		e.WakePeers()
	}
}

// sockets2 is the two ends of a connection without anything around it.
type sockets2 [2]*net.TCPConn

func plainPair(b *testing.B) (s sockets2) {
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
	b.Cleanup(func() { x.Close(); y.Close() })
	return sockets2{x.(*net.TCPConn), y.(*net.TCPConn)}
}

// plainSide sends and receives so many bytes n times; the first one begins.
type plainSide func(b *testing.B, c *net.TCPConn, n, out, in int, first bool)

// timed is a ping of some bytes and a pong of some, n times.
func (s sockets2) timed(b *testing.B, n, ping, pong int, side plainSide) float64 {
	return timed(n,
		func() { side(b, s[0], n, ping, pong, true) },
		func() { side(b, s[1], n, pong, ping, false) })
}

func asleep(b *testing.B, c *net.TCPConn, n, out, in int, first bool) {
	o, i := make([]byte, out), make([]byte, in)
	for range n {
		if first {
			c.Write(o)
		}
		if _, err := io.ReadFull(c, i); err != nil {
			b.Error(err)
			return
		}
		if !first {
			c.Write(o)
		}
	}
}

func spinning(b *testing.B, c *net.TCPConn, n, out, in int, first bool) {
	plainSpin(b, c, n, out, in, first, func(int) bool { return true })
}

// polling asks epoll before every read.
func polling(b *testing.B, c *net.TCPConn, n, out, in int, first bool) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		b.Error(err)
		return
	}
	defer unix.Close(ep)
	added := false
	var events [8]unix.EpollEvent
	plainSpin(b, c, n, out, in, first, func(fd int) bool {
		if !added {
			added = true
			if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP}); err != nil {
				b.Error(err)
			}
		}
		got, errno := ready(ep, events[:])
		return got > 0 || errno != 0
	})
}

// plainSpin reads when there is something, and yields when there is not.
func plainSpin(b *testing.B, c *net.TCPConn, n, out, in int, first bool, something func(fd int) bool) {
	rc, err := c.SyscallConn()
	if err != nil {
		b.Error(err)
		return
	}
	var o, i vector
	o.add(make([]byte, out))
	i.add(make([]byte, in))
	err = rc.Control(func(s uintptr) {
		fd := int(s)
		for range n {
			if first {
				writev(fd, &o)
			}
			for {
				if something(fd) {
					got, errno := readv(fd, &i)
					if got == in {
						break
					}
					if errno != again {
						b.Error(got, errno)
						return
					}
				}
				unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
			}
			if !first {
				writev(fd, &o)
			}
		}
	})
	if err != nil {
		b.Error(err)
	}
}
