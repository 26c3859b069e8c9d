package tcp

import (
	"context"
	"math/bits"
	"time"
)

// redial makes a link's connection again until it is there or the link is
// detached. The worker takes it at Poll.
func (e *Endpoint) redial(l *link) {
	if e.closed.Load() {
		return
	}
	if l.stop != nil {
		l.stop()
	}
	var ctx context.Context
	ctx, l.stop = context.WithCancel(e.ctx)
	wait := time.Duration(0)
	if q := l.send.quick; q > 0 {
		wait = min(redialMin<<min(q, 16), redialMax)
	}
	e.dials.Go(func() { e.redialing(ctx, l, wait) })
}

func (e *Endpoint) redialing(ctx context.Context, l *link, wait time.Duration) {
	warned := time.Time{}
	if wait > 0 && !pauseFor(ctx, wait) {
		return
	}
	for pause := redialMin; ; pause = min(2*pause, redialMax) {
		c, err := e.reconnect(ctx, l)
		if err == nil {
			e.redials.Add(1)
			e.trouble[l.peer].Store(nil)
			if old := l.fresh.Swap(c); old != nil {
				old.close()
			}
			if ctx.Err() != nil { // detached meanwhile: nobody takes it
				if l.fresh.CompareAndSwap(c, nil) { // not its successor's
					c.close()
				}
				return
			}
			e.arrived.Store(true)
			e.poller.wake()
			return
		}
		if ctx.Err() != nil {
			return
		}
		e.redialsFailed.Add(1)
		e.trouble[l.peer].Store(&err)
		if now := time.Now(); now.Sub(warned) > time.Second {
			warned = now
			e.log.Warn("peer cannot be reached", "peer", l.peer, "incarnation", l.incarnation, "err", err)
		}
		if !pauseFor(ctx, pause) {
			return
		}
	}
}

// pauseFor is false if ctx has ended.
func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (e *Endpoint) reconnect(ctx context.Context, l *link) (*conn, error) {
	x, c, a, err := e.connect(ctx, l.peer, l.incarnation, forStream)
	if err != nil {
		return nil, err
	}
	return handOver(x, c, a.token)
}

// Redial makes the connection on which this node sends to a peer anew, with
// what proves the two ends at present. The one there is serves until then, and
// the stream goes on where it was. The peer does the same for its own. Nothing
// happens where there is no connection: it is being made already. Any
// goroutine.
func (e *Endpoint) Redial(peer int) {
	if peer < 0 || peer >= nodesMax || e.closed.Load() {
		return
	}
	e.anew.Or(1 << peer)
	e.arrived.Store(true)
	e.poller.wake()
}

// renew is the worker's part of Redial.
func (e *Endpoint) renew() {
	for set := e.anew.Swap(0) & e.attached; set != 0; set &= set - 1 {
		l := e.peers[bits.TrailingZeros32(set)]
		if l.send.conn == nil || l.send.lost || l.renewing {
			continue
		}
		l.renewing = true
		e.redial(l)
	}
}
