package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// Config says which end of which stream to make.
type Config struct {
	Dir         *Dir   // open; shared by all endpoints of a process
	Node        int    // 0 to Nodes-1
	Nodes       int    // configured nodes, at most 16
	Shard       int    // 0 to 63
	Incarnation uint32 // from 1; this life of the node
	RingBytes   int    // power of two, 4 KiB to 1 GiB; 0 means 4 MiB. Holds what the slowest peer has not applied
}

// ErrConfig is a configuration outside its limits.
var ErrConfig = errors.New("shm: config")

func (c *Config) validate() error {
	if c.RingBytes == 0 {
		c.RingBytes = ringBytesDefault
	}
	if err := rdma.CheckEnd(c.Node, c.Nodes, c.Shard, c.Incarnation); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	switch {
	case c.Dir == nil:
		return fmt.Errorf("%w: no run directory", ErrConfig)
	case c.RingBytes < 0:
		return fmt.Errorf("%w: ring of %d bytes", ErrConfig, c.RingBytes)
	}
	if err := checkRingBytes(uint64(c.RingBytes)); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

var _ rdma.Exposer = (*Endpoint)(nil)

// Endpoint is rdma.Endpoint over files of a run directory.
type Endpoint struct {
	cfg  Config
	dir  *Dir
	self int

	out       *ring.Out
	page      *page // own header page
	published uint64

	peers    [nodesMax]*link // attached; index is the node
	left     [nodesMax]rewind
	attached uint32 // bit i: peers[i] is not nil
	dirty    uint32 // peers that something was published for since WakePeers
	attaches uint32 // count, makes every tag different

	sleeper sleeper
	counts  Counters

	ownRing  *mapping
	bell     ownBell
	bellRung atomic.Uint64
	closed   atomic.Bool
	ownsDir  bool // opened by name: Close closes the directory too
}

// Counters of one endpoint; the worker's, like all else.
type Counters struct {
	Malformed uint64 // links cut because the peer's bytes made no sense
	Wakes     uint64 // system calls WakePeers made
	SelfWakes uint64 // system calls Wake made
	Sleeps    uint64 // calls of Sleep
}

var _ rdma.Endpoint = (*Endpoint)(nil)

// New makes the files of this life and their mappings. ErrConfig, or what the
// file system says; fs.ErrExist means that this very life has an endpoint.
func New(c Config) (*Endpoint, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	e := &Endpoint{cfg: c, dir: c.Dir, self: c.Node}
	// The bell is made first: peers look for the ring.
	bellMem, err := e.dir.create(e.name(extBell), e.identity(kindBell, 0))
	if err != nil {
		return nil, err
	}
	e.ownRing, err = e.dir.create(e.name(extRing), e.identity(kindRing, uint64(c.RingBytes)))
	if err != nil {
		bellMem.close()
		e.dir.remove(e.name(extBell))
		return nil, err
	}
	e.bell.open(bellMem)
	e.sleeper.line = bellOf(bellMem.mem)
	e.page = pageOf(e.ownRing.mem)
	e.out = ring.NewOut(e.ownRing.mem[pageBytes:])
	return e, nil
}

func (e *Endpoint) name(ext string) string {
	return shardName(e.cfg.Node, e.cfg.Incarnation, e.cfg.Shard, ext)
}

func (e *Endpoint) identity(kind uint32, data uint64) identity {
	return identity{kind, uint32(e.cfg.Node), e.cfg.Incarnation, uint32(e.cfg.Shard), data}
}

// linkState is who owns a link: its maker, the endpoint, nobody.
type linkState uint32

const (
	linkPrepared linkState = iota
	linkAttached
	linkClosed
)

// link is one life of a peer: its ring, read-only, and its bell.
type link struct {
	owner       *Endpoint
	peer        int
	incarnation uint32
	state       atomic.Uint32 // linkState; changes with the owner

	ring *mapping
	bell *mapping

	// The worker's, from Attach to Detach.
	page      *page     // the peer's
	data      []byte    // the peer's ring
	bellLine  *bellLine // the peer's
	tag       uint64    // the pair line's tag we go by; 0: the peer has not attached us
	mirror    *ring.Mirror
	seen      uint64 // the last tail taken in; the peer never steps below it
	malformed bool   // its bytes made no sense: nothing more is read
	fed       bool   // we fed it
	resume    rewind
	last      rdma.Marks
	sent      rdma.Marks // what its line in our page holds
}

// rewind is where the last link to a node stood when it was detached. A new
// link to the same life that finds the peer's attachment unchanged goes on
// there: the peer has reclaimed nothing above it, and the position it fed us
// from may be long gone.
type rewind struct {
	incarnation uint32
	tag         uint64 // 0: nothing to go on with
	cursor      uint64
}

func (l *link) Peer() int           { return l.peer }
func (l *link) Incarnation() uint32 { return l.incarnation }

var errAttached = errors.New("shm: link is attached; detach it first")

// Close unmaps the peer's files. The link must not be attached, and nobody may
// hold a mirror of it.
func (l *link) Close() error {
	if !l.state.CompareAndSwap(uint32(linkPrepared), uint32(linkClosed)) {
		if linkState(l.state.Load()) == linkAttached {
			return fmt.Errorf("%w: peer %d, incarnation %d", errAttached, l.peer, l.incarnation)
		}
		return nil
	}
	return errors.Join(l.ring.close(), l.bell.close())
}

// Prepare maps the files of one life of a peer. ErrNoPeer, or ErrFile if they
// are not what they should be. Any goroutine.
func (e *Endpoint) Prepare(peer int, incarnation uint32) (rdma.Link, error) {
	if e.closed.Load() {
		return nil, rdma.ErrClosed
	}
	if err := e.checkPeer(peer, incarnation); err != nil {
		return nil, err
	}
	l := &link{owner: e, peer: peer, incarnation: incarnation}
	id := identity{kindRing, uint32(peer), incarnation, uint32(e.cfg.Shard), 0}
	var err error
	if l.ring, err = e.dir.open(shardName(peer, incarnation, e.cfg.Shard, extRing), &id, false); err != nil {
		return nil, noPeer(err)
	}
	id = identity{kindBell, uint32(peer), incarnation, uint32(e.cfg.Shard), 0}
	if l.bell, err = e.dir.open(shardName(peer, incarnation, e.cfg.Shard, extBell), &id, true); err != nil {
		l.ring.close()
		return nil, noPeer(err)
	}
	l.page = pageOf(l.ring.mem)
	l.data = l.ring.mem[pageBytes:]
	l.bellLine = bellOf(l.bell.mem)
	return l, nil
}

func (e *Endpoint) checkPeer(peer int, incarnation uint32) error {
	if peer < 0 || peer >= e.cfg.Nodes || peer == e.self || incarnation == 0 {
		return fmt.Errorf("%w: node %d, incarnation %d, asked by node %d of %d", rdma.ErrNoPeer, peer, incarnation, e.self, e.cfg.Nodes)
	}
	// A crashed life leaves its files behind.
	if dead, err := e.dir.ProvenDead(peer, incarnation); err != nil {
		return err
	} else if dead && !plant.Is(plant.ShmDead) {
		return fmt.Errorf("%w: node %d, incarnation %d is proven dead", rdma.ErrNoPeer, peer, incarnation)
	}
	return nil
}

// noPeer turns a missing file into the error the interface names.
func noPeer(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", rdma.ErrNoPeer, err)
	}
	return err
}

// Attach starts using a link: S2 for our lines for the peer. The older link to
// the same node, if any, is detached and closed in the background, so nobody
// may hold a mirror of it; who wants it back detaches first.
func (e *Endpoint) Attach(x rdma.Link) {
	l, ok := x.(*link)
	if !ok || l.owner != e {
		panic("shm: Attach of another endpoint's link")
	}
	if !l.state.CompareAndSwap(uint32(linkPrepared), uint32(linkAttached)) {
		panic("shm: Attach of a link that is attached or closed")
	}
	if old := e.Detach(l.peer); old != nil {
		go old.Close() // unmapping is slow
	}
	pair, marks := &e.page.pairs[l.peer], &e.page.marks[l.peer]
	if !plant.Is(plant.ShmAttach) {
		marks.store(&rdma.Marks{})
		pair.feed.Store(0)
	}
	e.attaches++
	pair.tag.Store(uint64(e.attaches)<<32 | uint64(l.incarnation))

	l.tag, l.mirror, l.fed, l.malformed = 0, nil, false, false
	l.last, l.sent = rdma.Marks{}, rdma.Marks{}
	if l.resume = e.left[l.peer]; l.resume.incarnation != l.incarnation {
		l.resume = rewind{}
	}
	e.peers[l.peer] = l
	e.attached |= 1 << l.peer
	e.dirty |= 1 << l.peer
}

// Detach stops using a peer and gives its link back.
func (e *Endpoint) Detach(peer int) rdma.Link {
	if peer < 0 || peer >= nodesMax || e.peers[peer] == nil {
		return nil
	}
	l := e.peers[peer]
	if !plant.Is(plant.ShmDetach) {
		e.page.pairs[peer].tag.Store(0)
	}
	e.peers[peer] = nil
	e.attached &^= 1 << peer
	e.dirty &^= 1 << peer
	e.left[peer] = l.resume
	e.left[peer].incarnation = l.incarnation
	if l.mirror != nil {
		e.left[peer].tag, e.left[peer].cursor = l.tag, l.mirror.Cursor()
	}
	l.mirror = nil
	l.state.Store(uint32(linkPrepared))
	return l
}

// Counters is a copy of the endpoint's counts. Worker.
func (e *Endpoint) Counters() Counters {
	c := e.counts
	c.SelfWakes = e.bellRung.Load()
	return c
}

// Malformed is the set of attached nodes (bit i for node i) of which nothing is
// read any more because their bytes made no sense. Worker.
func (e *Endpoint) Malformed() (set uint16) {
	for i, l := range e.peers {
		if l != nil && l.malformed {
			set |= 1 << i
		}
	}
	return set
}

// Close detaches everybody, unmaps and removes this life's files. Links that
// are prepared and not attached stay their makers'.
func (e *Endpoint) Close() error {
	if e.closed.Swap(true) {
		return rdma.ErrClosed
	}
	var errs []error
	for i := range nodesMax {
		if l := e.Detach(i); l != nil {
			errs = append(errs, l.Close())
		}
	}
	for _, ext := range []string{extRing, extBell, extPool} {
		errs = append(errs, e.dir.remove(e.name(ext)))
	}
	e.sleeper.line = e.bell.close()
	e.out, e.page = nil, nil
	errs = append(errs, e.ownRing.close())
	if e.ownsDir {
		errs = append(errs, e.dir.Close())
	}
	return errors.Join(errs...)
}
