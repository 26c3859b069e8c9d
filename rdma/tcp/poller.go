package tcp

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
)

// poller is what the worker asks which sockets are ready, and what it sleeps
// on. It is level-triggered: what has arrived and was not read ends a sleep
// that has not begun (T5).
type poller struct {
	fd     int // epoll
	event  int // eventfd, for Wake
	events [2*nodesMax + 1]unix.EpollEvent

	// sleep is sleepAwake, sleepAbout from PrepareSleep on, sleepWoken from the
	// first Wake after that on.
	sleep atomic.Uint32
	wakes atomic.Uint64
	mu    sync.Mutex // event is open while closed is false
	shut  bool
}

const (
	sleepAwake uint32 = iota
	sleepAbout
	sleepWoken
)

// What an epoll event is about: a direction of a node, or the eventfd.
const (
	slotOut   = 0
	slotIn    = 1
	slotEvent = 2 * nodesMax
)

func (p *poller) open() (err error) {
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("tcp: epoll: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		unix.Close(p.fd)
		return fmt.Errorf("tcp: eventfd: %w", err)
	}
	if err := p.add(p.event, slotEvent); err != nil {
		p.close()
		return err
	}
	sockets.Add(2)
	return nil
}

func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = true
	unix.Close(p.event)
	unix.Close(p.fd)
	sockets.Add(-2)
}

func (p *poller) add(fd, slot int) error { return p.control(unix.EPOLL_CTL_ADD, fd, slot, 0) }

// room sets whether the poller waits for room to write as well.
func (p *poller) room(fd, slot int, want bool) error {
	extra := uint32(0)
	if want {
		extra = unix.EPOLLOUT
	}
	return p.control(unix.EPOLL_CTL_MOD, fd, slot, extra)
}

func (p *poller) control(op, fd, slot int, extra uint32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | extra, Fd: int32(slot)}
	if err := unix.EpollCtl(p.fd, op, fd, &ev); err != nil {
		return fmt.Errorf("tcp: epoll_ctl: %w", err)
	}
	return nil
}

// look returns what is ready now.
func (p *poller) look() []unix.EpollEvent {
	n, errno := ready(p.fd, p.events[:])
	if errno != 0 {
		if errno != syscall.EINTR {
			panic("tcp: epoll_pwait: " + errno.Error())
		}
		return nil
	}
	return p.events[:n]
}

func (p *poller) prepare() { p.sleep.Store(sleepAbout) }
func (p *poller) cancel()  { p.sleep.Store(sleepAwake) }

// wait sleeps until something is ready, a Wake since prepare, or the timeout;
// negative waits for ever.
func (p *poller) wait(timeout time.Duration) {
	switch p.sleep.Load() {
	case sleepAwake:
		panic("tcp: Sleep without PrepareSleep")
	case sleepWoken:
		if plant.Is(plant.TCPWoken) {
			unix.EpollWait(p.fd, p.events[:1], -1)
		}
	case sleepAbout:
		ms := -1
		deadline := time.Time{}
		if timeout >= 0 {
			deadline = time.Now().Add(timeout)
			ms = millis(timeout)
		}
		for {
			// What is ready stays so, and is looked at by Poll.
			_, err := unix.EpollWait(p.fd, p.events[:1], ms)
			if err == nil {
				break
			}
			if err != unix.EINTR {
				panic("tcp: epoll_wait: " + err.Error())
			}
			if timeout >= 0 {
				ms = millis(time.Until(deadline))
			}
		}
	}
	p.sleep.Store(sleepAwake)
}

// wake ends the worker's sleep, present or about to begin. Any goroutine. The
// load pairs with the store in prepare: the worker looks at its inputs once
// more after it. The eventfd may be left readable for a sleep that has ended
// otherwise; that one ends early.
func (p *poller) wake() {
	if p.sleep.Load() != sleepAbout || !p.sleep.CompareAndSwap(sleepAbout, sleepWoken) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.shut {
		one := [8]byte{1}
		unix.Write(p.event, one[:])
		p.wakes.Add(1)
	}
}

// drain makes the eventfd unreadable again.
func (p *poller) drain() {
	var b [8]byte
	unix.Read(p.event, b[:])
}

// millis rounds up, and bounds what the kernel takes.
func millis(d time.Duration) int {
	return int(min(max(0, (d+time.Millisecond-1)/time.Millisecond), 1<<30))
}
