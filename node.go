package healkv

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/heal"
	"healkv/heal/control"
	"healkv/heal/membership"
	"healkv/heal/membership/suspect"
	"healkv/pmem"
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

	first  firstLife
	beside sync.WaitGroup // what open has begun and closeParts waits for

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

	turned chan struct{} // a token: it may serve now, see watchReady

	stuck   atomic.Bool // the shards did not turn when they were asked last
	closing atomic.Bool // no further life
	failing failing     // Node.mu

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

// firstLife is what Open has begun for it.
type firstLife struct {
	pools  []*pmem.Pool
	number chan numbered // gets one; nil: it is to be asked for
}

type numbered struct {
	incarnation proto.Incarnation
	err         error
}

// Open starts a node and returns once it answers Status; it finds the others,
// recovers and serves in the background (WaitReady). Errors: ErrConfig and
// what the run directory, the view register and the pools refuse.
func Open(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	n := &Node{cfg: c, log: c.Logger.With("node", c.Node), done: make(chan struct{}), ready: make(chan struct{}), turned: make(chan struct{}, 1)}
	n.orders.init()
	n.event("process_started", 0, "")
	seed := c.HashSeed
	n.host = dataplane.NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, seed) })
	n.ctx, n.cancel = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		n.closeParts()
		return nil, err
	}
	go n.run()
	return n, nil
}

func (n *Node) configured() (s proto.NodeSet) {
	for i := range n.cfg.Nodes {
		s = s.With(proto.NodeID(i))
	}
	return s
}

// reachPatience is how long a start waits for its connections at most. Without
// enough of them nothing can be decided, and whoever tries waits as long before
// it tries again.
const reachPatience = 10 * time.Millisecond

// open makes what outlives a life: run directory, control plane, membership.
// The pools are looked at first, since a wrong one must not disturb anybody.
// Then they are opened, and beside that the first life gets its number, which
// is a matter of waiting for others: one that is not used is skipped.
func (n *Node) open() error {
	if err := n.lookAtPools(); err != nil {
		return err
	}
	var pools []*pmem.Pool
	var wrong error
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		if pools, wrong = n.openPools(); wrong == nil {
			n.mapped(pools)
		}
	}()
	err := n.join()
	<-looked
	if n.first.pools = pools; wrong != nil {
		return wrong
	}
	return err
}

// join begins to take part in the membership.
func (n *Node) join() error {
	if err := n.openMembership(); err != nil {
		return err
	}
	heal.Serve(n.control, n.healLife)
	n.links = newExchanges(n.control, n.cfg.Provider, n.log)
	if err := n.control.Start(); err != nil {
		return err
	}
	kept := n.takeNumber()
	number := make(chan numbered, 1)
	n.first.number = number
	n.beside.Go(func() {
		// A majority without us: our own vote counts when we have heard what others
		// know of it.
		n.control.Await(n.ctx, min(n.cfg.Nodes/2+1, n.cfg.Nodes-1), reachPatience)
		n.members.Start()
		inc, err := n.firstNumber(n.ctx, kept)
		if err == nil {
			n.event("incarnation", 0, "")
		}
		number <- numbered{inc, err}
	})
	return nil
}

// openMembership makes control plane and membership, which nobody hears of yet.
func (n *Node) openMembership() (err error) {
	c := &n.cfg
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
	n.control.Dial()                           // beside the register's file, which is written again and flushed
	var proof func(proto.Member) (bool, error) // nil: none can be had, between hosts
	if n.dir != nil {
		proof = n.provenDead
	}
	n.members, err = membership.New(membership.Config{
		Node: proto.NodeID(c.Node), ClusterID: c.ClusterID, StateDir: c.StateDir, Ephemeral: c.Ephemeral,
		Configured: n.configured(), Initial: proto.View{Configured: n.configured(), Model: c.Model, Shards: uint8(c.Shards)}, HashSeed: c.HashSeed,
		Lease: c.Lease, Drift: c.Drift, RoundsAway: membership.RoundsAway, TrustRefused: c.TrustRefused, BootstrapWait: c.BootstrapWait, Control: n.control, Logger: n.log,
		Progress: n.progress, ProvenDead: proof, OnView: n.sawView, OnLease: n.mayServe, Watch: n.watch(), Probe: n.probe,
		OnOlder:   func(why string) { n.event("older_acceptor", 0, why) },
		OnSuspect: func(x proto.NodeID, why string) { n.event("suspected", 0, fmt.Sprintf("node %d: %s", x, why)) },
		OnClass: func(x proto.NodeID, class suspect.Class, why string) {
			n.event("node_"+class.String(), 0, fmt.Sprintf("node %d: %s", x, why))
		},
		Slow: c.Slow,
	})
	return err
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
	n.cancel()
	n.beside.Wait()
	for _, p := range n.first.pools {
		p.Close(false)
	}
	n.first.pools = nil
	if n.members != nil {
		n.members.Close()
	}
	if n.control != nil {
		n.control.Close()
	}
	if n.dir != nil {
		n.dir.DropSpares(n.cfg.Node, n.cfg.Shards) // it goes in order
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
