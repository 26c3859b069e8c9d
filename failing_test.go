package healkv_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/pmem"
)

// events counts those of a name.
func events(n *healkv.Node, name string) (k int) {
	for _, e := range n.Status().Events {
		if e.Name == name {
			k++
		}
	}
	return k
}

// write puts keys from..to through a node; every one must be taken.
func write(t *testing.T, n *healkv.Node, from, to int) {
	t.Helper()
	s := n.NewSession()
	defer s.Close()
	for k := from; k < to; k++ {
		for began := time.Now(); ; {
			_, err := s.Put([]byte(fmt.Sprintf("key-%d", k)), bytes.Repeat([]byte{byte(k)}, 300), 0)
			if err == nil {
				break
			}
			if !errors.Is(err, healkv.ErrTryAgain) && !errors.Is(err, healkv.ErrUnknown) || time.Since(began) > 15*time.Second {
				t.Fatalf("key %d: %v", k, err)
			}
		}
	}
}

// alike waits until all nodes hold the same, n keys of it.
func (g *group) alike(n uint64) {
	g.t.Helper()
	await(g.t.(*testing.T), "equal contents", func() bool {
		d := g.nodes[0].Digest()
		for _, x := range g.nodes {
			if x.Digest() != d {
				return false
			}
		}
		return d.Keys == n && d.Locked == 0
	})
}

// A device that fails ends a life, not the node: the others go on, the node
// tries again by itself and longer each time, says why it is away, and heals by
// range as soon as the device works.
func TestFailedFlushIsALife(t *testing.T) {
	g := newGroup(t, 3, 2, proto.Synchronous, 64<<20)
	var bad atomic.Bool
	g.cfgs[1].OnMap(func(shard int, r *pmem.Region) {
		r.SetSyncHook(func() error {
			if shard == 1 && bad.Load() {
				return syscall.EIO
			}
			return nil
		})
	})
	g.start()
	write(t, g.nodes[0], 0, 100)
	bad.Store(true)
	write(t, g.nodes[2], 100, 300)
	await(t, "a third failure", func() bool {
		select {
		case <-g.nodes[1].Done():
			t.Fatal("the node has stopped:", g.nodes[1].Err())
		default:
		}
		f := g.nodes[1].Status().Failing
		return f != nil && f.Tries >= 3
	})
	write(t, g.nodes[0], 300, 400)
	s := g.nodes[1].Status()
	if s.Serving || s.Failing == nil || !bytes.Contains([]byte(s.Failing.Why), []byte("input/output error")) {
		t.Errorf("while its device fails: serving %v, %+v", s.Serving, s.Failing)
	}
	session := g.nodes[1].NewSession()
	if _, _, err := session.Get([]byte("key-1"), nil); !errors.Is(err, healkv.ErrTryAgain) {
		t.Errorf("read at the node meanwhile: %v", err)
	}
	session.Close()
	bad.Store(false)
	g.ready(1)
	await(t, "the way back", func() bool { s := g.nodes[1].Status(); return s.Failing == nil && s.LastRecovery != nil })
	s = g.nodes[1].Status()
	if s.LastRecovery.Kind != "heal" || s.Error != "" || s.Counters["failures"] < 3 {
		t.Errorf("back by %q, error %q, %d failures", s.LastRecovery.Kind, s.Error, s.Counters["failures"])
	}
	g.alike(400)
	t.Logf("%d failures, %d of pools in use; then healed by range, %d records", s.Counters["failures"], events(g.nodes[1], "pool_failed"), s.LastRecovery.Records)
}

// page is the n-th whole page of a region behind the place of a log position.
func page(t *testing.T, p *pmem.Pool, pos uint64, n int) []byte {
	t.Helper()
	off, ok := p.Store().Log().ArenaOffset(pos)
	if !ok {
		t.Fatal("no place for position", pos)
	}
	_, base := p.Exposed()
	at := (base+off+int64(os.Getpagesize())-1)/int64(os.Getpagesize()) + int64(n)
	return p.Region().Bytes()[at*int64(os.Getpagesize()):][:os.Getpagesize()]
}

// protect makes pages of a mapping fault, as bad media would. The next opening
// of the pool maps it anew, and the fault is gone.
func protect(t *testing.T, b []byte) {
	t.Helper()
	if err := unix.Mprotect(b, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
}

// A fault under a reader is an error for that reader and the end of the life.
// The program goes on, with clear errors, and so does the node after a while.
func TestFaultUnderAReader(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	g.start()
	p := g.nodes[1].Pool(0)
	tail := p.Store().Tail()
	write(t, g.nodes[0], 0, 200)
	g.alike(200)
	protect(t, page(t, p, tail, 2))
	s := g.nodes[1].NewSession()
	defer s.Close()
	failed := 0
	for k := range 200 {
		_, _, err := s.Get([]byte(fmt.Sprintf("key-%d", k)), nil)
		if errors.Is(err, healkv.ErrPoolFailed) {
			failed++
		} else if err != nil && !errors.Is(err, healkv.ErrTryAgain) {
			t.Fatalf("key %d: %v", k, err)
		}
	}
	if failed == 0 {
		t.Error("no reader met the fault")
	}
	await(t, "another life", func() bool { return g.nodes[1].Status().Counters["failures"] > 0 })
	g.ready(1)
	g.alike(200)
	if events(g.nodes[1], "pool_failed") != 1 {
		t.Errorf("events: %v", g.nodes[1].Status().Events)
	}
}

// A fault in the worker in the middle of a write: nobody may say that the write
// was not applied, and every operation ends.
func TestFaultInAWrite(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	g.start()
	write(t, g.nodes[0], 0, 50)
	g.alike(50)
	p := g.nodes[1].Pool(0)
	protect(t, page(t, p, p.Store().Tail()-16, 1))
	s := g.nodes[1].NewSession()
	_, err := s.Put([]byte("large"), make([]byte, 100<<10), 0)
	if !errors.Is(err, healkv.ErrUnknown) {
		t.Errorf("a write that was cut by a fault: %v", err)
	}
	s.Close()
	await(t, "another life", func() bool { return g.nodes[1].Status().Counters["failures"] > 0 })
	g.ready(1)
	write(t, g.nodes[2], 50, 60)
	await(t, "equal contents", func() bool {
		d := g.nodes[0].Digest()
		return d.Locked == 0 && d.Keys >= 60 && d == g.nodes[1].Digest() && d == g.nodes[2].Digest()
	})
}

// A buddy that cannot read its own log says so, ends its life and comes back;
// the recovering node takes another one.
func TestFaultOfTheBuddy(t *testing.T) {
	g := newGroup(t, 3, 1, proto.Synchronous, 64<<20)
	g.start()
	write(t, g.nodes[0], 0, 50)
	if err := g.nodes[1].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var tails [3]uint64
	for _, i := range []int{0, 2} {
		tails[i] = g.nodes[i].Pool(0).Store().Tail()
	}
	write(t, g.nodes[0], 50, 250)
	for _, i := range []int{0, 2} { // whichever is asked
		protect(t, page(t, g.nodes[i].Pool(0), tails[i], 3))
	}
	if err := g.nodes[1].Resume(); err != nil {
		t.Fatal(err)
	}
	await(t, "a failure of a buddy", func() bool {
		return g.nodes[0].Status().Counters["failures"]+g.nodes[2].Status().Counters["failures"] > 0
	})
	for i := range g.nodes {
		g.ready(i)
	}
	g.alike(250)
	t.Logf("buddies failed: %d and %d times", g.nodes[0].Status().Counters["failures"], g.nodes[2].Status().Counters["failures"])
}

// What depends on the state of the machine is tried again, what is wrong with
// what a node was given is not.
func TestFinal(t *testing.T) {
	full := fmt.Errorf("%w: %w", replica.ErrIndexFull, pmem.ErrNoSpace)
	for _, x := range []struct {
		err         error
		first, then bool // final in the first life, in a later one
	}{
		{fmt.Errorf("shard 0: %w: %w", pmem.ErrFlush, syscall.EIO), false, false},
		{fmt.Errorf("shard 0: %w", pmem.ErrFault), false, false},
		{fmt.Errorf("%w: 12 bytes", pmem.ErrNoSpace), false, false},
		{&os.PathError{Op: "open", Path: "begun", Err: syscall.ENOSPC}, false, false},
		{&os.SyscallError{Syscall: "socket", Err: syscall.EMFILE}, false, false},
		{&os.SyscallError{Syscall: "bind", Err: syscall.EADDRINUSE}, true, false},
		{&os.PathError{Op: "open", Path: "run", Err: syscall.EACCES}, true, false},
		{replica.ErrIndexFull, true, true},
		{full, false, false},
		{pmem.ErrForeign, true, true},
		{pmem.ErrLayout, true, true},
		{errors.New("the pool of another cluster's past"), true, true},
	} {
		if got := healkv.Final(x.err, false); got != x.first {
			t.Errorf("in the first life: %v: final %v", x.err, got)
		}
		if got := healkv.Final(x.err, true); got != x.then {
			t.Errorf("in a later life: %v: final %v", x.err, got)
		}
	}
}

// The pauses between lives that fail double up to half a minute.
func TestFailPause(t *testing.T) {
	var got []time.Duration
	for tries := 1; tries <= 12; tries++ {
		got = append(got, healkv.FailPause(tries))
	}
	if got[0] != 100*time.Millisecond || got[3] != 800*time.Millisecond || got[11] != 30*time.Second || !slices.IsSorted(got) {
		t.Errorf("pauses: %v", got)
	}
}
