//go:build verbs

package verbs

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A ring that is late for its sleep, as one is whose goroutine was stopped
// before the write, ends one wait and not all that follow.
func TestLateRingEndsOneWait(t *testing.T) {
	var b bell
	if err := b.open(); err != nil {
		t.Fatal(err)
	}
	defer b.close()
	channel, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(channel[0])
	defer unix.Close(channel[1])
	readable := func() bool {
		fds := []unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return err == nil && n == 1
	}
	unix.Write(b.fd, bellOne)
	if !readable() {
		t.Fatal("the late ring is not there")
	}
	if b.wait(channel[0], -1) {
		t.Error("an event of the channel where there is none")
	}
	if readable() {
		t.Error("the late ring is still there after the wait that it ended")
	}
	if b.wait(channel[0], time.Millisecond) || readable() {
		t.Error("a wait without a ring")
	}
	unix.Write(channel[1], bellOne)
	if !b.wait(channel[0], -1) {
		t.Error("the channel's event is not seen")
	}
	b.state.Store(bellAsleep)
	b.ring()
	b.ring()
	if b.wait(channel[0], -1); b.state.Load() != bellRung || b.rung.Load() != 1 || readable() {
		t.Errorf("state %d, %d rings", b.state.Load(), b.rung.Load())
	}
}
