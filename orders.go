package healkv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"healkv/dataplane/plant"
)

var (
	// ErrDrain is why a node is not drained, or not brought back; the node is as
	// it was before.
	ErrDrain = errors.New("healkv: drain refused")
	// ErrDrained says that a node is drained, and what went wrong in it: the
	// others do not know that it has left, or its pools were not closed as they
	// should.
	ErrDrained = errors.New("healkv: drained, but not in order")

	errEnding = errors.New("the node's process is told to end, and takes over")
)

// orders has one of Drain, Resume and Close work at a time, and has the end of
// the process take over what another one has begun.
type orders struct {
	turn chan struct{} // whoever has put something in it works
	ends context.Context
	end  context.CancelFunc

	mu    sync.Mutex
	what  string // is under way
	since time.Time
	cut   context.CancelFunc // ends what waits in it
}

func (o *orders) init() {
	o.turn = make(chan struct{}, 1)
	o.ends, o.end = context.WithCancel(context.Background())
}

// ending: the process is going to end, there is no way back.
func (o *orders) ending() bool { return o.ends.Err() != nil && !plant.Is(plant.ResumeEnding) }

// begin waits for its turn as long as ctx lasts. What follows works under the
// context it is given, and calls over at its end.
func (o *orders) begin(ctx context.Context, what string) (_ context.Context, over func(), err error) {
	if plant.Is(plant.EndWaits) {
		ctx = context.Background()
	}
	select {
	case o.turn <- struct{}{}:
	default:
		select {
		case o.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, o.busy()
		}
	}
	ctx, cut := context.WithCancel(ctx)
	o.mu.Lock()
	o.what, o.since, o.cut = what, time.Now(), cut
	o.mu.Unlock()
	return ctx, func() {
		cut()
		o.mu.Lock()
		o.what, o.cut = "", nil
		o.mu.Unlock()
		<-o.turn
	}, nil
}

// busy says what is under way.
func (o *orders) busy() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.what == "" {
		return fmt.Errorf("%w: another order has just ended; give this one again", ErrDrain)
	}
	return fmt.Errorf("%w: busy: %s is under way since %s", ErrDrain, o.what, o.since.Format(time.TimeOnly))
}

// interrupt ends the waiting of what is under way, if something is.
func (o *orders) interrupt() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cut != nil {
		o.cut()
	}
}

// End says that the process is going to end: from now on Resume is refused, and
// a Drain that waits for writes gives up, without letting clients in again, so
// that the next one, whose time is shorter, takes over at once. It waits for
// nothing, and may be called again. Close does it too.
func (n *Node) End() { n.orders.end() }

// Ending reports whether End was called.
func (n *Node) Ending() bool { return n.orders.ends.Err() != nil }

// untilEnding is for the part of a drain that can be undone. At the end of the
// process it gives way to whoever ends it, unless it has begun after that.
func (o *orders) untilEnding(ctx context.Context) (context.Context, func()) {
	if o.ends.Err() != nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(o.ends, func() { cancel(errEnding) })
	return ctx, func() { stop(); cancel(nil) }
}
