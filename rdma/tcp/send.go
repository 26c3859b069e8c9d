package tcp

import (
	"errors"
	"fmt"
	"math/bits"
	"syscall"

	"golang.org/x/sys/unix"

	"healkv/dataplane/plant"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// outbound is what goes to one life of a peer. Worker only.
type outbound struct {
	conn  *conn // nil: broken, or not there yet
	quick int   // connections in a row that the peer's worker did not take into use
	used  bool  // something of this attachment was sent on some connection
	wait  bool  // for the position the peer reads on from

	tag      uint64
	feed     uint64 // 1 + position the peer is fed from; 0: not yet
	next     uint64 // position of the next byte to send
	marks    rdma.Marks
	announce bool // attachment, feed or watermarks have news
	lost     bool // what the peer needs is no longer in the ring: nothing is sent any more

	// The frame under way: its header, bytes of it and of the stream, and how
	// many are gone.
	hdr   [frameBytes]byte
	size  int // 0: none
	gone  int
	n     uint64
	reply [frameBytes]byte // the peer's position, arriving
	got   int
}

// errLost is a position that is not in the ring (any more).
var errLost = errors.New("tcp: the peer reads on from a position that is not in the ring")

// Out is this node's outgoing stream.
func (e *Endpoint) Out() *ring.Out { return e.out }

// Publish lets peers have the stream through Out().Tail(), with WakePeers.
func (e *Endpoint) Publish() {
	if tail := e.out.Tail(); tail != e.published {
		e.published = tail
		e.dirty |= e.attached
	}
}

// Feed tells the peer from which position it reads. Preconditions: attached,
// not fed yet, the position is in the ring and begins an entry.
func (e *Endpoint) Feed(peer int, from uint64) {
	l := e.peers[peer]
	switch {
	case l == nil:
		panic("tcp: Feed of a peer that is not attached")
	case l.send.feed != 0:
		panic("tcp: Feed twice on one link")
	case from%ring.Align != 0 || from > e.out.Tail() || from < e.out.Reclaimed():
		panic("tcp: Feed from a position that is not in the ring")
	}
	l.send.feed, l.send.next, l.send.announce = from+1, from, true
	e.dirty |= 1 << peer
}

// PublishMarks notes our line for the peer; it goes out with WakePeers. Not
// attached: nothing happens.
func (e *Endpoint) PublishMarks(peer int, m *rdma.Marks) {
	l := e.peers[peer]
	if l == nil || *m == l.send.marks {
		return
	}
	l.send.marks, l.send.announce = *m, true
	e.dirty |= 1 << peer
}

// WakePeers sends what there is to say, one writev per peer.
func (e *Endpoint) WakePeers() { e.flush() }

func (e *Endpoint) flush() {
	set := e.dirty
	e.dirty = 0
	for ; set != 0; set &= set - 1 {
		if l := e.peers[bits.TrailingZeros32(set)]; l != nil {
			e.push(l)
		}
	}
}

// push sends to one peer until nothing is left to say or its socket is full.
func (e *Endpoint) push(l *link) {
	s := &l.send
	if s.conn == nil || s.wait || s.lost || s.conn.armed {
		return // said when that is over
	}
	for s.size > 0 || e.compose(l) {
		v := &e.vector
		v.reset()
		if s.gone < frameBytes {
			v.add(s.hdr[s.gone:])
		}
		if s.n > 0 {
			done := uint64(max(0, s.gone-frameBytes))
			a, b := e.out.Bytes(s.next+done, s.next+s.n)
			v.add(a)
			v.add(b)
		}
		n, errno := s.conn.write(v)
		e.stats.Writes++
		if errno != 0 && errno != again && errno != syscall.EINTR {
			e.broken(l, errno)
			return
		}
		s.used = true
		s.gone += n
		e.stats.BytesOut += uint64(n)
		if s.gone == s.size {
			s.next += s.n
			s.size, s.gone, s.n = 0, 0, 0
			e.stats.Frames++
		} else if errno == 0 && s.conn.tls == nil {
			e.stats.PartialWrites++
		}
		if errno == again || errno == 0 && s.size > 0 && s.conn.tls == nil || s.conn.pending() {
			e.stats.Blocked++
			e.arm(l, true)
			return
		}
	}
}

// compose makes the next frame of everything there is to say; false: nothing.
func (e *Endpoint) compose(l *link) bool {
	s := &l.send
	n := uint64(0)
	if s.feed != 0 && e.published > s.next {
		n = e.published - s.next
	}
	if n == 0 && !s.announce {
		return false
	}
	kind := frameBurst
	if n > partBytes {
		kind, n = framePart, partBytes
	}
	f := frame{kind: kind, length: uint32(n), tag: s.tag, pos: s.next, feed: s.feed, marks: s.marks}
	if n > 0 {
		if s.next < e.out.Reclaimed() {
			e.lose(l, s.next)
			return false
		}
		f.sum = e.sum(s.next, s.next+n)
	}
	f.encode(&s.hdr)
	s.size, s.gone, s.n, s.announce = frameBytes+int(n), 0, n, false
	return true
}

func (e *Endpoint) sum(from, to uint64) uint32 {
	if e.summed.from != from || e.summed.to != to {
		e.summed.from, e.summed.to = from, to
		e.summed.sum = sumOf(e.out.Bytes(from, to))
	}
	return e.summed.sum
}

// arm waits for room in the peer's socket, or no longer.
func (e *Endpoint) arm(l *link, on bool) {
	c := l.send.conn
	if c.armed == on {
		return
	}
	c.armed = on
	if err := e.poller.room(c.fd, 2*l.peer+slotOut, on); err != nil {
		e.broken(l, err)
	}
}

// roomy goes on where a full socket stopped us.
func (e *Endpoint) roomy(l *link) {
	s := &l.send
	if s.conn.tls != nil {
		if errno := s.conn.tls.wire.flush(); errno == again {
			return
		} else if errno != 0 {
			e.broken(l, errno)
			return
		}
	}
	// The poller is told first: push arms it again if need be.
	if e.arm(l, false); s.conn != nil {
		e.push(l)
	}
}

// takeLeave tells the peer that it is detached, if that can be said at once.
func (e *Endpoint) takeLeave(l *link) {
	s := &l.send
	if s.conn == nil || s.size > 0 || s.wait || s.conn.pending() || plant.Is(plant.TCPDetach) {
		return
	}
	f := frame{kind: frameDetach, tag: s.tag}
	f.encode(&s.hdr)
	e.vector.reset()
	e.vector.add(s.hdr[:])
	s.conn.write(&e.vector)
	e.stats.Writes++
}

// connected takes a connection to the peer into use.
func (e *Endpoint) connected(l *link, c *conn) {
	s := &l.send
	if s.conn != nil {
		s.conn.close()
	}
	s.conn, s.got, l.renewing = c, 0, false
	s.size, s.gone, s.n = 0, 0, 0
	s.wait, s.announce = s.used && !plant.Is(plant.TCPWait), true
	e.dirty |= 1 << l.peer
	if err := e.poller.add(c.fd, 2*l.peer+slotOut); err != nil {
		e.broken(l, err)
		return
	}
	if c.tls != nil { // what came with the handshake is in memory: epoll knows nothing of it
		e.hear(l)
	}
}

// hear reads what a peer says on the connection we send on: its position, or
// that the connection has ended.
func (e *Endpoint) hear(l *link) {
	s := &l.send
	for s.conn != nil {
		var n int
		var errno syscall.Errno
		if s.got == frameBytes { // a second one: nothing more is due
			e.vector.reset()
			e.vector.add(e.spill[:1])
			if n, errno = e.receive(s.conn, &e.vector); n > 0 {
				e.stats.Corrupt++
				e.broken(l, errFrame)
				return
			}
		} else {
			e.vector.reset()
			e.vector.add(s.reply[s.got:])
			n, errno = e.receive(s.conn, &e.vector)
		}
		switch {
		case errno == again || errno == syscall.EINTR:
			return
		case errno != 0:
			e.broken(l, errno)
			return
		case n == 0:
			e.broken(l, errEnded)
			return
		}
		if s.got += n; s.got < frameBytes {
			continue
		}
		var f frame
		if !f.decode(&s.reply) || f.kind != frameResume || f.length != 0 {
			e.stats.Corrupt++
			e.broken(l, errFrame)
			return
		}
		e.resume(l, &f)
	}
}

var errEnded = errors.New("tcp: the peer has ended the connection")

// resume goes on from where the peer wants, which is within what this
// attachment has sent.
func (e *Endpoint) resume(l *link, f *frame) {
	s := &l.send
	if !s.wait {
		return // of an attachment before
	}
	s.wait = false
	e.dirty |= 1 << l.peer
	if s.feed == 0 {
		return
	}
	from := s.feed - 1
	if f.tag == s.tag && f.pos != 0 && !plant.Is(plant.TCPResume) {
		from = f.pos - 1
	}
	// From the feed it may be beyond what is published: nothing was sent yet.
	if from < max(e.out.Reclaimed(), s.feed-1) || from > max(e.published, s.feed-1) || from%ring.Align != 0 {
		e.lose(l, from)
		return
	}
	s.next = from
	e.stats.Resumed++
}

// lose: the peer can have nothing more in this attachment. The control plane
// sees it in the watermarks, which stand still, and in the log.
func (e *Endpoint) lose(l *link, pos uint64) {
	l.send.lost = true
	e.stats.Lost++
	e.log.Error("stream cannot go on", "peer", l.peer, "incarnation", l.incarnation,
		"err", fmt.Errorf("%w: %d, the ring has %d to %d", errLost, pos, e.out.Reclaimed(), e.published))
}

// broken: the connection to the peer has ended without our doing.
func (e *Endpoint) broken(l *link, why error) {
	s := &l.send
	s.conn.close()
	s.conn = nil
	s.size, s.gone, s.n = 0, 0, 0
	if l.renewing { // the peer has taken the new one already
		return
	}
	e.stats.Broken++
	if s.quick++; s.got == frameBytes {
		s.quick = 0
	}
	e.log.Warn("connection to a peer broken", "peer", l.peer, "incarnation", l.incarnation, "err", why)
	e.redial(l)
}

// receive is readv for either kind of connection; over TLS only the first
// piece is filled.
func (e *Endpoint) receive(c *conn, v *vector) (n int, errno syscall.Errno) {
	if c.tls != nil {
		n, errno = c.tls.read(v.piece(0))
	} else {
		n, errno = readv(c.fd, v)
	}
	if n > 0 {
		c.in += uint64(n)
		e.stats.BytesIn += uint64(n)
	}
	e.stats.Reads++
	return n, errno
}

// hungUp are the events after which a read tells what has happened.
const hungUp = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
