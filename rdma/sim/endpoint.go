package sim

import (
	"errors"
	"fmt"
	"math"
	"time"

	"healkv/rdma"
	"healkv/rdma/gather"
	"healkv/rdma/ring"
)

// Config says which end of which stream to make.
type Config struct {
	Node        int    // 0 to Nodes-1
	Nodes       int    // at most 16
	Shard       int    // 0 to 63
	Incarnation uint32 // from 1
	RingBytes   int    // power of two, at least 4 KiB; 0 means 64 KiB
}

// ErrConfig is a configuration outside its limits, or a life that has an
// endpoint already.
var ErrConfig = errors.New("sim: config")

type sleepState uint8

const (
	awake sleepState = iota
	preparing
	asleep
)

// Endpoint is rdma.Endpoint over a Net.
type Endpoint struct {
	net *Net
	cfg Config

	ring      *ring.Out
	published uint64
	attaches  uint64
	peers     [nodesMax]*link
	left      [nodesMax]rewind
	dirty     [nodesMax]bool
	exposed   []byte

	state  sleepState
	woken  bool   // since PrepareSleep
	wakeAt uint64 // tick at which the sleep's timeout ends it
	dead   bool
	closed bool
}

var _ rdma.Endpoint = (*Endpoint)(nil)

// link is one attachment; see shm for the meaning of resume.
type link struct {
	owner       *Endpoint
	target      *Endpoint
	peer        int
	incarnation uint32
	attached    bool
	closed      bool

	out, in   *pipe
	outTag    uint64 // of our attachment
	fed       bool
	tag       uint64 // of the peer's attachment we go by
	mirror    *ring.Mirror
	malformed bool
	resume    rewind
	last      rdma.Marks
	sent      rdma.Marks
}

type rewind struct {
	incarnation uint32
	tag         uint64
	cursor      uint64
}

func (l *link) Peer() int           { return l.peer }
func (l *link) Incarnation() uint32 { return l.incarnation }

func (l *link) Close() error {
	if l.attached {
		return fmt.Errorf("sim: link to %d.%d is attached; detach it first", l.peer, l.incarnation)
	}
	l.closed = true
	return nil
}

// Endpoint makes an end of a stream.
func (n *Net) Endpoint(c Config) (*Endpoint, error) {
	if c.RingBytes == 0 {
		c.RingBytes = 64 << 10
	}
	if c.Nodes < 1 || c.Nodes > nodesMax || c.Node < 0 || c.Node >= c.Nodes || c.Shard < 0 || c.Shard > 63 || c.Incarnation == 0 ||
		c.RingBytes < 4096 || c.RingBytes&(c.RingBytes-1) != 0 {
		return nil, fmt.Errorf("%w: %+v", ErrConfig, c)
	}
	if n.find(c.Node, c.Incarnation, c.Shard) != nil {
		return nil, fmt.Errorf("%w: %+v is there already", ErrConfig, c)
	}
	e := &Endpoint{net: n, cfg: c, ring: ring.NewOut(make([]byte, c.RingBytes))}
	n.ends = append(n.ends, e)
	return e, nil
}

// Asleep reports whether the worker is in Sleep: it must not run until this is
// false. A worker asleep for ever with work to do is a lost wake-up.
func (e *Endpoint) Asleep() bool { return e.state == asleep }

// Malformed is the set of attached nodes (bit i for node i) of which nothing is
// read any more because their positions made no sense. Worker.
func (e *Endpoint) Malformed() (set uint16) {
	for i, l := range e.peers {
		if l != nil && l.malformed {
			set |= 1 << i
		}
	}
	return set
}

// Expose lets peers read mem.
func (e *Endpoint) Expose(mem []byte) { e.exposed = mem }

func (e *Endpoint) check() {
	if e.dead {
		panic("sim: a killed endpoint is used")
	}
}

func (e *Endpoint) Out() *ring.Out { e.check(); return e.ring }

func (e *Endpoint) Prepare(peer int, incarnation uint32) (rdma.Link, error) {
	e.check()
	if e.closed {
		return nil, rdma.ErrClosed
	}
	x, err := e.net.checkPeer(e, peer, incarnation)
	if err != nil {
		return nil, err
	}
	if n := e.net; n.severed[e.cfg.Node][peer] || n.severed[peer][e.cfg.Node] {
		return nil, fmt.Errorf("%w: node %d: the network between it and node %d is cut", rdma.ErrNoPeer, peer, e.cfg.Node)
	}
	return &link{owner: e, target: x, peer: peer, incarnation: incarnation}, nil
}

func (e *Endpoint) Attach(x rdma.Link) {
	e.check()
	l, ok := x.(*link)
	if !ok || l.owner != e || l.attached || l.closed {
		panic("sim: Attach of a link that is another's, attached or closed")
	}
	e.Detach(l.peer)
	e.attaches++
	*l = link{owner: e, target: l.target, peer: l.peer, incarnation: l.incarnation, attached: true, outTag: e.attaches}
	if r := e.left[l.peer]; r.incarnation == l.incarnation {
		l.resume = r
	}
	l.out, l.in = e.net.pipe(e, l.target), e.net.pipe(l.target, e)
	l.out.send(e.net, kindAttach, l.outTag, e.published)
	e.peers[l.peer] = l
	e.dirty[l.peer] = true
}

// Detach: what was under way to the peer is lost. It could not arrive later: its
// bytes in the ring may be reclaimed from now on.
func (e *Endpoint) Detach(peer int) rdma.Link {
	e.check()
	if peer < 0 || peer >= nodesMax || e.peers[peer] == nil {
		return nil
	}
	l := e.peers[peer]
	l.out.lose(e.net)
	l.out.send(e.net, kindDetach, l.outTag, 0)
	e.left[peer] = l.resume
	e.left[peer].incarnation = l.incarnation
	if l.mirror != nil {
		e.left[peer].tag, e.left[peer].cursor = l.tag, l.mirror.Cursor()
	}
	e.peers[peer] = nil
	e.dirty[peer] = false
	l.attached, l.mirror = false, nil
	return l
}

func (e *Endpoint) Feed(peer int, from uint64) {
	e.check()
	l := e.peers[peer]
	if l == nil || l.fed || from%ring.Align != 0 || from > e.ring.Tail() || from < e.ring.Reclaimed() {
		panic("sim: Feed of a peer that is not attached, twice, or from outside the ring")
	}
	l.fed = true
	l.out.send(e.net, kindFeed, l.outTag, from)
	e.dirty[peer] = true
}

// adopt follows the peer's newest attachment that has arrived.
func (l *link) adopt() bool {
	if l.in.tag == l.tag {
		return l.tag != 0
	}
	l.tag, l.mirror = l.in.tag, nil
	if l.tag != 0 {
		l.last = rdma.Marks{}
	}
	return l.tag != 0
}

func (e *Endpoint) Mirror(peer int) *ring.Mirror {
	e.check()
	l := e.peers[peer]
	if l == nil || !l.adopt() {
		return nil
	}
	return l.mirror
}

func (e *Endpoint) Poll() {
	e.check()
	for _, l := range e.peers {
		if l == nil || !l.adopt() || l.malformed || l.in.feed == 0 {
			continue
		}
		if l.mirror == nil {
			from := l.in.feed - 1
			if l.resume.tag == l.tag {
				from = l.resume.cursor
			}
			l.mirror = ring.NewMirror(l.in.buf, from)
		}
		if l.in.overwritten(l.mirror.Cursor()) {
			e.net.stats.EarlyReclaims++
		}
		if l.in.have > l.mirror.Limit() && !l.mirror.SetLimit(l.in.have) {
			l.mirror, l.malformed = nil, true
		}
	}
}

func (e *Endpoint) Publish() {
	e.check()
	if e.published == e.ring.Tail() {
		return
	}
	e.published = e.ring.Tail()
	for i, l := range e.peers {
		if l != nil {
			l.out.send(e.net, kindTail, l.outTag, e.published)
			e.dirty[i] = true
		}
	}
}

func (e *Endpoint) PublishMarks(peer int, m *rdma.Marks) {
	e.check()
	if l := e.peers[peer]; l != nil && *m != l.sent {
		l.sent = *m
		l.out.sendMarks(e.net, l.outTag, m)
		e.dirty[peer] = true
	}
}

func (e *Endpoint) Marks(peer int, m *rdma.Marks) {
	e.check()
	l := e.peers[peer]
	if l == nil {
		*m = rdma.Marks{}
		return
	}
	if l.adopt() {
		l.last = l.in.line
	}
	*m = l.last
}

func (e *Endpoint) WakePeers() {
	e.check()
	for i, l := range e.peers {
		if l != nil && e.dirty[i] {
			l.out.send(e.net, kindWake, l.outTag, 0)
		}
	}
	clear(e.dirty[:])
}

func (e *Endpoint) PrepareSleep() { e.check(); e.state, e.woken = preparing, false }
func (e *Endpoint) CancelSleep()  { e.check(); e.state = awake }

// Sleep returns at once; Asleep says when it is over.
func (e *Endpoint) Sleep(timeout time.Duration) {
	e.check()
	if e.state != preparing {
		panic("sim: Sleep without PrepareSleep")
	}
	e.state = awake
	if e.woken || timeout == 0 {
		return
	}
	e.state, e.wakeAt = asleep, math.MaxUint64
	if timeout > 0 {
		e.wakeAt = e.net.now + max(1, uint64((timeout+e.net.o.TickTime-1)/e.net.o.TickTime))
		e.net.soon = min(e.net.soon, e.wakeAt)
	}
}

func (e *Endpoint) Wake() {
	e.woken = true
	if e.state == asleep {
		e.state = awake
	}
}

type remote struct {
	net   *Net
	peer  *Endpoint
	from  int
	bytes uint64
	shut  bool
}

// Remote reads the peer's memory as it is, without delay; an error while the
// link to the peer is held back or the peer is gone.
func (e *Endpoint) Remote(peer int, incarnation uint32) (rdma.Remote, error) {
	e.check()
	if e.closed {
		return nil, rdma.ErrClosed
	}
	x, err := e.net.checkPeer(e, peer, incarnation)
	if err != nil {
		return nil, err
	}
	if x.exposed == nil {
		return nil, fmt.Errorf("%w: node %d exposes nothing", rdma.ErrNoPeer, peer)
	}
	return &remote{net: e.net, peer: x, from: e.cfg.Node}, nil
}

func (r *remote) Size() int64       { return int64(len(r.peer.exposed)) }
func (r *remote) BytesRead() uint64 { return r.bytes }
func (r *remote) Close() error      { r.shut = true; return nil }

func (r *remote) ReadAt(dst []byte, off int64) (int, error) {
	if err := r.Gather(dst, []rdma.Range{{Off: off, Len: len(dst)}}); err != nil {
		return 0, err
	}
	return len(dst), nil
}

func (r *remote) Gather(dst []byte, ranges []rdma.Range) error {
	if r.shut {
		return rdma.ErrClosed
	}
	if err := gather.Check(len(dst), ranges, r.Size()); err != nil {
		return err
	}
	if p := r.peer.cfg.Node; r.peer.dead || r.peer.closed || r.net.cut[r.from][p] || r.net.cut[p][r.from] || r.net.pause[r.from] {
		return fmt.Errorf("%w: node %d cannot be read now", rdma.ErrNoPeer, p)
	}
	r.bytes += uint64(len(dst))
	return gather.Copy(dst, r.peer.exposed, ranges)
}

func (e *Endpoint) Close() error {
	e.check()
	if e.closed {
		return rdma.ErrClosed
	}
	for i := range nodesMax {
		if l := e.Detach(i); l != nil {
			l.Close()
		}
	}
	e.closed = true
	kept := e.net.ends[:0]
	for _, x := range e.net.ends {
		if x != e {
			kept = append(kept, x)
		}
	}
	clear(e.net.ends[len(kept):])
	e.net.ends = kept
	return nil
}
