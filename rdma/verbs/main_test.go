//go:build verbs

package verbs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/bench/tally"
	"healkv/cgo/ibverbs"
	"healkv/rdma"
	"healkv/rdma/conformance"
)

// TestMain also is the other process of tests with two, wants every mapping and
// every queue pair given back, and says how many tests were left out.
func TestMain(m *testing.M) {
	if inc := os.Getenv("HEALKV_VERBS_HELPER"); inc != "" {
		os.Exit(helperProcess(inc))
	}
	code := m.Run()
	if n := leftOut.Load(); n > 0 {
		fmt.Printf("rdma/verbs: %d tests left out for want of what they need; scripts/lab/verbs.sh has it\n", n)
	}
	if n, q := mappings.Load(), lanes.Load(); code == 0 && (n != 0 || q != 0) {
		fmt.Fprintf(os.Stderr, "%d mappings and %d queue pairs left\n", n, q)
		code = 1
	}
	os.Exit(code)
}

func socketPair() ([2]int, error) {
	return unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// needDevice skips a test where there is no RDMA device; where one was declared
// (HEALKV_VERBS_DEVICE) its absence is a failure.
func needDevice(t testing.TB) rdma.Verbs {
	t.Helper()
	name := os.Getenv("HEALKV_VERBS_DEVICE")
	names, err := ibverbs.Names()
	if name == "" && (err != nil || len(names) == 0) {
		skip(t, "an RDMA device")
	}
	return rdma.Verbs{Device: name, GIDIndex: -1}
}

// leftOut counts the tests that skip did not let run.
var leftOut atomic.Int64

// skip ends a test that needs what this host lacks, and counts it, here and in
// the tally of a verification.
func skip(t testing.TB, missing string) {
	t.Helper()
	leftOut.Add(1)
	tally.Skipped("verbs", t.Name(), missing)
	t.Skipf("missing feature: %s (scripts/lab/verbs.sh has it)", missing)
}

// cluster is endpoints on one device, with a control plane.
type cluster struct {
	t     testing.TB
	hub   *conformance.Hub
	verbs rdma.Verbs
	ends  []*Endpoint
	sleep *Endpoint // its worker sleeps in another goroutine
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, hub: conformance.NewHub(), verbs: needDevice(t)}
}

func (c *cluster) end(node int, incarnation uint32) *Endpoint {
	c.t.Helper()
	e, err := New(rdma.Config{Node: node, Nodes: conformance.Nodes, Incarnation: incarnation, RingBytes: conformance.RingBytes,
		Exchange: c.hub.Exchange(node, 0), Verbs: c.verbs})
	if err != nil {
		c.t.Fatal(err)
	}
	e.farewellWait = 500 * time.Millisecond
	c.ends = append(c.ends, e)
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Log(e.describe())
		}
		if err := e.Close(); err != nil && !errors.Is(err, rdma.ErrClosed) {
			c.t.Error(err)
		}
	})
	return e
}

// memory is mapped memory as a pool has it; the caller unmaps it after the
// endpoints are closed.
func (c *cluster) memory(n int) []byte {
	mem, err := mapMemory(n)
	if err != nil {
		c.t.Fatal(err)
	}
	return mem
}

// settle drives the endpoints until everything that was published has arrived,
// and every lane that could be made is made.
func (c *cluster) settle() {
	c.t.Helper()
	quiet, calls := 0, -1
	for deadline := time.Now().Add(30 * time.Second); ; {
		busy := ""
		if n := c.hub.Calls(); n != calls {
			quiet, calls = 0, n
		}
		for _, e := range c.ends {
			if e == c.sleep || e.out == nil {
				continue
			}
			if why := e.settled(); why != "" {
				busy = fmt.Sprintf("node %d.%d: %s", e.self, e.cfg.Incarnation, why)
			}
		}
		if busy != "" {
			quiet = 0
		} else if quiet++; quiet > 2 { // one may have left something to another that was looked at before
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("nothing settles: %s", busy)
		}
		runtime.Gosched() // the control plane's goroutines and the emulated adapter want this processor too
	}
}

// settled says what the endpoint is still busy with. Its worker's goroutine.
// Where the newest request of a lane reports nothing, one more line does.
func (e *Endpoint) settled() string {
	e.WakePeers()
	e.cross()
	for i, l := range e.peers {
		if l == nil || l.out == nil || l.out.broken {
			continue
		}
		if o := l.out; o.posted != o.completed {
			if o.posted != o.signalled {
				e.dirty |= 1 << i
				e.everySends = true
				e.WakePeers()
				e.everySends = false
			}
			return fmt.Sprintf("requests to node %d under way", i)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, m := range e.mending {
		if m {
			return fmt.Sprintf("lanes of node %d are being made", i)
		}
	}
	if e.news.Load() || e.dirty != 0 {
		return "something is left to post"
	}
	return ""
}

// describe is what to know of an endpoint when a test has failed.
func (e *Endpoint) describe() string {
	if e.out == nil {
		return fmt.Sprintf("node %d.%d: closed", e.self, e.cfg.Incarnation)
	}
	s := fmt.Sprintf("node %d.%d: published %d, dirty %b, mending %v", e.self, e.cfg.Incarnation, e.published, e.dirty, e.mending)
	for i, l := range e.peers {
		if l == nil {
			continue
		}
		s += fmt.Sprintf("\n  to %d.%d: our tag %x, fed %v from %d, sent %d, reopen %v, want %v, gone %v, armed %v", i, l.incarnation, l.ourTag, l.fed, l.feed, l.sent, l.reopen, l.want, l.gone, l.armed)
		if o := l.out; o != nil {
			s += fmt.Sprintf(", lane %x broken %v, posted %d, completed %d, known %v at %d", o.id, o.broken, o.posted, o.completed, o.known, o.pos)
		}
		s += fmt.Sprintf("\n  from it: tag %x, malformed %v, seen %d, resume %+v, mirror %+v", l.tag, l.malformed, l.seen, l.resume, l.mirror != nil)
		if l.in != nil {
			s += fmt.Sprintf(", lane %x %+v", l.in.id, l.in.line)
		}
		for _, n := range e.in[i] {
			s += fmt.Sprintf("\n    lane %x of life %d, fenced %v, used %v, newest %x", n.id, n.incarnation, n.fenced, n.used, n.newest)
		}
	}
	return s + fmt.Sprintf("\n  %+v", e.counts)
}
