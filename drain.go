package healkv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/membership"
	"healkv/heal/membership/lease"
	"healkv/heal/membership/register"
	"healkv/heal/rejoin"
)

// gate is the lease as one life's shards see it. Once it is shut no client is
// let in any more, whatever view comes: reads and new writes are rejected, and
// writes that were taken end as they would have.
type gate struct {
	lease  *lease.Holder
	closed atomic.Bool
}

func (g *gate) Valid() bool        { return !g.closed.Load() && g.lease.Valid() }
func (g *gate) Generation() uint64 { return g.lease.Generation() }
func (g *gate) shut()              { g.closed.Store(!plant.Is(plant.DrainOpen)) }
func (g *gate) open()              { g.closed.Store(false) }

// nextLife waits while the node is drained. False: the node ends.
func (n *Node) nextLife() (ctx context.Context, end func(), ok bool) {
	for {
		n.mu.Lock()
		if n.ctx.Err() != nil || n.closing.Load() {
			n.mu.Unlock()
			return nil, nil, false
		}
		if !n.drained {
			ctx, n.endLife = context.WithCancel(n.ctx)
			end = n.endLife
			n.mu.Unlock()
			return ctx, end, true
		}
		resume := n.resume
		n.resting = true
		stays := n.stays
		n.mu.Unlock()
		if !stays {
			// From here on the others hear that no life runs. What is not out of the
			// view yet they remove.
			n.members.SetMember(proto.Member{Node: proto.NodeID(n.cfg.Node)})
		}
		n.mu.Lock()
		select {
		case <-n.rests:
		default:
			close(n.rests)
		}
		n.mu.Unlock()
		v := n.members.Current()
		n.leaveAgain(&v)
		select {
		case <-resume:
		case <-n.ctx.Done():
		}
	}
}

func (n *Node) isDrained() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drained
}

// present is the life that runs, nil if there is none.
func (n *Node) present() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// Drain takes the node out of the group without a stall: clients are refused
// (ErrTryAgain: certainly not applied), what they have under way ends, the node
// gives its lease back and leaves the view, and its pools are flushed and
// closed. It still votes and answers Status, with role "drained", until Resume
// or Close. At a node that is drained it does nothing.
//
// ErrDrain: the last live member cannot leave, nor one beside which no other live
// member answers, nor anybody during a cold start or before the first view; writes under way were not through when two thirds
// of ctx's time were over, or End was called before they were; or another order
// was under way as long as ctx lasted. The node goes on as before then.
// ErrDrained: it is drained, and something went wrong in it.
func (n *Node) Drain(ctx context.Context) error {
	ctx, over, err := n.orders.begin(ctx, "drain")
	if err != nil {
		return err
	}
	defer over()
	if n.isDrained() {
		return nil
	}
	if err := n.mayLeave(ctx); err != nil {
		return err
	}
	began := time.Now()
	l := n.present()
	if l != nil {
		l.gate.shut()
		n.event("draining", 0, "")
		if err := n.quiesceOrOpen(ctx, l); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.drained, n.buried, n.rests, n.resume = true, nil, make(chan struct{}), make(chan struct{})
	rests := n.rests
	n.mu.Unlock()
	var unannounced error
	if l != nil {
		unannounced = n.leave(ctx, l)
	}
	n.mu.Lock()
	n.stays = errors.Is(unannounced, membership.ErrNoHeir)
	if n.endLife != nil {
		n.endLife()
	}
	n.mu.Unlock()
	// From here on there is no way back but Resume: the flush takes what it takes.
	select {
	case <-rests:
	case <-n.done:
		if err := n.Err(); err != nil {
			return errors.Join(ErrClosed, err)
		}
	}
	took := fmt.Sprintf("after %v", time.Since(began).Round(time.Microsecond))
	if err := errors.Join(unannounced, n.burial()); err != nil && !plant.Is(plant.DrainSilent) {
		n.event("drained", 0, took+", not in order: "+err.Error())
		return fmt.Errorf("%w: %w", ErrDrained, err)
	}
	n.event("drained", 0, took)
	return nil
}

// quiesceOrOpen waits until writes under way are through, and looks once more
// whether the node may leave. If not, it lets the clients in again, unless the
// process is about to end.
func (n *Node) quiesceOrOpen(ctx context.Context, l *life) error {
	waits, over := n.orders.untilEnding(ctx)
	defer over()
	err := n.quiesce(waits, l)
	if err != nil {
		err = fmt.Errorf("%w: %w; node %d serves on. Somebody does not take its writes: see `node status`", ErrDrain, err, n.cfg.Node)
	} else {
		err = n.mayLeave(waits) // others may have died meanwhile
	}
	switch {
	case err == nil:
	case n.orders.ends.Err() != nil:
		err = fmt.Errorf("%w: %w", ErrDrain, cmp.Or(context.Cause(waits), err))
	default:
		l.gate.open()
		n.event("resumed", 0, err.Error())
	}
	return err
}

// Resume begins a new life of a drained node, which comes back with what it
// missed. ErrDrain: the node is not drained, its process is about to end, or
// another order is under way.
func (n *Node) Resume() error {
	if n.orders.ending() {
		return fmt.Errorf("%w: the process of node %d is ending; start it again when it has ended", ErrDrain, n.cfg.Node)
	}
	at, cancel := context.WithCancel(context.Background())
	cancel() // it does not wait
	_, over, err := n.orders.begin(at, "drain --back")
	if err != nil {
		return err
	}
	defer over()
	n.mu.Lock()
	if !n.drained {
		n.mu.Unlock()
		return fmt.Errorf("%w: node %d is not drained", ErrDrain, n.cfg.Node)
	}
	n.drained, n.resting, n.stays = false, false, false
	close(n.resume)
	n.mu.Unlock()
	n.event("resumed", 0, "")
	return nil
}

// mayLeave refuses what cannot be done without harm. It asks the others.
func (n *Node) mayLeave(ctx context.Context) error {
	v := n.members.Current()
	self := proto.NodeID(n.cfg.Node)
	switch {
	case v.Epoch == 0:
		return fmt.Errorf("%w: there is no view yet that node %d could leave", ErrDrain, self)
	case v.Cold:
		return fmt.Errorf("%w: a cold start is under way (epoch %d), it needs node %d", ErrDrain, v.Epoch, self)
	case v.Live == proto.NodeSet(0).With(self):
		return fmt.Errorf("%w: node %d is the last live one, nobody could serve after it", ErrDrain, self)
	}
	if err := n.members.HasHeir(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrDrain, err)
	}
	return nil
}

// MayStop says why ending this node's process now would leave too few of the
// configured nodes running to decide anything: writes would stop. nil: it may.
func (n *Node) MayStop() error {
	var with proto.NodeSet
	for _, p := range n.members.Status().Peers {
		if p.Connected {
			with = with.With(p.Node)
		}
	}
	if need := register.Majority(n.configured()); with.Count() < need {
		return fmt.Errorf("%w: besides node %d these run: %s; %d of %d nodes must, or all stop until another one is back: bring one back first, or give --force",
			ErrDrain, n.cfg.Node, list(with), need, n.configured().Count())
	}
	return nil
}

// ForceColdStart is an operator's order: the cluster is down, the nodes in
// without are lost with what they hold, and the others are to start without
// them. epoch is that of the newest view, as the operator has seen it. It may
// lose answered writes: loses says which, and dry only asks. An error that says
// "refused" changed nothing; the events tell what becomes of an order that was
// taken.
func (n *Node) ForceColdStart(epoch uint32, without []int, dry bool) (loses string, err error) {
	f := rejoin.Forced{Epoch: proto.Epoch(epoch), Dry: dry}
	for _, i := range without {
		if i < 0 || i >= n.cfg.Nodes {
			return "", fmt.Errorf("%w: there is no node %d: want 0 to %d", rejoin.ErrForced, i, n.cfg.Nodes-1)
		}
		f.Without = f.Without.With(proto.NodeID(i))
	}
	l := n.present()
	if l == nil || l.heal == nil {
		return "", fmt.Errorf("%w: node %d is between two lives, or drained: give the order again when it is joining", rejoin.ErrForced, n.cfg.Node)
	}
	v := n.members.Current()
	if err := l.heal.Force(f); err != nil {
		return "", err
	}
	return rejoin.Loses(n.cfg.Model, &v, f.Without), nil
}

// Ordered records an operator's order among the events.
func (n *Node) Ordered(detail string) { n.event("order", 0, detail) }

// leave takes the life out of the view. The last live node stays: it keeps the
// data for the cold start. An error says that the view has the life still, and
// what follows from that.
func (n *Node) leave(ctx context.Context, l *life) error {
	v := n.members.Current()
	if !v.Has(l.self) {
		return nil
	}
	if v.Live == proto.NodeSet(0).With(l.self.Node) {
		return fmt.Errorf("%w: node %d is the last live one of view %d and stays in it; nobody serves until it is back", membership.ErrLastLive, l.self.Node, v.Epoch)
	}
	began := time.Now()
	epoch := v.Epoch
	v, err := n.members.Leave(ctx, l.self)
	if err != nil {
		n.event("left_unannounced", uint32(v.Epoch), err.Error())
		if errors.Is(err, membership.ErrNoHeir) {
			n.log.Info("stays in the view", "err", err)
			return err
		}
		n.log.Info("leaves without a new view; the others remove it", "err", err)
		return fmt.Errorf("no majority has decided a view without node %d (view %d has it): %w; the others remove it when its lease (%v) is over, and writes wait until then",
			l.self.Node, epoch, err, n.cfg.Lease)
	}
	n.event("left", uint32(v.Epoch), fmt.Sprintf("after %v", time.Since(began).Round(time.Microsecond)))
	return nil
}

// leaveAgain takes a life out of v that has ended: it asked to be admitted, or
// promoted, before the node was drained, and that was decided after it had left.
// If it cannot, the others do, as no life of this node speaks.
func (n *Node) leaveAgain(v *proto.View) {
	m := v.Member(proto.NodeID(n.cfg.Node))
	n.mu.Lock()
	over := n.resting && !n.stays
	n.mu.Unlock()
	if !over || !v.Has(m) || v.Live.Without(m.Node) == 0 || plant.Is(plant.DrainedAdmitted) {
		return
	}
	n.again.begin(func() {
		ctx, cancel := context.WithTimeout(n.ctx, 4*n.lease())
		defer cancel()
		w, err := n.members.Remove(ctx, m)
		if err != nil {
			n.log.Info("a life that has ended is in the view; the others remove it", "life", m, "err", err)
			return
		}
		n.event("left", uint32(w.Epoch), fmt.Sprintf("life %d, which the view took in after its end", m.Incarnation))
	})
}

// one has a task run in the background unless one of the kind runs already.
type one struct{ runs atomic.Bool }

func (o *one) begin(task func()) bool {
	if !plant.Is(plant.RenewalsPile) && !o.runs.CompareAndSwap(false, true) {
		return false
	}
	go func() {
		defer o.runs.Store(false)
		task()
	}()
	return true
}

// burial is what went wrong when the last life's pools were closed.
func (n *Node) burial() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buried
}

// quiesce waits until the writes that the life has taken are through: after it
// nobody has anything of this node to roll forward. The gate is shut: a turn
// that begins now takes no more. It takes at most two thirds of the time there
// is, since leaving needs some too.
func (n *Node) quiesce(ctx context.Context, l *life) error {
	if n.host.Core() != l.core {
		return nil
	}
	if at, bounded := ctx.Deadline(); bounded {
		short, cancel := context.WithTimeout(ctx, time.Until(at)*2/3)
		defer cancel()
		ctx = short
	}
	for i, w := range l.core.Workers() {
		for {
			// A worker that hangs must not hold up whoever asks.
			left, asked := 0, make(chan bool, 1)
			go func() { asked <- w.Do(func() { left = w.Replica().Outstanding() }) }()
			select {
			case ran := <-asked:
				if !ran {
					left = 0
				}
			case <-ctx.Done():
				return fmt.Errorf("shard %d does not answer: %w", i, context.Cause(ctx))
			}
			if left == 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%d writes of shard %d are not through: %w", left, i, context.Cause(ctx))
			case <-time.After(time.Millisecond):
			}
		}
	}
	return nil
}
