//go:build process

package netns

import (
	"context"
	"errors"
	"fmt"
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

// patience bounds what takes a few leases at most: a silent member is removed
// when its lease has run out. A busy machine takes longer for
// everything.
func (x *trial) patience() time.Duration { return 40*time.Second + 6*x.lease }

// errTooLate: the machine was so slow that something else came first.
var errTooLate = errors.New("came too late")

const tries = 3

// run injects a fault, again if it came too late, and brings calm back. shown is
// false if it came too late each time, which a racy one may.
func (x *trial) run(ctx context.Context, f fault, a int) (shown bool, err error) {
	for try := 1; ; try++ {
		began := time.Now()
		before := x.states(ctx)
		err := f.inject(x, ctx, a)
		if err != nil && !errors.Is(err, errTooLate) {
			return false, err
		}
		took := time.Since(began)
		began = time.Now()
		now, calmErr := x.calm(ctx)
		if calmErr != nil {
			return false, errors.Join(calmErr, err)
		}
		if err == nil && f.after != nil {
			err = f.after(x, before, now, a)
		}
		x.t.Logf("%-20s node %d: %5.2f s, calm after another %5.2f s, epoch %d to %d", f.kind, a, took.Seconds(), time.Since(began).Seconds(), before[a].Epoch, now[a].Epoch)
		switch {
		case err == nil:
			x.seen["fault: "+f.kind]++
			return true, nil
		case !errors.Is(err, errTooLate):
			return false, err
		}
		x.seen["faults that came too late"]++
		x.t.Log(err)
		if try == tries && f.racy {
			return false, nil
		}
		if try == tries {
			return false, fmt.Errorf("%w, %d times", err, tries)
		}
	}
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
	err = x.await(ctx, "a view of all nodes", x.patience(), func(ctx context.Context) bool {
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
	if err := x.everywhere(ctx); err != nil {
		return nil, err
	}
	return x.states(ctx), nil
}

// everywhere writes a key through every node and reads it at all others.
func (x *trial) everywhere(ctx context.Context) error {
	for i := range x.procs {
		key, value := fmt.Sprintf("from-%d", i), fmt.Sprint(time.Now().UnixNano())
		err := x.await(ctx, fmt.Sprintf("a write of %s at node %d", key, i), x.patience(), func(ctx context.Context) bool {
			c := x.redis(x.Outside(), i)
			defer c.Close()
			return c.Set(ctx, key, value, 0).Err() == nil
		})
		if err != nil {
			return err
		}
		for j := range x.procs {
			got := ""
			err := x.await(ctx, fmt.Sprintf("a read of %s at node %d", key, j), x.patience(), func(ctx context.Context) (ok bool) {
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

// wantSameView: nobody was removed, nobody began a new life.
func (x *trial) wantSameView(before, now []healkv.Status, _ int) error {
	for i := range now {
		if now[i].Epoch != before[i].Epoch || now[i].Incarnation != before[i].Incarnation {
			return fmt.Errorf("%w: node %d went from epoch %d, incarnation %d to %d, %d", errTooLate, i,
				before[i].Epoch, before[i].Incarnation, now[i].Epoch, now[i].Incarnation)
		}
	}
	return nil
}

// wantResumed: within their lives connections were broken, and streams went on
// where they had been.
func (x *trial) wantResumed(before, now []healkv.Status, a int) error {
	if err := x.wantSameView(before, now, a); err != nil {
		return err
	}
	broken, resumed := grown("connections_broken", before, now), grown("streams_resumed", before, now)
	x.seen["connections broken"] += broken
	x.seen["streams resumed"] += resumed
	if resumed == 0 || broken == 0 {
		return fmt.Errorf("%d connections of node %d were broken, %d streams resumed: nothing was shown", broken, a, resumed)
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

func (x *trial) all() (l []int) {
	for i := range x.procs {
		l = append(l, i)
	}
	return l
}
