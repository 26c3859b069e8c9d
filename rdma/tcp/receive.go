package tcp

import (
	"math/bits"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"healkv/rdma"
	"healkv/rdma/ring"
)

const (
	spillBytes = 64 << 10
	overRead   = 16 << 10 // bytes of a stream read along with a header; the rest goes by its length
	readsMax   = 8        // system calls per peer and Poll, so that one cannot keep the others waiting
	recordsMax = 32       // the same over TLS, in records
	faultsMax  = 8        // frames in a row that make no sense, and nothing of the peer is read any more
)

// Poll looks once at every attached peer, and goes on with what a full socket
// has held back.
func (e *Endpoint) Poll() {
	if e.dirty != 0 {
		e.flush()
	}
	e.arrive()
	for set := e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if !l.in.look() {
			e.cut(l, errFrame)
		}
	}
	e.news = false
}

// arrive takes in what has come, without letting mirrors have it. True if
// anything has.
func (e *Endpoint) arrive() (moved bool) {
	if e.arrived.Load() {
		moved = e.adopt()
	}
	if e.unread != 0 {
		moved = true
		set := e.unread
		e.unread = 0
		for ; set != 0; set &= set - 1 {
			if l := e.peers[bits.TrailingZeros32(set)]; l != nil && l.from != nil {
				e.read(l)
			}
		}
	}
	for i := range e.poller.look() {
		ev := &e.poller.events[i]
		if ev.Fd == slotEvent {
			e.poller.drain()
			continue
		}
		l := e.peers[ev.Fd/2]
		if l == nil {
			continue
		}
		moved = true
		if ev.Fd%2 == slotIn {
			if l.from != nil {
				e.read(l)
			}
			continue
		}
		if l.send.conn != nil && ev.Events&hungUp != 0 {
			e.hear(l)
		}
		if l.send.conn != nil && ev.Events&unix.EPOLLOUT != 0 {
			e.roomy(l)
		}
	}
	if moved {
		e.news = true
		if e.dirty != 0 {
			e.flush()
		}
	}
	return moved
}

// adopt takes connections that were made or admitted meanwhile.
func (e *Endpoint) adopt() (moved bool) {
	e.arrived.Store(false)
	if e.anew.Load() != 0 {
		e.renew()
	}
	for set := e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if c := l.fresh.Swap(nil); c != nil {
			e.connected(l, c)
			moved = true
		}
		if c := e.gate.taken(l.peer, l.incarnation); c != nil {
			e.listen(l, c)
			moved = true
		}
	}
	return moved
}

// listen begins to read a connection from the peer (T3).
func (e *Endpoint) listen(l *link, c *conn) {
	if l.from != nil { // its last words, such as that we are detached
		e.read(l)
	}
	if l.from != nil {
		l.from.close()
		l.from = nil
	}
	if l.faults >= faultsMax {
		c.close()
		return
	}
	l.in.connected()
	f := frame{kind: frameResume}
	f.tag, f.pos = l.in.position()
	var b [frameBytes]byte
	f.encode(&b)
	e.vector.reset()
	e.vector.add(b[:])
	if n, errno := c.write(&e.vector); n != frameBytes || errno != 0 || c.pending() {
		// An empty socket takes a hundred bytes, or it is broken already.
		c.close()
		return
	}
	if err := e.poller.add(c.fd, 2*l.peer+slotIn); err != nil {
		c.close()
		e.log.Error("connection from a peer", "peer", l.peer, "err", err)
		return
	}
	l.from = c
	e.stats.Accepted++
	if c.tls != nil {
		e.read(l)
	}
}

// read takes what the peer has sent, up to a bound.
func (e *Endpoint) read(l *link) {
	if l.from.tls != nil {
		e.readThrough(l)
		return
	}
	for range readsMax {
		more, err := e.readOnce(l)
		if err != nil {
			e.ended(l, err)
			return
		}
		if !more {
			return
		}
	}
}

// readOnce is one system call. In the middle of a frame, its bytes are read to
// where they belong, and the next header with them. Else a header is read, and
// the bytes that are expected behind it; what follows them is put in its place
// afterwards. more: the socket may have more.
func (e *Endpoint) readOnce(l *link) (more bool, err error) {
	in, v := &l.in, &e.vector
	v.reset()
	if in.left > 0 {
		a, b := in.pieces(in.at, in.left)
		v.add(a)
		v.add(b)
		v.add(in.hdr[:])
		n, errno := e.receive(l.from, v)
		if err := ended(n, errno); err != nil || n <= 0 {
			return false, err
		}
		stream := min(uint64(n), in.left)
		if err := in.arrived(stream); err != nil {
			return false, err
		}
		if in.n = n - int(stream); in.n == frameBytes {
			return true, in.begin()
		}
		return n == v.len, nil
	}
	base := in.have
	a, b := in.pieces(base, min(in.room(), overRead))
	v.add(in.hdr[in.n:])
	want := v.len
	v.add(a)
	v.add(b)
	n, errno := e.receive(l.from, v)
	if err := ended(n, errno); err != nil || n <= 0 {
		return false, err
	}
	if n < want {
		in.n += n
		return false, nil
	}
	behind := uint64(n - want)
	if err := in.begin(); err != nil {
		return false, err
	}
	if used := min(behind, in.left); used > 0 && in.at == base {
		if err := in.arrived(used); err != nil {
			return false, err
		}
		behind, base = behind-used, base+used
	}
	if behind > 0 {
		x, y := in.pieces(base, behind)
		copy(e.spill[copy(e.spill, x):], y)
		e.stats.Spilled += behind
		if err := in.take(e.spill[:behind]); err != nil {
			return false, err
		}
	}
	return n == v.len, nil
}

// ended turns the end of a connection into an error; nothing to read is none.
func ended(n int, errno syscall.Errno) error {
	switch {
	case errno == again || errno == syscall.EINTR:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return errEnded
	}
	return nil
}

// readThrough is read over TLS. What crypto/tls has read and not given out is in
// memory, where epoll does not see it: unless all of it was taken, the next look
// comes back without being told.
func (e *Endpoint) readThrough(l *link) {
	for range recordsMax {
		e.vector.reset()
		e.vector.add(e.spill)
		n, errno := e.receive(l.from, &e.vector)
		err := ended(n, errno)
		if err == nil && n <= 0 {
			return
		}
		if err == nil {
			err = l.in.take(e.spill[:n])
		}
		if err != nil {
			e.ended(l, err)
			return
		}
	}
	e.unread |= 1 << l.peer
}

// ended: the connection from the peer is of no use any more. It makes it again
// if it has not detached us.
func (e *Endpoint) ended(l *link, why error) {
	if why == errFrame {
		e.cut(l, why)
		return
	}
	if l.in.n > 0 || l.in.left > 0 {
		e.stats.Torn++
	}
	l.from.close()
	l.from = nil
	if l.in.tag != 0 {
		e.log.Warn("connection from a peer broken", "peer", l.peer, "incarnation", l.incarnation, "err", why)
	}
}

// cut: the peer's bytes make no sense. What was taken before stays; it may
// come back and go on there, but not for ever.
func (e *Endpoint) cut(l *link, why error) {
	if l.from != nil {
		l.from.close()
		l.from = nil
	}
	if l.in.seen { // there was a good one on this connection
		l.faults = 0
	}
	l.faults++
	e.stats.Corrupt++
	e.log.Error("connection from a peer cut", "peer", l.peer, "incarnation", l.incarnation, "in a row", l.faults, "err", why)
	if l.faults >= faultsMax {
		l.in.unpair()
	}
}

// Mirror is the peer's stream, from Poll on.
func (e *Endpoint) Mirror(peer int) *ring.Mirror {
	if l := e.peers[peer]; l != nil {
		return l.in.mirror
	}
	return nil
}

// Marks is the peer's line for us, as of the last Poll.
func (e *Endpoint) Marks(peer int, m *rdma.Marks) {
	if l := e.peers[peer]; l != nil {
		*m = l.in.marks
	} else {
		*m = rdma.Marks{}
	}
}

// PrepareSleep, CancelSleep, Sleep: see poller.
func (e *Endpoint) PrepareSleep() {
	if e.dirty != 0 {
		e.flush()
	}
	e.poller.prepare()
}

func (e *Endpoint) CancelSleep() { e.poller.cancel() }

// Sleep also ends at once if something has arrived that Poll has not given to
// the worker (T5).
func (e *Endpoint) Sleep(timeout time.Duration) {
	e.stats.Sleeps++
	if e.news || e.unread != 0 || e.arrived.Load() {
		timeout = 0
	}
	e.poller.wait(timeout)
}

// Wake ends the worker's sleep. Any goroutine.
func (e *Endpoint) Wake() { e.poller.wake() }
