//go:build verbs

package verbs

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"healkv/cgo/ibverbs"
)

// bell is the local wake-up: an eventfd, polled together with the completion
// channel.
type bell struct {
	state atomic.Uint32 // awake, asleep, rung
	rung  atomic.Uint64
	mu    sync.Mutex // of fd against close
	fd    int
}

const (
	bellAwake uint32 = iota
	bellAsleep
	bellRung
)

var bellOne = []byte{1, 0, 0, 0, 0, 0, 0, 0}

func (b *bell) open() (err error) {
	if b.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		b.fd = 0
		return fmt.Errorf("verbs: eventfd: %w", err)
	}
	return nil
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd != 0 {
		unix.Close(b.fd)
		b.fd = 0
	}
}

// ring ends the owner's sleep, present or about to begin. The load pairs with
// the store in prepare, as in Dekker's algorithm.
func (b *bell) ring() {
	if b.state.Load() != bellAsleep || !b.state.CompareAndSwap(bellAsleep, bellRung) {
		return
	}
	b.rung.Add(1)
	b.mu.Lock()
	if b.fd != 0 {
		unix.Write(b.fd, bellOne)
	}
	b.mu.Unlock()
}

// take empties the descriptor. The owner's.
func (b *bell) take() {
	var n [8]byte
	unix.Read(b.fd, n[:])
}

// wait blocks until the channel's descriptor or the bell has something, and
// tells whether it is the channel; a timeout below 0 is none. What it finds of
// the bell it takes: a ring whose write came after the end of the sleep it was
// for would end all others at once.
func (b *bell) wait(channel int, timeout time.Duration) (event bool) {
	fds := [2]unix.PollFd{{Fd: int32(channel), Events: unix.POLLIN}, {Fd: int32(b.fd), Events: unix.POLLIN}}
	if timeout < 0 {
		unix.Ppoll(fds[:], nil, nil)
	} else {
		t := unix.NsecToTimespec(int64(timeout))
		unix.Ppoll(fds[:], &t, nil)
	}
	if fds[1].Revents != 0 {
		b.take()
	}
	return fds[0].Revents != 0
}

// Wake ends the worker's sleep. Any goroutine.
func (e *Endpoint) Wake() { e.bell.ring() }

// PrepareSleep announces the sleep to the peers that may not ring otherwise,
// see the package comment. What it posts completes during the last look, or
// during the sleep.
func (e *Endpoint) PrepareSleep() {
	e.rung = false
	e.bell.state.Store(bellAsleep)
	e.announce()
}

// announce looks who rang, and tells those peers of this sleep.
func (e *Endpoint) announce() {
	if e.news.Load() {
		e.adopt()
	}
	e.cross()
	for set := e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if l.armed || l.reading || l.out == nil || l.out.broken || l.out.room() < burstMax {
			continue
		}
		e.sleeps++
		l.number, l.rang = e.sleeps, false
		e.dirty &^= 1 << l.peer
		e.postBytes(l)
		e.postLine(l, l.ourTag)
		r := e.request(l, ibverbs.OpRead, ibverbs.FlagSignalled, kindRead)
		l.out.signalled = l.out.posted
		r.Local, r.LocalKey = l.out.slotsAt+sendDepth*slotBytes, l.out.slotsKey
		r.Remote, r.RemoteKey = l.out.lineAt+versionAt, l.out.lineKey
		r.Bytes = 8
		e.counts.Signalled++
		e.counts.Reads++
		l.reading = true
	}
	if len(e.requests) > 0 || e.dirty != 0 {
		e.post()
	}
}

// readDone: the peer has our sleep's number, and we have the version it had
// posted then. Whatever it posts later it rings for.
func (e *Endpoint) readDone(l *link) {
	l.reading = false
	if v := readWordOf(l.out.slots).Load(); v <= l.polled && !l.rang { // the ring may be faster than the read's answer
		l.armed = true
	} else {
		e.rung = true // something is under way, or came after the last look
	}
}

func (e *Endpoint) CancelSleep() { e.awake() }

func (e *Endpoint) awake() {
	if e.bell.state.Swap(bellAwake) == bellRung {
		e.bell.take()
	}
}

// Sleep waits for a ring. It returns early, for the worker to look again, when
// a peer has something under way, or cannot be told of the sleep.
func (e *Endpoint) Sleep(timeout time.Duration) {
	if e.bell.state.Load() == bellAwake {
		panic("verbs: Sleep without PrepareSleep")
	}
	e.counts.Sleeps++
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	for timeout != 0 && e.bell.state.Load() == bellAsleep && !e.rung && !e.news.Load() {
		// Arm, then drain: what comes after the drain raises an event.
		if err := e.dev.cq.Notify(); err != nil {
			e.queueFailed(err)
			break
		}
		if e.dirty != 0 {
			e.post()
		} else {
			e.cross()
		}
		if e.rung || e.news.Load() {
			break
		}
		if e.postable() {
			continue // the crossing has taken the completions that would have ended the wait
		}
		left := time.Duration(-1)
		if timeout > 0 {
			if left = time.Until(deadline); left <= 0 {
				break
			}
		}
		unarmed := e.unarmed()
		if unarmed && (left < 0 || left > unarmedSleep) {
			left = unarmedSleep
		}
		e.wait(left)
		if unarmed {
			break
		}
	}
	e.awake()
}

// postable tells whether there is something to post, and room for it.
func (e *Endpoint) postable() bool {
	for set := e.dirty; set != 0; set &= set - 1 {
		if o := e.peers[bits.TrailingZeros32(set)].out; o != nil && !o.broken && o.room() >= burstMax {
			return true
		}
	}
	return false
}

// unarmed tells whether a peer may publish without ringing: its lanes are being
// made, or ours to it.
func (e *Endpoint) unarmed() bool {
	for set := e.attached; set != 0; set &= set - 1 {
		if l := e.peers[bits.TrailingZeros32(set)]; !l.armed && !l.reading {
			return true
		}
	}
	return false
}

// wait blocks until the completion channel or the bell has something.
func (e *Endpoint) wait(timeout time.Duration) {
	if e.bell.wait(e.dev.channel.FD(), timeout) {
		e.counts.Events += uint64(e.dev.channel.Take())
	}
}

// farewell writes tag 0 to a peer that is detached and waits for it, at most
// farewellWait: the peer learns that it is detached, and nothing of the bytes
// before is on its way any more.
func (e *Endpoint) farewell(l *link) {
	o := l.out
	if o == nil || o.broken || o.room() < burstMax {
		return
	}
	e.postLine(l, 0)
	if o.signalled != o.posted {
		e.requests[len(e.requests)-1].Flags |= ibverbs.FlagSignalled
		o.signalled = o.posted
		e.counts.Signalled++
	}
	e.cross()
	for began := time.Now(); o.completed != o.posted && !o.broken; {
		if time.Since(began) > e.farewellWait {
			e.counts.Unheard++
			return
		}
		e.cross()
	}
}
