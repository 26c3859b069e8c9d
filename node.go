package healkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal"
	"healkv/heal/control"
	"healkv/heal/identity"
	"healkv/heal/membership"
	"healkv/heal/membership/suspect"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/rdma"
	"healkv/rdma/shm"
)

// Node is one running node. Its methods may be called from any goroutine.
type Node struct {
	cfg     Config
	log     *slog.Logger
	dir     *shm.Dir // nil unless the provider is shm
	control *control.Server
	links   *exchanges // of connection parameters, over the control plane
	ends    ends
	members *membership.Service
	host    *dataplane.Host

	first []*pmem.Pool // opened by Open for the first life

	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	err    error
	life   *life
	ready  chan struct{} // closed while serving
	isOpen bool          // ready is closed
	events []Event
	opened string
	last   *RecoveryStatus

	stuck   atomic.Bool           // the shards did not turn when they were asked last
	failure atomic.Pointer[error] // of a pool: the node stops
	closing atomic.Bool           // no further life

	orders  orders
	drained bool   // no further life until Resume; Node.mu, as the next four
	buried  error  // what went wrong at the end of the last life
	endLife func() // ends the present life
	rests   chan struct{}
	resume  chan struct{}
	stays   bool // the life that was drained stays in the view: nobody takes over from it
	resting bool // drained, and its life has ended

	epochs sync.Once // the warning that they run out

	renew one // of a version that is used up
	again one // leaving of a life that was admitted after it had ended
}

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
	whole     bool   // the way back is over and recorded; Node.mu, as the next
	waits     string // why the way back cannot go on
}

// Open starts a node and returns once it answers Status; it finds the others,
// recovers and serves in the background (WaitReady). Errors: ErrConfig and
// what the run directory, the view register and the pools refuse.
func Open(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: c, log: c.Logger.With("node", c.Node), done: make(chan struct{}), ready: make(chan struct{})}
	n.orders.init()
	n.event("process_started", 0, "")
	seed := c.HashSeed
	n.host = dataplane.NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, seed) })
	if err := n.open(ctx); err != nil {
		n.closeParts()
		return nil, err
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	go n.run()
	return n, nil
}

func (n *Node) configured() (s proto.NodeSet) {
	for i := range n.cfg.Nodes {
		s = s.With(proto.NodeID(i))
	}
	return s
}

// open makes what outlives a life: run directory, control plane, membership.
// The pools are looked at first, since a wrong one must not disturb anybody.
func (n *Node) open(context.Context) (err error) {
	c := &n.cfg
	if n.first, err = n.openPools(); err != nil {
		return err
	}
	if c.Provider == shm.Name {
		if err := n.openRunDir(); err != nil {
			return err
		}
	}
	plane := control.Config{ClusterID: c.ClusterID, Node: proto.NodeID(c.Node), Configured: n.configured(), Logger: n.log,
		// A lease is chosen with the pace of the machines in mind.
		Handshake: max(control.HandshakeDefault, c.Lease)}
	if c.Provider == shm.Name {
		plane.RunDir = c.RunDir
	} else {
		plane.TCP = &control.TCP{Listen: c.ControlListen, Peers: c.ControlPeers, Files: c.TLS, Renewed: n.redialData, Expires: n.expires}
	}
	if n.control, err = control.New(plane); err != nil {
		return err
	}
	var proof func(proto.Member) (bool, error) // nil: none can be had, between hosts
	if n.dir != nil {
		proof = n.provenDead
	}
	n.members, err = membership.New(membership.Config{
		Node: proto.NodeID(c.Node), ClusterID: c.ClusterID, StateDir: c.StateDir, Ephemeral: c.Ephemeral,
		Configured: n.configured(), Initial: proto.View{Configured: n.configured(), Model: c.Model, Shards: uint8(c.Shards)}, HashSeed: c.HashSeed,
		Lease: c.Lease, Drift: c.Drift, TrustRefused: c.TrustRefused, BootstrapWait: c.BootstrapWait, Control: n.control, Logger: n.log,
		Progress: n.progress, ProvenDead: proof, OnView: n.sawView, Watch: n.watch(), Probe: n.probe,
		OnOlder:   func(why string) { n.event("older_acceptor", 0, why) },
		OnSuspect: func(x proto.NodeID, why string) { n.event("suspected", 0, fmt.Sprintf("node %d: %s", x, why)) },
		OnClass: func(x proto.NodeID, class suspect.Class, why string) {
			n.event("node_"+class.String(), 0, fmt.Sprintf("node %d: %s", x, why))
		},
		Slow: c.Slow,
	})
	if err != nil {
		return err
	}
	heal.Serve(n.control, n.healLife)
	n.links = newExchanges(n.control, c.Provider, n.log)
	if err := n.control.Start(); err != nil {
		return err
	}
	n.members.Start()
	return nil
}

// openRunDir opens what the processes of one host share.
func (n *Node) openRunDir() (err error) {
	if err := os.MkdirAll(n.cfg.RunDir, 0o700); err != nil {
		return fmt.Errorf("healkv: run directory: %w", err)
	}
	if n.dir, err = shm.Open(n.cfg.RunDir); err != nil {
		return err
	}
	_, err = n.dir.Sweep()
	return err
}

func (n *Node) closeParts() {
	for _, p := range n.first {
		p.Close(false)
	}
	n.first = nil
	if n.members != nil {
		n.members.Close()
	}
	if n.control != nil {
		n.control.Close()
	}
	if n.dir != nil {
		n.dir.Close()
	}
}

func (n *Node) healLife() *heal.Life {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		return nil
	}
	return n.life.heal
}

func (n *Node) sawView(v proto.View) {
	n.warnEpochs(v.Epoch)
	if l := n.healLife(); l != nil {
		l.SawView(v)
		return
	}
	n.leaveAgain(&v)
}

// provenDead asks the kernel of this host. Of a process elsewhere nothing is
// ever proven: its lease decides.
func (n *Node) provenDead(m proto.Member) (bool, error) {
	if n.dir == nil {
		return false, nil
	}
	return n.dir.ProvenDead(int(m.Node), uint32(m.Incarnation))
}

// progress reports whether every shard's worker turns: the lease is renewed
// only then (H29). A worker that sleeps is woken to show that it can.
func (n *Node) progress() bool {
	n.mu.Lock()
	l := n.life
	n.mu.Unlock()
	if l == nil {
		return plant.Is(plant.LifelessLease) // between two lives: nobody waits for the last one's lease
	}
	if n.host.Core() != l.core {
		return true
	}
	n.stuck.Store(false)
	for i, w := range l.core.Workers() {
		if w.Exhausted() {
			n.renew.begin(func() { n.renewVersions(l) })
		}
		was := l.turns[i]
		for tries := 0; w.Turns() == was; tries++ {
			if tries == 50 {
				n.stuck.Store(true)
				return false
			}
			l.endpoints[i].Wake()
			time.Sleep(time.Millisecond)
		}
		l.turns[i] = w.Turns()
	}
	return true
}

// renewVersions asks for the next epoch, in which versions begin anew: one is
// used up. It is called again as long as that is so.
func (n *Node) renewVersions(l *life) {
	ctx, cancel := context.WithTimeout(n.ctx, 4*n.lease())
	defer cancel()
	if _, err := n.members.SameMembers(ctx, n.members.Current().Epoch); err != nil {
		n.log.Info("a version is used up, and there is no new epoch yet", "life", l.self, "err", err)
	}
}

// lease is the configured one, or the default.
func (n *Node) lease() time.Duration { return cmp.Or(n.cfg.Lease, membership.LeaseDefault) }

// run is one life after the other.
func (n *Node) run() {
	defer close(n.done)
	var err error
	for full := ""; ; {
		ctx, end, ok := n.nextLife()
		if !ok {
			break
		}
		err = n.live(ctx, full)
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
		if n.isDrained() && (again || errors.Is(err, context.Canceled)) {
			continue
		}
		if !again {
			break
		}
		n.event("fenced", 0, f.Why)
		n.log.Warn("begins another life", "why", f.Why, "full", f.Full)
		select {
		case <-n.ctx.Done():
		case <-time.After(50 * time.Millisecond): // a node that keeps failing backs off
		}
	}
	n.host.Close()
	if n.failure.Load() == nil && (n.ctx.Err() != nil || n.closing.Load()) {
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

func (n *Node) openPools() ([]*pmem.Pool, error) {
	id, err := n.cfg.cluster()
	if err != nil {
		return nil, err
	}
	var pools []*pmem.Pool
	for i := range n.cfg.Shards {
		p, err := pmem.Open(pmem.OpenOptions{Dir: n.cfg.PoolDir, IndexDir: n.cfg.IndexDir, Domain: n.cfg.Domain,
			Identity: pmem.Identity{Cluster: id, Node: uint8(n.cfg.Node), Shard: uint8(i), Shards: uint8(n.cfg.Shards), HashSeed: n.cfg.HashSeed}})
		if err != nil {
			for _, p := range pools {
				p.Close(false)
			}
			return nil, err
		}
		pools = append(pools, p)
	}
	return pools, nil
}

// live is one incarnation from its pools to its end, which ctx can bring. force
// says why it must heal by full copy, empty otherwise.
func (n *Node) live(ctx context.Context, force string) (err error) {
	l := &life{turns: make([]uint64, n.cfg.Shards)}
	defer func() { n.bury(l) }()
	if l.pools, n.first = n.first, nil; l.pools == nil {
		if l.pools, err = n.openPools(); err != nil {
			return err
		}
	}
	first := l.pools[0].Recovered()
	n.mu.Lock()
	n.opened = first.How()
	n.mu.Unlock()
	n.event("pool_mapped", 0, first.How())

	inc, err := n.members.NextIncarnation(ctx)
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
			Model: n.cfg.Model, Lease: l.gate, SpinTurns: n.cfg.spinTurns(), OnFailure: n.poolFailed, Logger: n.log,
			OnRefused: func(_ int, peer proto.Member, err error) { l.heal.Refused(peer, err) }})
	}
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
	go n.watchReady(l)
	err = l.heal.Run(ctx)
	if p := n.failure.Load(); p != nil {
		return *p
	}
	return err
}

// newestEpoch is that of the newest view that a shard's pool knows.
func newestEpoch(pools []*pmem.Pool) (e uint32) {
	for _, p := range pools {
		e = max(e, p.Recovered().ViewEpoch)
		if pos := p.Store().LastMarker(); pos != 0 {
			if img := p.Store().Record(pos); img != nil {
				e = max(e, record.Epoch(img))
			}
		}
	}
	return e
}

// strange refuses a pool with data that the cluster of the view register cannot
// have given it: the register is empty, or it has never had this node as a
// member, or it has not come as far as the pool. To join would discard the data.
// v is no older than what a majority of the acceptors has: a pool learns of
// views that they chose and of no others, so they have forgotten some.
func strange(poolEpoch uint32, v *proto.View, n proto.NodeID, stateDir string) error {
	switch {
	case poolEpoch == 0:
		return nil
	case v.Epoch == 0:
		return fmt.Errorf("healkv: the pool has data of view %d, but the view register in %s and at the other nodes is empty: wrong state directory, or the cluster was formatted anew",
			poolEpoch, stateDir)
	case v.Incarnation[n] == 0:
		return fmt.Errorf("healkv: the pool has data of view %d, but the cluster, now at view %d, has never had node %d as a member: the pool of another cluster's past; to join with an empty pool, move it away and format the pool anew",
			poolEpoch, v.Epoch, n)
	case poolEpoch > uint32(v.Epoch) && !plant.Is(plant.RegisterOlder):
		return fmt.Errorf("healkv: the pools of node %d know view %d, but a majority of the view registers (this node's is in %s) knows none after %d: state directories were replaced by older copies; nothing was changed in the pools. Stop all nodes and put the newer state directories back: see \"State directories older than the pools\" in docs/operations.md",
			n, poolEpoch, stateDir, v.Epoch)
	}
	return nil
}

// openEndpoint makes one shard's end of the transport and exposes the pool's
// log to peers. An endpoint that comes with an error is to be closed too.
func (n *Node) openEndpoint(self proto.Member, shard int, p *pmem.Pool) (rdma.Endpoint, error) {
	c := &n.cfg
	end := rdma.Config{RunDir: c.RunDir, Node: c.Node, Nodes: c.Nodes, Shard: shard, Incarnation: uint32(self.Incarnation),
		RingBytes: c.RingBytes, Exchange: n.links.of(self, shard), Patience: c.Lease / 3, Logger: n.log, Verbs: c.Verbs}
	var err error
	end.Plain = c.DataPlain
	if end.Listen, err = c.dataAddress(shard); err != nil {
		return nil, err
	}
	if c.DataTLS {
		end.TLS, end.Peer = c.TLS.Both(identity.Name{Cluster: c.ClusterID, Node: self.Node}), identity.Peer
	}
	ep, err := rdma.Open(c.Provider, end)
	if err != nil {
		return nil, err
	}
	n.ends.opened(shard, ep)
	x, ok := ep.(rdma.Exposer)
	if !ok {
		return ep, fmt.Errorf("healkv: provider %q lets nobody read a pool: no node can recover with it", c.Provider)
	}
	path, base := p.Exposed()
	size := p.Info().LogBytes
	return ep, x.Expose(rdma.Exposed{Path: path, Base: base, Size: size, Mem: p.Region().Bytes()[base : base+size : base+size]})
}

func (n *Node) bootstrap() {
	for n.ctx.Err() == nil && n.members.Current().Epoch == 0 {
		if _, err := n.members.Bootstrap(n.ctx); err != nil {
			n.log.Debug("bootstrap: not yet", "err", err)
			select {
			case <-n.ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	n.sawView(n.members.Current())
}

func (n *Node) healConfig(l *life, force string) heal.Config {
	c := heal.Config{Self: l.self, Configured: n.configured(), Core: l.core,
		Register: n.members, Control: n.control, Full: force, Budget: n.cfg.RecoveryBudgetBytes,
		Lease: n.cfg.Lease, Running: n.members.Running, NoLink: n.members.NoLink, HeldBack: n.members.HeldBack,
		ProvenDead: func(m proto.Member) bool { dead, err := n.provenDead(m); return err == nil && dead },
		Event: func(name string, e proto.Epoch, detail string) {
			n.wayBack(l, name, detail)
			n.event(name, uint32(e), detail)
		},
		Enter:    func(full bool) error { return n.enter(l, full) },
		Promoted: func() error { return n.promoted(l) },
		Logger:   n.log,
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
		if err := w.Open(l.self, full); err != nil {
			return err
		}
	}
	for _, w := range l.core.Workers() {
		w.Start()
	}
	n.host.SetCore(l.core)
	return nil
}

// begunFile says in the state directory that this node has had a pool with
// something in it: a blank pool is a lost one from then on.
const begunFile = "begun"

func (n *Node) begun() bool {
	_, err := os.Stat(filepath.Join(n.cfg.StateDir, begunFile))
	return err == nil
}

func (n *Node) begin() error {
	if n.begun() {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(n.cfg.StateDir, begunFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("healkv: state directory: %w", err)
	}
	dir, err := os.Open(n.cfg.StateDir)
	if err != nil {
		return errors.Join(fmt.Errorf("healkv: state directory: %w", err), f.Close())
	}
	return errors.Join(f.Sync(), f.Close(), dir.Sync(), dir.Close())
}

// promoted records that the pool is whole and in which view.
func (n *Node) promoted(l *life) error {
	// The view that was decided, which the shards may not have installed yet: at
	// the very first start they have none.
	if err := l.core.Complete(n.members.Current().Epoch); err != nil {
		return err
	}
	r := l.heal.Recovery()
	n.mu.Lock()
	n.last, l.whole = recoveryStatus(&r), true
	n.mu.Unlock()
	return nil
}

func (n *Node) poolFailed(shard int, err error) {
	err = fmt.Errorf("shard %d: %w: %w", shard, dataplane.ErrPoolFailed, err)
	n.failure.CompareAndSwap(nil, &err)
	n.event("pool_failed", 0, err.Error())
	go n.cancel()
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
		if err := p.Close(entered && n.failure.Load() == nil); err != nil {
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

// watchReady opens ready while the life serves.
func (n *Node) watchReady(l *life) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for range t.C {
		n.mu.Lock()
		current := n.life == l
		if current && l.core.Serving() {
			if !n.isOpen {
				n.isOpen = true
				close(n.ready)
			}
			n.mu.Unlock()
			n.firstServed(l)
			return
		}
		n.mu.Unlock()
		if !current || n.ctx.Err() != nil {
			return
		}
	}
}

// firstServed makes the first read of the life through a session, as a client
// would, for the recovery's timeline.
func (n *Node) firstServed(l *life) {
	s := n.NewSession()
	defer s.Close()
	for n.ctx.Err() == nil && n.host.Core() == l.core {
		if _, _, err := s.Get([]byte{0}, nil); err == nil || errors.Is(err, ErrNotFound) {
			n.event("first_read_served", uint32(l.heal.Installed().Epoch), "")
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// NewSession makes a client of this node, for one goroutine.
func (n *Node) NewSession() *dataplane.Session { return n.host.NewSession() }

// NewWideSession makes a client for one goroutine that serves many clients of
// its own; notify: see dataplane.Host.NewWideSession.
func (n *Node) NewWideSession(notify func()) *dataplane.Session { return n.host.NewWideSession(notify) }

// Ready reports whether the node serves at this moment.
func (n *Node) Ready() bool {
	c := n.host.Core()
	return c != nil && c.Serving()
}

// WaitReady returns when the node serves, or why it never will.
func (n *Node) WaitReady(ctx context.Context) error {
	for !n.Ready() {
		n.mu.Lock()
		ready := n.ready
		n.mu.Unlock()
		select {
		case <-ready:
			if !n.Ready() {
				time.Sleep(time.Millisecond)
			}
		case <-n.done:
			return errors.Join(ErrClosed, n.Err())
		case <-ctx.Done():
			return fmt.Errorf("healkv: node %d does not serve yet: %w", n.cfg.Node, ctx.Err())
		}
	}
	return nil
}

// LiveKeys counts keys with a value at this node.
func (n *Node) LiveKeys() uint64 {
	if c := n.host.Core(); c != nil {
		return c.LiveKeys()
	}
	return 0
}

// Done is closed when the node has stopped for good; Err says why.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is why the node stopped; nil while it runs and after Close.
func (n *Node) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Close takes the node out of the view, flushes and closes everything. The
// others go on; the node comes back with what it missed. ctx bounds the
// leaving, and the waiting for an order that is under way, which is cut short
// then; the rest is done in any case. An error says why the node stopped by
// itself, or what was not closed as it should be.
func (n *Node) Close(ctx context.Context) error {
	n.closing.Store(true)
	n.End()
	if ctx, over, err := n.orders.begin(ctx, "the end of the process"); err == nil {
		defer over()
		if l := n.present(); l != nil {
			l.gate.shut()
			if err := n.quiesce(ctx, l); err != nil {
				n.log.Info("closes while writes are under way", "err", err)
			}
			_ = n.leave(ctx, l) // is among the events; the node ends all the same
		}
	} else {
		n.log.Info("closes without waiting for the order under way any longer", "why", err)
		n.orders.interrupt()
	}
	n.cancel()
	<-n.done
	if err := n.Err(); err != nil {
		return err
	}
	return n.burial()
}
