package control

import (
	"errors"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"healkv/dataplane/proto"
)

type watchKey struct {
	node proto.NodeID
	pid  int
}

// watch waits for the exit of one peer process. It outlives the connection
// that led to it: a process that closed its connection may still run.
type watch struct {
	node   proto.NodeID
	pid    int
	f      *os.File // pidfd
	newest atomic.Uint32
}

func (w *watch) member() proto.Member {
	return proto.Member{Node: w.node, Incarnation: proto.Incarnation(w.newest.Load())}
}

func (w *watch) spokeFor(i proto.Incarnation) {
	for {
		old := w.newest.Load()
		if uint32(i) <= old || w.newest.CompareAndSwap(old, uint32(i)) {
			return
		}
	}
}

// peerPidfd names the process at the other end without a race on its number
// where the kernel can (SO_PEERPIDFD, Linux 6.5), else by number: a reused
// number then watches the wrong process, which delays the detection to the
// lease and never removes a living node (the membership verifies the death).
func peerPidfd(c *net.UnixConn, pid int) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd := -1
	var inner error
	err = raw.Control(func(s uintptr) {
		fd, inner = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if errors.Is(inner, unix.ENOPROTOOPT) {
			fd, inner = unix.PidfdOpen(pid, 0)
		}
	})
	if err := errors.Join(err, inner); err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// watchPeer returns the watch of the process at the other end of c, which
// speaks for node n; made at the first call. Without a pidfd (an old kernel,
// or gone already) the watch only carries the name, and likewise for a process
// of another host: nothing proves its end.
func (s *Server) watchPeer(c *conn, n proto.NodeID) *watch {
	if c.unix == nil {
		return &watch{node: n}
	}
	pid := c.pid
	k := watchKey{n, pid}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[k]; w != nil {
		return w
	}
	w := &watch{node: n, pid: pid}
	fd, err := peerPidfd(c.unix, pid)
	if err != nil {
		s.stats.unwatched.Add(1)
		s.log.Warn("control: cannot watch a peer process; its death is noticed by its lease only", "node", n, "pid", pid, "err", err)
		return w
	}
	w.f = os.NewFile(uintptr(fd), "pidfd")
	s.watched[k] = w
	if s.ctx.Err() != nil { // Close has passed already
		w.f.Close()
		return w
	}
	s.wg.Go(func() { s.await(k, w) })
	return w
}

// await parks in the netpoller until the process is gone: no thread is held.
func (s *Server) await(k watchKey, w *watch) {
	exited := false
	raw, err := w.f.SyscallConn()
	if err == nil {
		// It fails only when the file is closed under it: then nothing exited.
		raw.Read(func(fd uintptr) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(p, 0)
			exited = err == nil && n == 1
			return exited
		})
	}
	s.mu.Lock()
	delete(s.watched, k)
	s.mu.Unlock()
	w.f.Close()
	if exited && s.ctx.Err() == nil {
		s.stats.exits.Add(1)
		s.emit(Event{PeerExited, w.member(), w.pid})
	}
}
