//go:build process

package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"healkv"
)

// fault is one way to break something. inject returns when what it is to show has
// been seen, and calm comes after it.
type fault struct {
	kind   string
	needs  func(x *trial) string // what this machine lacks for it; nil: nothing
	inject func(x *trial, ctx context.Context, a int) error
	after  func(x *trial, before, now []healkv.Status, a int) error // nil: nothing beyond calm
	// racy: a lease may decide before the fault is over. Then it is tried again,
	// and in the end left out; another fault shows the same for certain.
	racy bool
}

func faults() []fault {
	return []fault{
		{kind: "slowed", needs: needsNetem, inject: (*trial).slowed, after: (*trial).wantSameView},
		{kind: "connections killed", needs: needsSS, inject: (*trial).killConnections, after: (*trial).wantResumed},
		{kind: "cut shortly", inject: (*trial).cutShortly, after: (*trial).wantResumed, racy: true},
		{kind: "unplugged", inject: func(x *trial, ctx context.Context, a int) error { return x.cutLong(ctx, a, x.Unplug(a)) }, after: (*trial).wantHealed},
		{kind: "interface down", inject: func(x *trial, ctx context.Context, a int) error { return x.cutLong(ctx, a, x.Down(a)) }, after: (*trial).wantHealed},
		{kind: "mute", inject: func(x *trial, ctx context.Context, a int) error {
			return x.cutLong(ctx, a, x.others(a, func(b int) error { return x.Drop(a, b) }))
		}, after: (*trial).wantHealed},
		{kind: "deaf", inject: func(x *trial, ctx context.Context, a int) error {
			return x.cutLong(ctx, a, x.others(a, func(b int) error { return x.Drop(b, a) }))
		}, after: (*trial).wantHealed},
		{kind: "two apart", inject: (*trial).apart, after: (*trial).wantHigherHealed},
		{kind: "one way between two", inject: (*trial).oneWay, after: (*trial).wantHigherHealed},
		{kind: "killed", inject: (*trial).killed, after: (*trial).wantHealed},
		{kind: "cut while it heals", inject: (*trial).cutHealing},
	}
}

func needsSS(*trial) string {
	if _, err := exec.LookPath("ss"); err != nil {
		return "ss (package iproute2)"
	}
	return ""
}

// needsNetem finds out on a link that carries nothing.
func needsNetem(x *trial) string {
	err := x.Slow(x.Hosts(), "delay", "0ms")
	if errors.Is(err, ErrMissing) {
		return "netem: the lab machine has it"
	}
	if err := errors.Join(err, x.Heal()); err != nil {
		return err.Error()
	}
	return ""
}

func (x *trial) others(a int, do func(b int) error) error {
	var errs []error
	for b := range x.procs {
		if b != a {
			errs = append(errs, do(b))
		}
	}
	return errors.Join(errs...)
}

// killConnections resets a node's data connections: five to the others, and
// five from them.
func (x *trial) killConnections(ctx context.Context, a int) error {
	before := x.states(ctx)
	n, err := x.Host(a).KillConnections(dataPort)
	if err != nil {
		return err
	}
	if want := 2 * (len(x.procs) - 1); n < want {
		return fmt.Errorf("%d data connections of node %d, want %d", n, a, want)
	}
	x.seen["connections killed"] += uint64(n)
	return x.await(ctx, "every connection made again and its stream resumed", x.patience(), func(ctx context.Context) bool {
		now := x.states(ctx)
		return grown("streams_resumed", before, now) >= uint64(n)
	})
}

// cutShortly pulls a cable until the first connection is given up, and puts it
// back before the lease decides.
func (x *trial) cutShortly(ctx context.Context, a int) error {
	before := x.states(ctx)
	if err := errors.Join(x.Unplug(a), x.AwaitReach()); err != nil {
		return err
	}
	x.seen["pairs of hosts cut"] += uint64(x.Cut())
	err := x.await(ctx, "a connection given up", x.patience(), func(ctx context.Context) bool {
		return grown("connections_broken", before, x.states(ctx)) > 0
	})
	return errors.Join(err, x.Heal())
}

// cutLong keeps a cut that was made until the others go on without the node, and
// looks that it answers nobody by then.
func (x *trial) cutLong(ctx context.Context, a int, cut error) error {
	if err := errors.Join(cut, x.AwaitReach()); err != nil {
		return err
	}
	x.seen["pairs of hosts cut"] += uint64(x.Cut())
	if err := x.awaitRemoved(ctx, a); err != nil {
		return err
	}
	return x.wantSilent(ctx, a)
}

// awaitRemoved waits until every other node goes on without node a.
func (x *trial) awaitRemoved(ctx context.Context, a int) error {
	return x.await(ctx, fmt.Sprintf("a view without node %d", a), x.patience(), func(ctx context.Context) bool {
		for i, s := range x.states(ctx) {
			if i != a && (s.Epoch == 0 || slices.Contains(s.Live, a) || slices.Contains(s.Shadow, a) || !s.Serving) {
				return false
			}
		}
		x.seen["removals"]++
		return true
	})
}

// wantSilent asks a node that is cut off as a client on its own host does.
func (x *trial) wantSilent(ctx context.Context, a int) error {
	c := x.redis(x.Host(a), a)
	defer c.Close()
	for _, key := range []string{"from-0", "w:0", "from-1"} {
		switch value, err := c.Get(ctx, key).Result(); {
		case err == nil:
			return fmt.Errorf("node %d is cut off and removed, and answers %s = %q", a, key, value)
		case !strings.HasPrefix(err.Error(), "TRYAGAIN"):
			return fmt.Errorf("node %d is cut off: asked for %s on its own host: %w", a, key, err)
		}
		x.seen["reads refused by who is cut off"]++
	}
	return nil
}

// killed is SIGKILL, and a way back over the network.
func (x *trial) killed(ctx context.Context, a int) error {
	x.kill(a)
	return x.awaitRemoved(ctx, a)
}

// cutHealing pulls the cable of a node in its transfer, until it is given up.
func (x *trial) cutHealing(ctx context.Context, a int) error {
	if err := x.killed(ctx, a); err != nil {
		return err
	}
	// Everything, slowly: the transfer is to last.
	x.start(a, "--recovery", "full", "--recovery-budget", "4KiB")
	err := x.await(ctx, fmt.Sprintf("a transfer to node %d", a), x.patience(), func(ctx context.Context) bool {
		s, err := x.status(ctx, a)
		return err == nil && slices.ContainsFunc(s.Events, func(e healkv.Event) bool { return e.Name == "transfer_begun" })
	})
	if err != nil {
		return err
	}
	if err := errors.Join(x.Unplug(a), x.AwaitReach()); err != nil {
		return err
	}
	s, err := x.status(ctx, a)
	if err != nil {
		return err
	}
	if s.Role == "live" {
		return fmt.Errorf("%w: node %d had healed by then", errTooLate, a)
	}
	x.seen["pairs of hosts cut"] += uint64(x.Cut())
	return x.awaitRemoved(ctx, a)
}

// apart cuts the link between two nodes that all others see: the one with the
// higher id leaves, and the others' writes go on.
func (x *trial) apart(ctx context.Context, a int) error {
	b := x.next(a)
	return x.between(ctx, a, b, errors.Join(x.Drop(a, b), x.Drop(b, a)))
}

// oneWay loses what one node sends to another, and not the answers: which is as
// much as all.
func (x *trial) oneWay(ctx context.Context, a int) error {
	b := x.next(a)
	return x.between(ctx, a, b, x.Drop(a, b))
}

func (x *trial) next(a int) int { return (a + 1) % len(x.procs) }

// between keeps such a cut until all others go on without one of the two.
func (x *trial) between(ctx context.Context, a, b int, cut error) error {
	before := x.states(ctx)
	if err := errors.Join(cut, x.AwaitReach()); err != nil {
		return err
	}
	x.seen["pairs of hosts cut"] += uint64(x.Cut())
	if err := x.awaitRemoved(ctx, max(a, b)); err != nil {
		return err
	}
	now := x.states(ctx)
	var writes, unknown []uint64
	for i := range now {
		writes = append(writes, grown("writes", before[i:i+1], now[i:i+1]))
		unknown = append(unknown, grown("unknown", before[i:i+1], now[i:i+1]))
		if i != a && i != b {
			x.seen["writes of others while two are apart"] += writes[i]
		}
		if i != max(a, b) && now[i].Incarnation != before[i].Incarnation {
			return fmt.Errorf("nodes %d and %d are apart, and node %d began a new life", a, b, i)
		}
	}
	x.t.Logf("nodes %d and %d apart: writes at each node %v, without a known end %v", a, b, writes, unknown)
	return nil
}

// wantHigherHealed: of a node and its next one the one with the higher id has
// left and come back.
func (x *trial) wantHigherHealed(before, now []healkv.Status, a int) error {
	return x.wantHealed(before, now, max(a, x.next(a)))
}

// slowed delays and loses packets at every host, then a lot of them at one.
func (x *trial) slowed(ctx context.Context, a int) error {
	for _, s := range []struct {
		hosts  []int
		delay  time.Duration
		netem  []string
		writes uint64 // answered meanwhile, at all nodes together
	}{
		{x.all(), 2 * time.Millisecond, []string{"delay", "2ms", "1ms", "loss", "0.5%"}, 300},
		{[]int{a}, 25 * time.Millisecond, []string{"delay", "25ms", "loss", "2%"}, 100},
	} {
		before := x.states(ctx)
		for _, i := range s.hosts {
			if err := x.Slow(i, s.netem...); err != nil {
				return err
			}
		}
		for _, i := range s.hosts {
			took, err := x.dialTime(ctx, i)
			if err != nil {
				return err
			}
			// netem varies the delay by a millisecond around its mean.
			if least := 2 * (s.delay - time.Millisecond); took < least {
				return fmt.Errorf("a connection to node %d takes %v over a link of %v: it is not slowed", i, took, s.netem)
			}
			x.seen["links slowed"]++
		}
		err := x.await(ctx, fmt.Sprintf("%d writes over slow links", s.writes), 2*x.patience(), func(ctx context.Context) bool {
			return grown("writes", before, x.states(ctx)) >= s.writes
		})
		if err := errors.Join(err, x.Heal()); err != nil {
			return err
		}
		x.seen["writes over slow links"] += s.writes
	}
	return nil
}

// dialTime is how long the quickest of some connections to a node took to make.
func (x *trial) dialTime(ctx context.Context, i int) (least time.Duration, err error) {
	for range 5 {
		began := time.Now()
		c, err := x.Outside().Dial(ctx, "tcp", fmt.Sprintf("%s:%d", Address(i), respPort))
		if err != nil {
			return 0, err
		}
		if took := time.Since(began); least == 0 || took < least {
			least = took
		}
		_ = c.Close()
	}
	return least, nil
}
