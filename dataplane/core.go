package dataplane

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem"
)

// Lease is what a read checks after it has its value (hazard H12).
type Lease interface {
	// Valid reports whether the lease holds at this moment.
	Valid() bool
	// Generation changes whenever the lease was lost and regained, or a view
	// came in which this life is not live.
	Generation() uint64
}

// Core is one life of a node as its sessions see it: the shard workers and the
// lease. A node that was fenced gets a new one.
type Core struct {
	workers []*Worker
	lease   Lease
	serving atomic.Bool // a view with this life live is installed in all shards
	closed  atomic.Bool // workers take nothing any more
	// diskBound: a write is answered after a flush that runs beside its worker.
	diskBound bool

	mu    sync.Mutex // lanes: cold
	lanes []*lane
}

// NewCore joins the workers of one life.
func NewCore(workers []*Worker, lease Lease) *Core {
	c := &Core{workers: workers, lease: lease}
	for _, w := range workers {
		w.core = c
		c.diskBound = c.diskBound || w.diskBound()
	}
	return c
}

// diskBound: a write is answered after a flush that runs beside the worker.
func (w *Worker) diskBound() bool {
	return w.gates.Answer == proto.Durable && w.pool.FlushesBeside()
}

// Workers are the shards, in order.
func (c *Core) Workers() []*Worker { return c.workers }

// SetServing lets clients in, or turns them away.
func (c *Core) SetServing(on bool) { c.serving.Store(on) }

// Serving reports whether clients are answered at this moment.
func (c *Core) Serving() bool { return c.serving.Load() && c.lease.Valid() }

// shardOf spreads hashes over the shards. It mixes first, since the index uses
// the hash's ends itself.
func (c *Core) shardOf(hash uint64) int {
	if len(c.workers) == 1 {
		return 0
	}
	hi, _ := bits.Mul64(hash*0x9E3779B97F4A7C15, uint64(len(c.workers)))
	return int(hi)
}

// held reports whether what was read since the lease's generation was asked for
// may be given to a client: the lease holds, and did all the while (H12).
func (c *Core) held(generation uint64) bool {
	return plant.Is(plant.H12Session) || c.lease.Valid() && (c.lease.Generation() == generation || plant.Is(plant.H12Generation)) && c.serving.Load()
}

// LiveKeys counts keys with a value.
func (c *Core) LiveKeys() (n uint64) {
	for _, w := range c.workers {
		n += w.st.LiveKeys()
	}
	return n
}

// Complete records in the pools that they are whole, and the view in which they
// became so: what a life does once its promotion is decided.
func (c *Core) Complete(e proto.Epoch) error {
	for _, w := range c.workers {
		if err := w.pool.WriteSuperblock(func(s *pmem.Super) { s.Complete, s.Doubtful, s.ViewEpoch = true, false, uint32(e) }); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the life for its clients and workers: every operation under way is
// answered (unknown if it had reached the log, rejected else), readers have
// left the mappings when it returns.
func (c *Core) Stop() {
	c.serving.Store(false)
	for _, w := range c.workers {
		w.stop()
	}
	c.closed.Store(true)
	c.mu.Lock()
	lanes := slices.Clone(c.lanes) // sessions that close move the list
	c.mu.Unlock()
	for _, l := range lanes {
		c.drain(l)
	}
	for _, w := range c.workers {
		if !plant.Is(plant.StopReaders) {
			w.st.Shut()
		}
	}
}

// drain answers what lies in a lane whose worker has ended. Both the stopping
// goroutine and the session may come here: the mutex makes each op end once.
func (c *Core) drain(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t := l.subTail.Load(); l.subHead < t; l.subHead++ {
		op := l.sub[l.subHead&l.mask]
		op.Err = ErrTryAgain
		l.cmp[l.cmpNext&l.mask] = op
		l.cmpNext++
	}
	l.cmpTail.Store(l.cmpNext)
	l.s.wake()
}

// Host is where sessions find the present life. The zero value has none.
type Host struct {
	core   atomic.Pointer[Core]
	closed atomic.Bool
	hash   func(key []byte) uint64

	mu         sync.Mutex // of the next two, and what workers know of them: cold
	attendants []*attendant
	latest     *Core // the present life, or the last one; nil before the first
}

// NewHost makes a host whose keys are hashed with the cluster's keyed hash.
func NewHost(hash func(key []byte) uint64) *Host { return &Host{hash: hash} }

// SetCore makes c the present life; nil while there is none. The workers of the
// one before have ended when there is another.
func (h *Host) SetCore(c *Core) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.core.Store(c)
	if c != nil {
		h.latest = c
		if !plant.Is(plant.AttendNext) {
			h.tell()
		}
	}
}

// Core is the present life, nil if there is none.
func (h *Host) Core() *Core { return h.core.Load() }

// Close makes every later operation end with ErrClosed.
func (h *Host) Close() {
	h.closed.Store(true)
	h.core.Store(nil)
}
