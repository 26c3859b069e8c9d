// Package flow is how the code around the state machines waits, starts work
// beside itself and looks at the clock: through an Env. In a running node that
// is the Go runtime (Real); in a simulation it is flowsim, where every task is
// a coroutine, time is a number, and one seed gives one run.
//
// It is for cold paths: the control plane, membership, recovery. A shard
// worker's turn never waits and needs none of it.
//
// Rules for code on an Env: no go statement, no select, no time.Sleep, no
// timer, no sync.WaitGroup; no mutex held over Wait; whatever another task may
// wait for is a channel of struct{}, closed once or holding a token.
package flow

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Env is the surroundings of one process. All methods may be called from any
// of its tasks.
type Env interface {
	// Now is a monotonic clock in nanoseconds, above 0.
	Now() int64
	// Random is 64 bits nobody can predict, or the simulation's.
	Random() uint64
	// Go runs fn beside the caller.
	Go(fn func())
	// Wait blocks until one of the channels is closed or gives a token, or
	// until d has passed; d < 0: without limit. It returns the index of the
	// channel, -1 for the time. nil channels are never ready. Of several ready
	// ones any may be taken.
	Wait(d time.Duration, on ...<-chan struct{}) int
	// Timeout is context.WithTimeout on this clock.
	Timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// Real is the Go runtime.
var Real Env = real{}

type real struct{}

// timerLeast is the shortest time that the runtime's timers keep: where nothing
// else runs they end with an epoll_wait, which counts in milliseconds. Waits below
// it are the thread's own, and look at their channels before and after.
const timerLeast = time.Millisecond

// ready is the first of the channels that need not be waited for, -1 if none.
func ready(on []<-chan struct{}) int {
	for i, c := range on {
		select {
		case <-c:
			return i
		default:
		}
	}
	return -1
}

var base = time.Now()

// Now is Real's clock, for paths on which a call by an interface would cost.
func Now() int64 { return int64(time.Since(base)) + 1 }

func (real) Now() int64   { return Now() }
func (real) Go(fn func()) { go fn() }
func (real) Random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

func (real) Timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

func (real) Wait(d time.Duration, on ...<-chan struct{}) int {
	if 0 < d && d < timerLeast {
		if n := ready(on); n >= 0 {
			return n
		}
		t := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&t, nil) // cut short by a signal: as if the time had passed
		return ready(on)
	}
	var after <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		after = t.C
	}
	if len(on) > 3 {
		return waitMany(after, on)
	}
	var c [3]<-chan struct{}
	copy(c[:], on)
	select {
	case <-c[0]:
		return 0
	case <-c[1]:
		return 1
	case <-c[2]:
		return 2
	case <-after:
		return -1
	}
}

func waitMany(after <-chan time.Time, on []<-chan struct{}) int {
	cases := make([]reflect.SelectCase, 0, len(on)+1)
	for _, c := range on {
		cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)})
	}
	cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(after)})
	i, _, _ := reflect.Select(cases)
	if i == len(on) {
		return -1
	}
	return i
}

// Sleep waits for d or for the end of ctx, whose error it returns.
func Sleep(e Env, ctx context.Context, d time.Duration) error {
	e.Wait(d, ctx.Done())
	return ctx.Err()
}

// Signal leaves a token in a channel of capacity 1 unless one is there.
func Signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Group waits for tasks it started, as sync.WaitGroup does. Make it with
// NewGroup; Wait once.
type Group struct {
	env  Env
	mu   sync.Mutex
	left int
	done chan struct{}
}

// NewGroup is an empty group on env.
func NewGroup(env Env) *Group { return &Group{env: env, left: 1, done: make(chan struct{})} }

// Go runs fn beside the caller; Wait waits for its end.
func (g *Group) Go(fn func()) {
	g.mu.Lock()
	g.left++
	g.mu.Unlock()
	g.env.Go(func() {
		defer g.end()
		fn()
	})
}

func (g *Group) end() {
	g.mu.Lock()
	g.left--
	last := g.left == 0
	g.mu.Unlock()
	if last {
		close(g.done)
	}
}

// Wait returns when every task has ended.
func (g *Group) Wait() {
	g.end()
	g.env.Wait(-1, g.done)
}
