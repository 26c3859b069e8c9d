package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"healkv/rdma"
	"healkv/rdma/ring"
)

// Endpoint is rdma.Endpoint over connections.
type Endpoint struct {
	cfg  Config
	self int
	log  *slog.Logger

	out       *ring.Out
	published uint64
	summed    struct { // the last range of the ring that a frame was made of: peers in step share its sum
		from, to uint64
		sum      uint32
	}

	peers    [nodesMax]*link // attached; index is the node
	left     [nodesMax]rewind
	attached uint32 // bit i: peers[i] is not nil
	dirty    uint32 // peers there is something to say to
	attaches uint64 // count, makes every tag different (T4)
	news     bool   // something has arrived since Poll
	unread   uint32 // peers of which more is in memory, where epoll does not see it
	stats    Stats
	vector   vector
	spill    []byte // what was read beyond a frame; over TLS, what was decrypted

	poller  poller
	gate    gate
	arrived atomic.Bool   // the worker is to look for new connections
	anew    atomic.Uint32 // bit i: it is to make the connection to node i anew
	exposed atomic.Pointer[rdma.Exposed]

	ctx    context.Context // until Close
	cancel context.CancelFunc
	dials  sync.WaitGroup
	closed atomic.Bool

	redials, redialsFailed, remoteRaw, remoteWire, remoteReads atomic.Uint64
	serving                                                    atomic.Int64                    // remote reads
	trouble                                                    [nodesMax]atomic.Pointer[error] // of the last attempt to connect again
	complained                                                 [nodesMax]atomic.Uint64         // incarnation + 1 of the life that was complained of
}

var (
	_ rdma.Endpoint = (*Endpoint)(nil)
	_ rdma.Exposer  = (*Endpoint)(nil)
	_ rdma.Redialer = (*Endpoint)(nil)
)

// sockets counts descriptors in use, for tests.
var sockets atomic.Int64

// New opens this life's data port and serves the exchange. ErrConfig, or what
// the operating system says to the address.
func New(c Config) (*Endpoint, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	e := &Endpoint{cfg: c, self: c.Node, log: c.Logger.With("provider", Name, "shard", c.Shard)}
	e.out = ring.NewOut(make([]byte, c.RingBytes))
	e.spill = make([]byte, spillBytes)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.poller.open(); err != nil {
		return nil, err
	}
	if err := e.gate.start(e); err != nil {
		e.poller.close()
		return nil, err
	}
	c.Exchange.Serve(e.reply)
	return e, nil
}

// linkState is who owns a link: its maker, the endpoint, nobody.
type linkState uint32

const (
	linkPrepared linkState = iota
	linkAttached
	linkClosed
)

// link is one life of a peer.
type link struct {
	owner       *Endpoint
	peer        int
	incarnation uint32
	state       atomic.Uint32 // linkState; changes with the owner

	// fresh is a connection to the peer that the worker has not taken yet, made
	// by Prepare or by redial.
	fresh atomic.Pointer[conn]
	stop  context.CancelFunc // ends redial; nil when none was begun
	// renewing: redial is at work though there is a connection. The worker's.
	renewing bool

	// The worker's, from Attach to Detach.
	send outbound
	in   inbound
	from *conn // that we read, nil: none at the moment
	// faults is how many frames in a row made no sense, over all connections.
	faults int
}

func (l *link) Peer() int           { return l.peer }
func (l *link) Incarnation() uint32 { return l.incarnation }

var errAttached = errors.New("tcp: link is attached; detach it first")

// Close gives back the connection. The link must not be attached, and nobody
// may hold a mirror of it.
func (l *link) Close() error {
	if !l.state.CompareAndSwap(uint32(linkPrepared), uint32(linkClosed)) {
		if linkState(l.state.Load()) == linkAttached {
			return fmt.Errorf("%w: peer %d, incarnation %d", errAttached, l.peer, l.incarnation)
		}
		return nil
	}
	if c := l.fresh.Swap(nil); c != nil {
		c.close()
	}
	return nil
}

// Prepare connects to one life of a peer. ErrNoPeer, or why the connection
// cannot be made. Any goroutine.
func (e *Endpoint) Prepare(peer int, incarnation uint32) (rdma.Link, error) {
	if e.closed.Load() {
		return nil, rdma.ErrClosed
	}
	if err := e.checkPeer(peer, incarnation); err != nil {
		return nil, err
	}
	x, c, a, err := e.connect(e.ctx, peer, incarnation, forStream)
	if err != nil {
		if e.closed.Load() {
			return nil, rdma.ErrClosed
		}
		return nil, err
	}
	raw, err := handOver(x, c, a.token)
	if err != nil {
		return nil, err
	}
	l := &link{owner: e, peer: peer, incarnation: incarnation}
	l.in.buf = make([]byte, a.ring)
	l.fresh.Store(raw)
	return l, nil
}

func (e *Endpoint) checkPeer(peer int, incarnation uint32) error {
	if peer < 0 || peer >= e.cfg.Nodes || peer == e.self || incarnation == 0 {
		return fmt.Errorf("%w: node %d, incarnation %d, asked by node %d of %d", rdma.ErrNoPeer, peer, incarnation, e.self, e.cfg.Nodes)
	}
	return nil
}

// Attach starts using a link. The older link to the same node, if any, is
// detached and closed; who wants it back detaches first.
func (e *Endpoint) Attach(x rdma.Link) {
	l, ok := x.(*link)
	if !ok || l.owner != e {
		panic("tcp: Attach of another endpoint's link")
	}
	if !l.state.CompareAndSwap(uint32(linkPrepared), uint32(linkAttached)) {
		panic("tcp: Attach of a link that is attached or closed")
	}
	if old := e.Detach(l.peer); old != nil {
		old.Close()
	}
	e.attaches++
	e.trouble[l.peer].Store(nil)
	l.send = outbound{tag: e.attaches, announce: true}
	l.in = inbound{buf: l.in.buf}
	l.from, l.faults, l.renewing = nil, 0, false
	if r := e.left[l.peer]; r.incarnation == l.incarnation {
		l.in.resume = r
	}
	e.peers[l.peer] = l
	e.attached |= 1 << l.peer
	e.dirty |= 1 << l.peer
	if c := l.fresh.Swap(nil); c != nil {
		e.connected(l, c)
	} else {
		e.redial(l)
	}
	e.arrived.Store(true) // the peer's connection may have come before
}

// Detach stops using a peer and gives its link back. Both connections are
// closed: nothing of the peer arrives any more, and it gets nothing more.
func (e *Endpoint) Detach(peer int) rdma.Link {
	if peer < 0 || peer >= nodesMax || e.peers[peer] == nil {
		return nil
	}
	l := e.peers[peer]
	e.takeLeave(l)
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
	if l.send.conn != nil {
		l.send.conn.close()
		l.send.conn = nil
	}
	if l.from != nil {
		l.from.close()
		l.from = nil
	}
	e.peers[peer] = nil
	e.attached &^= 1 << peer
	e.dirty &^= 1 << peer
	e.left[peer] = l.in.resume
	e.left[peer].incarnation = l.incarnation
	if l.in.mirror != nil {
		e.left[peer].tag, e.left[peer].cursor = l.in.tag, l.in.mirror.Cursor()
	}
	l.in.mirror = nil
	l.state.Store(uint32(linkPrepared))
	return l
}

// Malformed is the set of attached nodes (bit i for node i) of which nothing
// is read any more because their bytes made no sense again and again. Worker.
func (e *Endpoint) Malformed() (set uint16) {
	for i, l := range e.peers {
		if l != nil && l.faults >= faultsMax {
			set |= 1 << i
		}
	}
	return set
}

// Broken is the set of attached nodes without a connection to or from them at
// the moment, or whose stream cannot go on. Worker.
func (e *Endpoint) Broken() (set uint16) {
	for i, l := range e.peers {
		if l != nil && (l.send.conn == nil || l.from == nil || l.send.lost) {
			set |= 1 << i
		}
	}
	return set
}

// Trouble is why the last attempt to make a node's connection again has
// failed; nil since one has succeeded. Any goroutine.
func (e *Endpoint) Trouble(peer int) error {
	if peer < 0 || peer >= nodesMax {
		return nil
	}
	if p := e.trouble[peer].Load(); p != nil {
		return *p
	}
	return nil
}

// Expose lets peers read a range of this process's memory, typically the
// mapping of its pool. Again: replaces what was exposed before, for those who
// open it from now on. Any goroutine.
func (e *Endpoint) Expose(x rdma.Exposed) error {
	if e.closed.Load() {
		return rdma.ErrClosed
	}
	if x.Size <= 0 || int64(len(x.Mem)) != x.Size {
		return fmt.Errorf("%w: %d bytes exposed, %d mapped (Exposed.Mem): peers read the mapping", ErrConfig, x.Size, len(x.Mem))
	}
	e.exposed.Store(&x)
	return nil
}

// Close detaches everybody and returns when nothing of this endpoint runs or
// reads exposed memory any more. Links that are prepared and not attached stay
// their makers'.
func (e *Endpoint) Close() error {
	if e.closed.Swap(true) {
		return rdma.ErrClosed
	}
	e.cancel()
	e.cfg.Exchange.Serve(nil)
	for i := range nodesMax {
		if l := e.Detach(i); l != nil {
			l.Close()
		}
	}
	e.gate.close()
	e.dials.Wait()
	e.poller.close()
	return nil
}
