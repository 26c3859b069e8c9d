package tcp

import (
	"testing"
	"time"

	"healkv/rdma"
)

// A burst costs one writev per peer, however many entries and whatever number of
// watermarks it has, and the receiver one epoll_pwait and one readv per peer; a
// burst without news costs nothing.
func TestSystemCallsPerBurst(t *testing.T) {
	n := newNetwork(t, nil)
	a, b, c := n.end(0, 1), n.end(1, 1), n.end(2, 1)
	n.pair(a, b)
	n.pair(a, c)
	a.Feed(1, 0)
	a.Feed(2, 0)
	n.settle()
	readers := []*Endpoint{b, c}
	before := a.Stats()
	var was [2]Stats
	for i, r := range readers {
		r.Poll()
		was[i] = r.Stats()
	}
	const bursts = 500
	number, wraps := uint64(0), uint64(0)
	var took [2]uint64
	for burst := range uint64(bursts) {
		size := a.Out().Size()
		from := a.Out().Tail()
		for i := range 1 + burst%7 {
			if !put(a, number, 16*int(1+(burst+i)%40)) {
				t.Fatal("ring full")
			}
			number++
		}
		if from/size != (a.Out().Tail()-1)/size {
			wraps++
		}
		a.Publish()
		for _, p := range []int{1, 2} {
			a.PublishMarks(p, &rdma.Marks{Epoch: 1, Visible: burst, Flushed: burst})
			a.PublishMarks(p, &rdma.Marks{Epoch: 1, Visible: burst + 1, Flushed: burst})
		}
		a.WakePeers()
		a.WakePeers() // nothing new
		a.Poll()
		for i, r := range readers {
			for began := time.Now(); ; { // until it is there
				if took[i] = take(t, r, 0, took[i]); took[i] == number {
					break
				}
				if time.Since(began) > patience {
					t.Fatal("a burst does not arrive")
				}
			}
		}
		a.Out().Reclaim(a.Out().Tail())
	}
	s := a.Stats()
	if got := s.Writes - before.Writes; got != 2*bursts || s.PartialWrites != 0 || s.Frames-before.Frames != 2*bursts {
		t.Errorf("%d bursts to 2 peers: %d writev, %d partial, %d frames", bursts, got, s.PartialWrites, s.Frames-before.Frames)
	}
	for i, r := range readers {
		x := r.Stats()
		if got := x.Reads - was[i].Reads; got > bursts+bursts/10 || x.Spilled > 0 {
			t.Errorf("reader %d: %d readv for %d bursts, %d bytes copied", i, got, bursts, x.Spilled)
		}
	}
	if wraps < 3 {
		t.Errorf("only %d bursts around the ring's end", wraps)
	}
	t.Logf("%d bursts to 2 peers, %d entries, %d around the end: %d writev, %d readv", bursts, number, wraps, s.Writes-before.Writes,
		b.Stats().Reads-was[0].Reads)
}

// Bursts that pile up while the reader looks elsewhere are read together; what
// came with the frame before is copied to its place.
func TestManyFramesInOneRead(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := n.end(0, 1), n.end(1, 1)
	n.pair(a, b)
	a.Feed(1, 0)
	n.settle()
	number, took := uint64(0), uint64(0)
	for round := range uint64(40) {
		for burst := range 30 {
			for range 1 + burst%3 {
				if !put(a, number, 16*int(1+(number+round)%30)) {
					t.Fatal("ring full")
				}
				number++
			}
			a.Publish()
			a.PublishMarks(1, &rdma.Marks{Visible: number})
			a.WakePeers()
		}
		n.settle()
		if took = take(t, b, 0, took); took != number {
			t.Fatalf("took %d of %d", took, number)
		}
		a.Out().Reclaim(a.Out().Tail())
	}
	s := b.Stats()
	if s.Spilled == 0 || s.Corrupt != 0 || s.Reads > a.Stats().Frames {
		t.Errorf("%+v", s)
	}
	t.Logf("%d entries in %d frames: %d readv, %d of %d bytes copied", number, a.Stats().Frames, s.Reads, s.Spilled, s.BytesIn)
}

// A peer that does not read costs its sender nothing but the ring: the socket
// fills up, newer watermarks replace older ones, and all of it goes on when
// there is room, from Poll alone.
func TestFullSocket(t *testing.T) {
	for name, c := range bothKinds() {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, c)
			n.ring = 64 << 20
			a, b := n.end(0, 1), n.end(1, 1)
			n.pair(a, b)
			a.Feed(1, 0)
			n.settle()
			number, took := uint64(0), uint64(0)
			for put(a, number, 4096) {
				number++
				a.Publish()
				a.PublishMarks(1, &rdma.Marks{Visible: number})
				a.WakePeers()
			}
			s := a.Stats()
			if s.Blocked == 0 || c == nil && s.PartialWrites == 0 || s.Frames >= number {
				t.Fatalf("the socket took 64 MiB: %+v", s)
			}
			var m rdma.Marks
			for began := time.Now(); took < number || m.Visible < number; {
				a.Poll()
				took = take(t, b, 0, took)
				b.Marks(0, &m)
				if time.Since(began) > patience {
					t.Fatalf("took %d of %d, watermark %d; %+v", took, number, m.Visible, a.Stats())
				}
			}
			s = a.Stats()
			t.Logf("%d entries of 4 KiB: %d frames, %d writes, %d blocked, %d partial", number, s.Frames, s.Writes, s.Blocked, s.PartialWrites)
		})
	}
}
