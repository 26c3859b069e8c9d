package dataplane

import (
	"fmt"
	"testing"
	"time"
)

// resident is a client that lives on a worker's thread: one write in flight.
type resident struct {
	s       *Session
	op      Op
	value   []byte
	want    int // writes
	under   bool
	done    int
	lost    int // ended with an error
	calls   int
	over    chan struct{} // closed when all are done
	onTurn  func(r *resident)
	results [1]*Op
}

func newResident(h *Host, want int) *resident {
	return &resident{s: h.NewSession(), value: make([]byte, 64), want: want, over: make(chan struct{})}
}

func (r *resident) turn() (awake bool) {
	r.calls++
	if r.onTurn != nil {
		r.onTurn(r)
	}
	if r.s.Poll(r.results[:]) == 1 {
		r.under = false
		if r.results[0].Err != nil {
			r.lost++
		}
		if r.done++; r.done == r.want {
			close(r.over)
		}
		awake = true
	}
	if !r.under && r.done < r.want {
		r.op.Kind, r.op.Key = OpPut, fmt.Append(r.op.Key[:0], "key-", r.done%17)
		r.op.Value = stamped(r.value, 7, r.done, 64)
		if r.s.Submit(&r.op) == nil {
			r.s.Kick()
			r.under, awake = true, true
		}
	}
	return awake
}

// An attendant writes on the worker's thread; every write is done at all nodes.
// Workers that sleep soon are woken by what it waits for.
func TestAttend(t *testing.T) {
	for _, spin := range []int{1, 50} {
		r := newRig(t, rigOptions{nodes: 2, spin: spin})
		const writes = 1000
		c := newResident(r.nodes[0].host, writes)
		leave := r.nodes[0].host.Attend(0, c.turn)
		<-c.over
		leave()
		var calls, again int
		r.nodes[0].workers[0].Do(func() { calls = c.calls })
		if c.lost > 0 {
			t.Errorf("%d of %d writes were not done", c.lost, writes)
		}
		// A turn has ended between two letters.
		if r.nodes[0].workers[0].Do(func() { again = c.calls }); again != calls {
			t.Error("called after leave had returned")
		}
		// The session is the test's now.
		v, _, err := c.s.Get([]byte("key-3"), nil)
		if err != nil || checkStamped(v) != nil {
			t.Error(err, checkStamped(v))
		}
		c.s.Close()
		far := r.nodes[1].host.NewSession()
		if v, _, err := far.Get([]byte("key-3"), nil); err != nil || checkStamped(v) != nil {
			t.Error(err, checkStamped(v))
		}
		far.Close()
		t.Logf("spin %d: %d writes in %d turns, %d sleeps", spin, writes, calls, r.nodes[0].counters().Sleeps)
		r.close()
		r.nodes = nil
	}
}

// Attendants come and go beside one another and beside ordinary sessions; what one
// has under way when it leaves comes back to whoever called leave.
func TestAttendLeave(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, spin: 20})
	h := r.nodes[0].host
	other := newResident(h, 500)
	leaveOther := h.Attend(0, other.turn)
	under := 0
	for range 200 {
		c := newResident(h, 1<<30)
		submitted := make(chan struct{})
		c.onTurn = func(c *resident) {
			if c.calls == 2 { // the first has submitted
				close(submitted)
			}
		}
		leave := h.Attend(0, c.turn)
		<-submitted
		leave()
		if c.s.Outstanding() > 0 {
			under++
		}
		collect(t, c.s, c.s.Outstanding(), func(op *Op) {
			if op.Err != nil {
				t.Error(op.Err)
			}
		})
		c.s.Close()
	}
	<-other.over
	leaveOther()
	other.s.Close()
	t.Logf("of 200 attendants %d left with a write under way", under)
}

// A life ends under an attendant: what it had under way is answered, the next
// life calls it again, and it can leave at any time.
func TestAttendLives(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, spin: 20})
	n := r.nodes[0]
	host := NewHost(n.host.hash) // no life yet
	c := newResident(host, 1<<30)
	called := make(chan struct{}, 1)
	c.onTurn = func(*resident) {
		select {
		case called <- struct{}{}:
		default:
		}
	}
	leave := host.Attend(0, c.turn)
	host.SetCore(n.core)
	for range 2 {
		select {
		case <-called:
		case <-time.After(10 * time.Second):
			t.Fatal("the life does not call its attendant")
		}
	}
	host.SetCore(nil)
	n.stop()
	calls := c.calls // the worker has ended
	leave()
	if c.calls != calls {
		t.Error("called without a life")
	}
	if at := n.workers[0].attendants.Load(); at != nil {
		t.Errorf("%d attendants are left", len(*at))
	}
	collect(t, c.s, c.s.Outstanding(), func(op *Op) {
		if op.Err != nil && outcome(op.Err) != "unknown" && outcome(op.Err) != "rejected" {
			t.Error(op.Err)
		}
	})
	c.s.Close()
}

// Nothing is allocated on the way of a write from an attendant.
func TestAttendAllocatesNothing(t *testing.T) {
	skipUncounted(t)
	r := newRig(t, rigOptions{nodes: 2, spin: 50})
	c := newResident(r.nodes[0].host, 1<<30)
	reached := make(chan struct{})
	const first, last = 300, 1300
	goal := first
	c.onTurn = func(c *resident) {
		if c.done >= goal {
			goal = 1 << 30
			reached <- struct{}{}
		}
	}
	leave := r.nodes[0].host.Attend(0, c.turn)
	<-reached
	allocs := testing.AllocsPerRun(1, func() {
		r.nodes[0].workers[0].Do(func() { goal = c.done + last - first })
		<-reached
	})
	leave()
	c.s.Close()
	if allocs > 20 { // of the letter and its way, not of thousands of writes
		t.Errorf("%v allocations in %d writes", allocs, last-first)
	}
}
