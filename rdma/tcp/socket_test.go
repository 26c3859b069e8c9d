package tcp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"healkv/rdma"
	"healkv/rdma/conformance"
)

// Both ends of a data connection notice a peer that is gone without a word, and
// nothing small is held back.
func TestSocketOptions(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := n.end(0, 1), n.end(1, 1)
	n.pair(a, b)
	checked := 0
	for _, c := range []*conn{a.peers[1].send.conn, a.peers[1].from, b.peers[0].send.conn, b.peers[0].from} {
		for _, o := range []struct{ level, name, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds())},
			{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentBytes},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(idleProbe / time.Second)},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(probeEvery / time.Second)},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes},
		} {
			if got, err := unix.GetsockoptInt(c.fd, o.level, o.name); err != nil || got != o.want {
				t.Errorf("option %d of level %d: %d, %v; want %d", o.name, o.level, got, err, o.want)
			}
			checked++
		}
		if flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("a socket that blocks: %#x, %v", flags, err)
		}
	}
	t.Logf("%d options", checked)
}

// While a peer cannot be reached that shows, and ends when it can be.
func TestTroubleShows(t *testing.T) {
	n := newNetwork(t, nil)
	proxies := proxied(t, n)
	a, b := n.end(0, 1), n.end(1, 1)
	n.pair(a, b)
	a.Feed(1, 0)
	n.settle()
	if a.Broken() != 0 || a.Trouble(1) != nil || a.Trouble(-1) != nil || a.Trouble(nodesMax) != nil {
		t.Fatalf("broken %#x, %v", a.Broken(), a.Trouble(1))
	}
	n.hub.Cut(0, 1)
	proxies[1].cut()
	awaitCount(t, "the break", func() bool { a.Poll(); return a.Broken() == 1<<1 })
	awaitCount(t, "the reason", func() bool { return errors.Is(a.Trouble(1), conformance.ErrCut) })
	put(a, 0, 64)
	a.Publish()
	a.WakePeers()
	b.Poll()
	if m := b.Mirror(0); m == nil || m.Limit() != 0 {
		t.Error("the stream's reader has noticed")
	}
	n.hub.Mend(0, 1)
	n.settle()
	if a.Broken() != 0 || a.Trouble(1) != nil || take(t, b, 0, 0) != 1 {
		t.Errorf("mended: broken %#x, %v", a.Broken(), a.Trouble(1))
	}
	// A peer that has gone for good is told from one that is cut off.
	b.Close()
	awaitCount(t, "the end", func() bool { a.Poll(); return errors.Is(a.Trouble(1), rdma.ErrNoPeer) })
	if !strings.Contains(a.Trouble(1).Error(), "node 1") {
		t.Error(a.Trouble(1))
	}
	if s := a.Stats(); s.Redials == 0 || s.RedialsFailed == 0 || s.Broken < 2 {
		t.Errorf("%+v", s)
	}
}
