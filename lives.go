package healkv

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/heal"
	"healkv/pmem"
	"healkv/rdma"
	"healkv/rdma/shm"
)

// life is what one incarnation of the node holds.
type life struct {
	self      proto.Member
	pools     []*pmem.Pool
	endpoints []rdma.Endpoint
	alive     *shm.Liveness // shm only
	device    string        // that the endpoints run on
	core      *dataplane.Core
	gate      *gate
	heal      *heal.Life
	turns     []uint64
	failed    atomic.Pointer[error] // of a pool: the life ends
	whole     bool                  // the way back is over and recorded; Node.mu, as the next
	waits     string                // why the way back cannot go on
}

// run is one life after the other.
func (n *Node) run() {
	defer close(n.done)
	var err error
	for full := ""; ; {
		ctx, end, ok := n.nextLife()
		if !ok {
			break
		}
		err = pmem.Guard(func() error { return n.live(ctx, full) })
		end()
		full = ""
		var f *heal.Fenced
		again := errors.As(err, &f)
		if again && f.Full {
			full = f.Why
		}
		if n.ctx.Err() != nil || n.closing.Load() {
			break
		}
		if n.isDrained() && (again || errors.Is(err, context.Canceled) || !n.isFinal(err)) {
			continue
		}
		if !again {
			if n.isFinal(err) {
				break
			}
			n.failAgain(err)
			continue
		}
		n.event("fenced", 0, f.Why)
		n.log.Warn("begins another life", "why", f.Why, "full", f.Full)
		select {
		case <-n.ctx.Done():
		case <-time.After(50 * time.Millisecond): // a node that keeps failing backs off
		}
	}
	n.host.Close()
	if n.ctx.Err() != nil || n.closing.Load() {
		err = nil
	}
	n.mu.Lock()
	n.err = err
	n.mu.Unlock()
	if err != nil {
		n.log.Error("node stopped", "err", err)
	}
	n.closeParts()
}

// live is one incarnation from its pools to its end, which ctx can bring. force
// says why it must heal by full copy, empty otherwise.
func (n *Node) live(ctx context.Context, force string) (err error) {
	l := &life{turns: make([]uint64, n.cfg.Shards)}
	defer func() { n.bury(l) }()
	begun := n.first
	n.first = firstLife{}
	if l.pools = begun.pools; l.pools == nil {
		if l.pools, err = n.openPools(); err != nil {
			return err
		}
		n.mapped(l.pools)
	}
	n.tellDamage(l.pools)

	inc, err := n.nextIncarnation(ctx, begun.number)
	if err != nil {
		return err
	}
	l.self = proto.Member{Node: proto.NodeID(n.cfg.Node), Incarnation: inc}
	v := n.members.Current() // what a majority says, which has just handed out the life
	if err := strange(newestEpoch(l.pools), &v, l.self.Node, n.cfg.StateDir); err != nil {
		return err
	}
	if n.dir != nil {
		if l.alive, err = n.dir.HoldLiveness(n.cfg.Node, uint32(inc)); err != nil {
			return err
		}
	}
	l.gate = &gate{lease: n.members.Lease()}
	workers := make([]*dataplane.Worker, n.cfg.Shards)
	for i, p := range l.pools {
		ep, err := n.openEndpoint(l.self, i, p)
		if ep != nil {
			l.endpoints = append(l.endpoints, ep)
		}
		if d, ok := ep.(interface{ Device() string }); ok && i == 0 {
			l.device = d.Device()
		}
		if err != nil {
			return err
		}
		workers[i] = dataplane.NewWorker(dataplane.WorkerConfig{Shard: i, Nodes: n.cfg.Nodes, Pool: p, Endpoint: ep,
			Model: n.cfg.Model, Lease: l.gate, SpinTurns: n.cfg.spinTurns(p.FlushesBeside()), YieldTurns: n.cfg.yieldTurns(), OnFailure: func(shard int, err error) { n.poolFailed(l, shard, err) }, Logger: n.log,
			OnRefused: func(_ int, peer proto.Member, err error) { l.heal.Refused(peer, err) }})
	}
	n.event("endpoints_open", 0, "")
	l.core = dataplane.NewCore(workers, l.gate)
	l.heal = heal.New(n.healConfig(l, force))
	n.mu.Lock()
	n.life = l
	n.mu.Unlock()
	n.members.SetMember(l.self)
	l.heal.SawView(n.members.Current())
	if v.Epoch == 0 {
		go n.bootstrap()
	}
	n.beside.Go(func() { n.watchReady(l) })
	defer n.scrub(l)()
	err = l.heal.Run(ctx)
	if p := l.failed.Load(); p != nil {
		n.leaveFailed(l)
		return *p
	}
	return err
}

// mapped notes that the pools of a life are open.
func (n *Node) mapped(pools []*pmem.Pool) {
	first := pools[0].Recovered()
	n.mu.Lock()
	n.opened = first.How()
	n.mu.Unlock()
	n.event("pool_mapped", 0, first.How())
}

// nextIncarnation is the number of the next life: the one that Open has asked
// for, or a new one.
func (n *Node) nextIncarnation(ctx context.Context, asked <-chan numbered) (proto.Incarnation, error) {
	if asked != nil {
		select {
		case x := <-asked:
			return x.incarnation, x.err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	inc, err := n.members.NextIncarnation(ctx)
	if err == nil {
		n.event("incarnation", 0, "")
	}
	return inc, err
}

func (n *Node) healConfig(l *life, force string) heal.Config {
	c := heal.Config{Self: l.self, Configured: n.configured(), Core: l.core,
		Register: n.members, Control: n.control, Full: force, Budget: n.cfg.RecoveryBudgetBytes, Floor: n.cfg.RecoveryFloorBytes,
		Lease: n.cfg.Lease, Running: n.members.Running, NoLink: n.members.NoLink, HeldBack: n.members.HeldBack,
		ProvenDead: func(m proto.Member) bool { dead, err := n.provenDead(m); return err == nil && dead },
		Event: func(name string, e proto.Epoch, detail string) {
			n.wayBack(l, name, detail)
			if name == "view_installed" {
				n.mayServe()
			}
			n.event(name, uint32(e), detail)
		},
		Enter:    func(full bool) error { return n.enter(l, full) },
		Promoted: func() error { return n.promoted(l) }, CompareEvery: n.cfg.DigestInterval,
		Logger: n.log,
	}
	v := n.members.Current()
	c.Opened(l.pools, &v, n.begun())
	if c.Full == "" && n.cfg.Recovery == RecoveryFull {
		c.Full = "selected by configuration"
	}
	return c
}

// enter begins the life's pools and starts its workers.
func (n *Node) enter(l *life, full bool) error {
	if err := n.begin(); err != nil {
		return err
	}
	for _, w := range l.core.Workers() {
		if err := pmem.Guard(func() error { return w.Open(l.self, full) }); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.failing.begun = true
	n.mu.Unlock()
	for _, w := range l.core.Workers() {
		w.Start()
	}
	n.host.SetCore(l.core)
	return nil
}

// promoted records that the pool is whole and in which view.
func (n *Node) promoted(l *life) error {
	// The view that was decided, which the shards may not have installed yet: at
	// the very first start they have none.
	if err := pmem.Guard(func() error { return l.core.Complete(n.members.Current().Epoch) }); err != nil {
		return err
	}
	r := l.heal.Recovery()
	n.mu.Lock()
	n.last, l.whole = recoveryStatus(&r), true
	n.mu.Unlock()
	n.works()
	return nil
}

// bury gives back everything of a life, in the order in which nobody is left
// using it.
func (n *Node) bury(l *life) {
	n.mu.Lock()
	if n.life == l {
		n.life = nil
	}
	if n.isOpen {
		n.ready, n.isOpen = make(chan struct{}), false
	}
	n.mu.Unlock()
	entered := n.host.Core() == l.core && l.core != nil
	if entered {
		n.host.SetCore(nil)
		l.core.Stop()
	}
	for _, ep := range l.endpoints {
		ep.Close()
	}
	var wrong error
	for i, p := range l.pools {
		if err := pmem.Guard(func() error { return p.Close(entered && l.failed.Load() == nil) }); err != nil {
			n.log.Warn("closing a pool", "shard", i, "err", err)
			wrong = errors.Join(wrong, fmt.Errorf("closing the pool of shard %d in %s: %w; what was not flushed is trusted no more, and fetched when the node is back: look after the disk first", i, n.cfg.PoolDir, err))
		}
	}
	n.mu.Lock()
	n.buried = wrong
	n.mu.Unlock()
	if l.alive != nil {
		l.alive.Release()
	}
}
