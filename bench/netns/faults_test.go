//go:build process

package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"healkv"
)

// trial is a cluster under load and the one who breaks its network.
type trial struct {
	*cluster
	clients *clients
	lease   time.Duration
	seen    map[string]uint64 // what faults were seen to do
}

// Patience. A member is removed after a lease and a half and the drift; a
// machine that is busy with other things takes longer for everything.
const (
	startPatience = 90 * time.Second
	healPatience  = 60 * time.Second
	cutPatience   = 40 * time.Second
)

// fault is one way to break something. It returns when what it is to show has
// been seen, or with tooLate; calm comes after it.
type fault struct {
	kind   string
	inject func(x *trial, ctx context.Context, a int) error
	after  func(x *trial, before, now []healkv.Status, a int) error // nil: nothing beyond calm
}

// errTooLate: the machine was so slow that something else came first.
var errTooLate = errors.New("came too late")

func faults() []fault {
	return []fault{
		{"connections killed", (*trial).killConnections, (*trial).wantSameView},
		{"cut, shortly", (*trial).cutShortly, (*trial).wantSameView},
		{"unplugged", func(x *trial, ctx context.Context, a int) error { return x.cutLong(ctx, a, x.Unplug(a)) }, (*trial).wantHealed},
		{"interface down", func(x *trial, ctx context.Context, a int) error { return x.cutLong(ctx, a, x.Down(a)) }, (*trial).wantHealed},
		{"mute", func(x *trial, ctx context.Context, a int) error {
			return x.cutLong(ctx, a, x.others(a, func(b int) error { return x.Drop(a, b) }))
		}, (*trial).wantHealed},
		{"deaf", func(x *trial, ctx context.Context, a int) error {
			return x.cutLong(ctx, a, x.others(a, func(b int) error { return x.Drop(b, a) }))
		}, (*trial).wantHealed},
		{"two apart", (*trial).apart, nil},
		{"killed", (*trial).killed, (*trial).wantHealed},
		{"cut while it heals", (*trial).cutHealing, nil},
	}
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

// run injects a fault, again if it came too late, and brings calm back.
func (x *trial) run(ctx context.Context, f fault, a int) error {
	var err error
	for range 3 {
		began := time.Now()
		before := x.states(ctx)
		if err = f.inject(x, ctx, a); err != nil && !errors.Is(err, errTooLate) {
			return err
		}
		took := time.Since(began)
		began = time.Now()
		now, calmErr := x.calm(ctx)
		if calmErr != nil {
			return errors.Join(calmErr, err)
		}
		if err == nil && f.after != nil {
			err = f.after(x, before, now, a)
		}
		x.t.Logf("%-20s node %d: %5.2f s, then all members again after %5.2f s, epoch %d to %d %v", f.kind, a, took.Seconds(), time.Since(began).Seconds(), before[a].Epoch, now[a].Epoch, errOr(err, ""))
		if err == nil {
			x.seen["fault: "+f.kind]++
		}
		if !errors.Is(err, errTooLate) {
			return err
		}
		x.seen["came too late"]++
	}
	return err
}

func errOr(err error, or any) any {
	if err != nil {
		return err
	}
	return or
}

// calm ends everything, brings everybody back and waits until all nodes are live
// in one view and each takes writes that all of them read.
func (x *trial) calm(ctx context.Context) (now []healkv.Status, err error) {
	if err := errors.Join(x.Heal(), x.AwaitReach()); err != nil {
		return nil, err
	}
	for i, p := range x.procs {
		if p.over() {
			if !p.felled {
				return nil, fmt.Errorf("node %d ended by itself: %v\n%s", i, p.cmd.ProcessState, x.log(i, 20))
			}
			x.start(i)
		}
	}
	err = x.await(ctx, "a view of all nodes", healPatience, func(ctx context.Context) bool {
		now = x.states(ctx)
		for i := range now {
			s := &now[i]
			if s.Epoch == 0 || s.Epoch != now[0].Epoch || len(s.Live) != len(now) || s.Role != "live" || !s.Serving {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if err := x.clients.drive(ctx); err != nil {
		return nil, err
	}
	return now, x.everywhere(ctx)
}

// everywhere writes a key through every node and reads it at all others.
func (x *trial) everywhere(ctx context.Context) error {
	for i := range x.procs {
		key, value := fmt.Sprintf("from-%d", i), fmt.Sprint(time.Now().UnixNano())
		err := x.await(ctx, fmt.Sprintf("a write of %s at node %d", key, i), healPatience, func(ctx context.Context) bool {
			c := x.redis(x.Outside(), i)
			defer c.Close()
			return c.Set(ctx, key, value, 0).Err() == nil
		})
		if err != nil {
			return err
		}
		for j := range x.procs {
			got := ""
			err := x.await(ctx, fmt.Sprintf("a read of %s at node %d", key, j), healPatience, func(ctx context.Context) (ok bool) {
				c := x.redis(x.Outside(), j)
				defer c.Close()
				var err error
				got, err = c.Get(ctx, key).Result()
				return err == nil || errors.Is(err, redis.Nil)
			})
			if err != nil {
				return err
			}
			if got != value {
				return fmt.Errorf("%s was written as %s at node %d and answered, and is %q at node %d", key, value, i, got, j)
			}
			x.seen["keys read everywhere"]++
		}
	}
	return nil
}

// grown is by how much a counter has grown at nodes whose life is the same.
func grown(name string, before, now []healkv.Status) (n uint64) {
	for i := range now {
		if now[i].Incarnation == before[i].Incarnation && now[i].Counters[name] > before[i].Counters[name] {
			n += now[i].Counters[name] - before[i].Counters[name]
		}
	}
	return n
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
	return x.await(ctx, "every connection made again and its stream resumed", cutPatience, func(ctx context.Context) bool {
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
	err := x.await(ctx, "a connection given up", cutPatience, func(ctx context.Context) bool {
		return grown("connections_broken", before, x.states(ctx)) > 0
	})
	return errors.Join(err, x.Heal())
}

// wantSameView: the links came back within their lives.
func (x *trial) wantSameView(before, now []healkv.Status, a int) error {
	for i := range now {
		if now[i].Epoch != before[i].Epoch || now[i].Incarnation != before[i].Incarnation {
			return fmt.Errorf("%w: node %d went from epoch %d, incarnation %d to %d, %d", errTooLate, i,
				before[i].Epoch, before[i].Incarnation, now[i].Epoch, now[i].Incarnation)
		}
	}
	broken, resumed := grown("connections_broken", before, now), grown("streams_resumed", before, now)
	x.seen["connections broken"] += broken
	x.seen["streams resumed"] += resumed
	if resumed == 0 || broken == 0 {
		return fmt.Errorf("%d connections of node %d were broken, %d streams resumed: nothing was shown", broken, a, resumed)
	}
	return nil
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
	return x.await(ctx, fmt.Sprintf("a view without node %d", a), cutPatience, func(ctx context.Context) bool {
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
		if value, err := c.Get(ctx, key).Result(); err == nil {
			return fmt.Errorf("node %d is cut off and removed, and answers %s = %q", a, key, value)
		}
		x.seen["reads refused by who is cut off"]++
	}
	return nil
}

// wantHealed: the node is back in a new life, with what it has missed and no
// more.
func (x *trial) wantHealed(before, now []healkv.Status, a int) error {
	r := now[a].LastRecovery
	switch {
	case now[a].Incarnation <= before[a].Incarnation:
		return fmt.Errorf("node %d has come back in the same life, %d", a, now[a].Incarnation)
	case r == nil || r.Kind != "heal":
		return fmt.Errorf("node %d came back by %+v, want heal", a, r)
	}
	x.seen["ways back by heal"]++
	x.seen["bytes healed over TCP"] += r.Bytes
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
	err := x.await(ctx, fmt.Sprintf("a transfer to node %d", a), healPatience, func(ctx context.Context) bool {
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

// apart cuts the link between two nodes that all others see, for longer than a
// silent node is suffered.
func (x *trial) apart(ctx context.Context, a int) error {
	b := (a + 1) % len(x.procs)
	before := x.states(ctx)
	if err := errors.Join(x.Drop(a, b), x.Drop(b, a), x.AwaitReach()); err != nil {
		return err
	}
	x.seen["pairs of hosts cut"] += uint64(x.Cut())
	err := x.await(ctx, fmt.Sprintf("the connections between nodes %d and %d given up", a, b), cutPatience, func(ctx context.Context) bool {
		return grown("connections_broken", before, x.states(ctx)) > 0
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * x.lease): // how long it lasts
	}
	for i, s := range x.states(ctx) {
		x.t.Logf("apart: node %d: %s, serving %t, epoch %d, live %v, writes %d unknown %d", i, s.Role, s.Serving, s.Epoch, s.Live, s.Counters["writes"]-before[i].Counters["writes"], s.Counters["unknown"]-before[i].Counters["unknown"])
	}
	return nil
}

// hasSS says whether connections can be killed from outside.
func hasSS() bool { _, err := exec.LookPath("ss"); return err == nil }
