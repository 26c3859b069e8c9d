//go:build verbs

package verbs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"healkv/cgo/ibverbs"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// ErrConfig is a configuration outside its limits.
var ErrConfig = errors.New("verbs: config")

func validate(c *rdma.Config) error {
	if c.RingBytes == 0 {
		c.RingBytes = ringBytesDefault
	}
	if err := rdma.CheckEnd(c.Node, c.Nodes, c.Shard, c.Incarnation); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	switch {
	case c.Exchange == nil:
		return fmt.Errorf("%w: no exchange of connection parameters; verbs needs the control plane over TCP", ErrConfig)
	case c.RingBytes < ringBytesMin || c.RingBytes > ringBytesMax || c.RingBytes&(c.RingBytes-1) != 0:
		return fmt.Errorf("%w: ring of %d bytes: want a power of two from %d to %d", ErrConfig, c.RingBytes, ringBytesMin, ringBytesMax)
	}
	return nil
}

// Endpoint is rdma.Endpoint over reliable connections.
type Endpoint struct {
	cfg  rdma.Config
	self int
	log  *slog.Logger
	dev  *device

	// The worker's.
	out          *ring.Out
	published    uint64
	peers        [nodesMax]*link // attached; index is the node
	attached     uint32          // bit i: peers[i] is not nil
	dirty        uint32          // peers that something is to be posted for
	attaches     uint64          // count, makes every tag different
	version      uint64          // of the newest line
	sleeps       uint64          // number of the newest sleep that was announced
	requests     []ibverbs.Request
	owners       []*link // of requests: whose lane it is
	done         []ibverbs.Completion
	rung         bool      // a peer rang, or has news, since PrepareSleep
	fading       []*inLane // not read any more; a mirror of the last Poll may still be in use
	counts       Counters
	farewellWait time.Duration // farewellTime; tests wait longer
	everySends   bool          // tests: the next lines are signalled

	staging   []byte
	stagingMR *ibverbs.MR
	stagingAt uint64

	bell bell
	news atomic.Bool // something under mu is for the worker

	mu      sync.Mutex
	lanes   uint32 // count of lanes made
	links   [nodesMax][]*link
	in      [nodesMax][]*inLane // oldest first
	left    [nodesMax]rewind
	evicted []*inLane // fenced; the worker may have them among its candidates
	exposed exposed
	remotes map[*remote]bool

	readDirect, readStaged atomic.Uint64 // bytes, see ReadStats
	closing                bool
	mending                [nodesMax]bool
	tasks                  sync.WaitGroup // goroutines of this endpoint
	ctx                    context.Context
	cancel                 context.CancelFunc

	remade   atomic.Uint64 // lanes opened anew
	answered atomic.Uint64

	complained [nodesMax]atomic.Uint64 // incarnation + 1 of the life that was complained of
}

var _ rdma.Endpoint = (*Endpoint)(nil)
var _ rdma.Exposer = (*Endpoint)(nil)

func open(c rdma.Config) (rdma.Endpoint, error) { return New(c) }

// New opens the device that the configuration names and serves peers that want
// to connect. ErrConfig, or ErrDevice with what is missing.
func New(c rdma.Config) (e *Endpoint, err error) {
	if err := validate(&c); err != nil {
		return nil, err
	}
	e = &Endpoint{cfg: c, self: c.Node, log: c.Logger, farewellWait: farewellTime, remotes: map[*remote]bool{},
		requests: make([]ibverbs.Request, 0, nodesMax*(burstMax+lanesMax*receiveDepth)),
		owners:   make([]*link, 0, nodesMax*(burstMax+lanesMax*receiveDepth)),
		done:     make([]ibverbs.Completion, completions)}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	defer func(made *Endpoint) { // e is nil by then
		if err != nil {
			made.cancel()
			made.free()
		}
	}(e)
	if e.dev, err = openDevice(c.Verbs, c.Nodes); err != nil {
		return nil, err
	}
	if e.staging, err = mapMemory(c.RingBytes); err != nil {
		return nil, err
	}
	if e.stagingMR, err = e.dev.register(e.staging, 0); err != nil {
		return nil, err
	}
	e.stagingAt = ibverbs.Address(e.staging)
	e.out = ring.NewOut(e.staging)
	if err = e.bell.open(); err != nil {
		return nil, err
	}
	c.Exchange.Serve(e.answer)
	e.log.Info("verbs endpoint", "device", e.dev.device, "port", e.dev.port, "gid_index", e.dev.gidIndex, "gid_type", e.dev.gidType, "mtu", e.dev.mtu)
	return e, nil
}

// Device names the device, its port and the kind of GID, for status.
func (e *Endpoint) Device() string {
	return fmt.Sprintf("%s port %d, GID %d (%s), path MTU %d", e.dev.device, e.dev.port, e.dev.gidIndex, e.dev.gidType, e.dev.mtu)
}

// free gives back what New took. No lane is left.
func (e *Endpoint) free() error {
	var errs []error
	if e.stagingMR != nil {
		errs = append(errs, e.stagingMR.Close())
	}
	if e.staging != nil {
		errs = append(errs, unmapMemory(e.staging))
	}
	if e.dev != nil {
		errs = append(errs, e.dev.close())
	}
	e.bell.close()
	return errors.Join(errs...)
}

// laneID makes the name of a new lane with the peer. The lock is held.
func (e *Endpoint) laneID(peer int) uint32 {
	e.lanes++
	return e.lanes<<4 | uint32(peer)
}

// tell makes the worker look at what is under the lock.
func (e *Endpoint) tell() {
	e.news.Store(true)
	e.Wake()
}

// Close detaches everybody and gives all memory back, that of links that are
// still prepared as well.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closing {
		e.mu.Unlock()
		return rdma.ErrClosed
	}
	e.closing = true
	e.mu.Unlock()
	e.cancel()
	for i := range nodesMax {
		e.Detach(i)
	}
	e.cfg.Exchange.Serve(nil)
	e.tasks.Wait()
	var errs []error
	for r := range e.remotes {
		errs = append(errs, r.close())
	}
	errs = append(errs, e.exposed.close())
	for i := range nodesMax {
		for _, l := range e.links[i] {
			l.state = linkClosed
			errs = append(errs, l.free())
		}
		for _, n := range e.in[i] {
			errs = append(errs, n.close())
		}
		e.links[i], e.in[i] = nil, nil
	}
	for _, n := range append(e.fading, e.evicted...) {
		errs = append(errs, n.close())
	}
	e.out, e.fading, e.evicted = nil, nil, nil
	return errors.Join(append(errs, e.free())...)
}
