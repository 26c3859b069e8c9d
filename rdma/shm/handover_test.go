package shm

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"healkv/rdma"
)

// produce sends n numbered entries and waits until the peer has applied all,
// sleeping without timeout whenever there is nothing to do. Every lost wake-up
// is a hang. It gives up when stop is set.
func produce(e *Endpoint, peer int, n uint64, stop *atomic.Bool) {
	var m rdma.Marks
	e.Feed(peer, 0)
	done := uint64(0)
	x := uint64(88172645463325252)
	end := uint64(0)
	for (done < n || m.Applied < end) && !stop.Load() {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		worked := false
		for range 1 + x%4 {
			if done == n {
				break
			}
			dst, to, ok := e.Out().Next(16 + int(x>>8%3)*16)
			if !ok {
				break
			}
			binary.LittleEndian.PutUint64(dst, done)
			binary.LittleEndian.PutUint64(dst[8:], uint64(len(dst)))
			done++
			end = to
			worked = true
		}
		if worked {
			e.Publish()
			e.WakePeers()
		}
		e.Marks(peer, &m)
		e.Out().Reclaim(m.Applied)
		if worked && x>>32%8 != 0 {
			continue
		}
		// Nothing to do, or now and then for the sake of it: wait for an ack.
		e.PrepareSleep()
		before := m.Applied
		e.Marks(peer, &m)
		if m.Applied != before || m.Applied == e.Out().Tail() {
			e.CancelSleep()
			continue
		}
		e.Sleep(-1)
	}
}

func consume(e *Endpoint, peer int, n uint64) error {
	var mine rdma.Marks
	next := uint64(0)
	for next < n {
		e.Poll()
		got, err := takeAll(e, peer, &next)
		if err != nil {
			return err
		}
		if got > 0 {
			mine.Applied = e.Mirror(peer).Cursor()
			e.PublishMarks(peer, &mine)
			e.WakePeers()
			continue
		}
		e.PrepareSleep()
		e.Poll()
		if m := e.Mirror(peer); m != nil && m.Limit() != m.Cursor() {
			e.CancelSleep()
			continue
		}
		e.Sleep(-1)
	}
	return nil
}

func takeAll(e *Endpoint, peer int, next *uint64) (got int, err error) {
	m := e.Mirror(peer)
	if m == nil {
		return 0, nil
	}
	for {
		w, err := m.Window()
		if err != nil || w == nil {
			return got, err
		}
		if v := binary.LittleEndian.Uint64(w); v != *next {
			return got, fmt.Errorf("entry %d where %d was due", v, *next)
		}
		m.Advance(int(binary.LittleEndian.Uint64(w[8:])))
		*next++
		got++
	}
}

func handovers(t *testing.T) uint64 {
	if s := os.Getenv("HEALKV_SHM_HANDOVERS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() || raceEnabled {
		return 50_000
	}
	return 1_000_000
}

// Both directions at once in one process, two goroutines, infinite waits.
func TestHandoverGoroutines(t *testing.T) {
	bothDirs(t, func(t *testing.T, d *Dir) {
		n := handovers(t)
		a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
		pairUp(t, a, b)
		errs := make(chan error, 1)
		var stop atomic.Bool
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			err := consume(b, 0, n)
			if err != nil {
				stop.Store(true)
				a.Wake()
			}
			errs <- err
		}()
		produce(a, 1, n, &stop)
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		ca, cb := a.Counters(), b.Counters()
		if ca.Sleeps == 0 || cb.Sleeps == 0 || ca.Wakes == 0 || cb.Wakes == 0 {
			t.Fatalf("nobody slept or woke: producer %+v, consumer %+v", ca, cb)
		}
		t.Logf("%d entries; producer slept %d and woke %d times, consumer %d and %d", n, ca.Sleeps, ca.Wakes, cb.Sleeps, cb.Wakes)
	})
}

// The same between two processes.
func TestHandoverProcesses(t *testing.T) {
	n := handovers(t)
	d := runDir(t)
	a := newEnd(t, d, 0, 1)
	cmd := startHelper(t, "consume", d, n)
	awaitPeer(t, a, 1)
	ended := make(chan error, 1)
	var stop atomic.Bool
	go func() {
		err := cmd.Wait()
		if err != nil {
			stop.Store(true)
			a.Wake()
		}
		ended <- err
	}()
	produce(a, 1, n, &stop)
	if err := <-ended; err != nil {
		t.Fatalf("consumer process: %v", err)
	}
	c := a.Counters()
	if c.Sleeps == 0 || c.Wakes == 0 {
		t.Fatalf("nobody slept or woke: %+v", c)
	}
	t.Logf("%d entries between processes; producer slept %d and woke %d times", n, c.Sleeps, c.Wakes)
}

// A wake-up for every single watermark, there and back, between two processes
// that always sleep without timeout.
func TestPingPongSleeping(t *testing.T) {
	n := handovers(t) / 20
	d := runDir(t)
	a := newEnd(t, d, 0, 1)
	cmd := startHelper(t, "echo-sleep", d, n)
	awaitPeer(t, a, 1)
	ping(a, 1, n, true)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	c := a.Counters()
	if c.Sleeps < n/10 {
		t.Fatalf("slept only %d times", c.Sleeps)
	}
	t.Logf("%d round trips, slept %d and woke %d times", n, c.Sleeps, c.Wakes)
}

// startHelper runs this binary as node 1 in the directory.
func startHelper(t testing.TB, mode string, d *Dir, n uint64) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], strconv.FormatUint(n, 10))
	cmd.Env = append(os.Environ(), "HEALKV_SHM_HELPER="+mode, "HEALKV_SHM_DIR="+d.Path())
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// awaitPeer attaches the peer's first life as soon as it is there.
func awaitPeer(t testing.TB, e *Endpoint, peer int) {
	for {
		l, err := e.Prepare(peer, 1)
		if err == nil {
			e.Attach(l)
			return
		}
		runtime.Gosched()
	}
}

func helper(mode string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "helper:", mode, err)
		return 1
	}
	runtime.LockOSThread()
	n, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		return fail(err)
	}
	d, err := Open(os.Getenv("HEALKV_SHM_DIR"))
	if err != nil {
		return fail(err)
	}
	if mode == "live" {
		return helperLive(d)
	}
	e, err := New(Config{Dir: d, Node: 1, Nodes: 3, Incarnation: 1, RingBytes: 1 << 16})
	if err != nil {
		return fail(err)
	}
	l, err := e.Prepare(0, 1)
	if err != nil {
		return fail(err)
	}
	e.Attach(l)
	switch mode {
	case "consume":
		err = consume(e, 0, n)
	case "echo-spin", "echo-sleep":
		err = echo(e, 0, n, mode == "echo-sleep")
	default:
		err = fmt.Errorf("unknown mode")
	}
	if err != nil {
		return fail(err)
	}
	return 0
}

// echo answers each Visible with the same Applied, n times.
func echo(e *Endpoint, peer int, n uint64, sleep bool) error {
	var in, out rdma.Marks
	for out.Applied < n {
		e.Marks(peer, &in)
		if in.Visible == out.Applied {
			if sleep {
				e.PrepareSleep()
				if e.Marks(peer, &in); in.Visible == out.Applied {
					e.Sleep(-1)
				} else {
					e.CancelSleep()
				}
			}
			continue
		}
		out.Applied = in.Visible
		e.PublishMarks(peer, &out)
		e.WakePeers()
	}
	return nil
}

// ping is echo's other side: n round trips.
func ping(e *Endpoint, peer int, n uint64, sleep bool) {
	var in, out rdma.Marks
	for i := uint64(1); i <= n; i++ {
		out.Visible = i
		e.PublishMarks(peer, &out)
		e.WakePeers()
		for e.Marks(peer, &in); in.Applied != i; e.Marks(peer, &in) {
			if !sleep {
				continue
			}
			e.PrepareSleep()
			if e.Marks(peer, &in); in.Applied == i {
				e.CancelSleep()
				break
			}
			e.Sleep(-1)
		}
	}
}
