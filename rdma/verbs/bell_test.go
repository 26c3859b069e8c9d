//go:build verbs

package verbs

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A sleep does not begin with something to post and room for it: nobody would
// end it. What has no room, or no lane, waits for a completion.
func TestPostableEndsTheWait(t *testing.T) {
	for _, x := range []struct {
		name  string
		dirty bool
		out   *outLane
		want  bool
	}{
		{"nothing to post", false, &outLane{}, false},
		{"room", true, &outLane{posted: 300, completed: 300}, true},
		{"just enough room", true, &outLane{posted: sendDepth - burstMax + 7, completed: 7}, true},
		{"too little room", true, &outLane{posted: sendDepth - burstMax + 8, completed: 7}, false},
		{"room, sequence numbers wrap", true, &outLane{posted: 5, completed: 0xfff0}, true},
		{"broken", true, &outLane{broken: true}, false},
		{"no lane", true, nil, false},
	} {
		e := &Endpoint{}
		e.peers[1], e.peers[5] = &link{out: &outLane{posted: sendDepth}}, &link{out: x.out}
		e.dirty = 1 << 1 // always, and never room
		if x.dirty {
			e.dirty |= 1 << 5
		}
		if e.postable() != x.want {
			t.Errorf("%s: postable %v", x.name, !x.want)
		}
	}
}

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
