package healkv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
)

// NewSession makes a client of this node, for one goroutine.
func (n *Node) NewSession() *dataplane.Session { return n.host.NewSession() }

// NewWideSession makes a client for one goroutine that serves many clients of
// its own; notify: see dataplane.Host.NewWideSession.
func (n *Node) NewWideSession(notify func()) *dataplane.Session { return n.host.NewWideSession(notify) }

// Attend has turn called on the thread of the shard's worker: the shortest way to
// this node, see dataplane.Host.Attend.
func (n *Node) Attend(shard int, turn func() (awake bool)) (leave func(), err error) {
	if shard < 0 || shard >= n.cfg.Shards {
		return nil, fmt.Errorf("%w: Attend: shard %d of %d", ErrConfig, shard, n.cfg.Shards)
	}
	return n.host.Attend(shard, turn), nil
}

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

// readyAgain is how often watchReady looks although nothing has turned.
const readyAgain = 10 * time.Millisecond

// mayServe wakes watchReady: a view was installed, or a lease won.
func (n *Node) mayServe() { flow.Signal(n.turned) }

// watchReady opens ready once the life serves.
func (n *Node) watchReady(l *life) {
	t := time.NewTicker(readyAgain)
	defer t.Stop()
	for n.ctx.Err() == nil {
		n.mu.Lock()
		current, serves := n.life == l, l.core.Serving()
		if current && serves && !n.isOpen {
			n.isOpen = true
			close(n.ready)
		}
		n.mu.Unlock()
		switch {
		case !current:
			return
		case serves:
			n.firstServed(l)
			n.spareNext()
			return
		}
		select {
		case <-n.turned:
		case <-t.C:
		case <-n.ctx.Done():
		}
	}
}

// sparePause is how long a life serves before it makes the rings of the next
// one, and has a number for it: not while clients come back.
const sparePause = time.Second

// spareNext makes what the next life of this node needs first, should this
// process be killed.
func (n *Node) spareNext() {
	if n.dir == nil || n.cfg.last {
		return
	}
	n.beside.Go(func() {
		select {
		case <-time.After(sparePause):
			for i := range n.cfg.Shards {
				n.dir.Spare(n.cfg.Node, i, n.cfg.RingBytes)
			}
			if err := n.keepNumber(n.ctx); err != nil {
				n.log.Debug("no number for the next life", "err", err)
			}
		case <-n.ctx.Done():
		}
	})
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
