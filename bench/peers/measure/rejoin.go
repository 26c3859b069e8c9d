package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"healkv/bench/peers/servers"
)

// Absence is the kill / wait / restart experiment: a node that leads nobody is
// killed under load, misses a number of writes, and comes back while the load
// goes on. Clients are connected to the other nodes.
type Absence struct {
	Load
	Missed  int64         // writes acknowledged before the node is started again
	Longest time.Duration // to wait for them, and then for the node
}

// Rejoin is what an absence cost.
type Rejoin struct {
	Node   int     `json:"node"`
	Missed int64   `json:"missed"` // writes, when it was started again
	Away   float64 `json:"away_s"`
	// Seconds from the start of the process, or of the NodeHost, until the node
	// itself answered a read with the write acknowledged last before the start.
	Seconds float64 `json:"rejoin_s"`
	// Pause is the longest time without an acknowledged write from the kill to the
	// restart.
	Pause      float64 `json:"pause_ms"`
	Before     float64 `json:"before_per_s"` // writes per second, all clients
	Without    float64 `json:"without_per_s"`
	Returning  float64 `json:"returning_per_s"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Checked    int     `json:"checked"` // at the returned node
	Wrong      int     `json:"wrong"`
}

const sentinel = "sentinel"

// Run expects the group filled.
func (a Absence) Run(ctx context.Context, sys servers.System) (r Rejoin, err error) {
	if r.Node, err = sys.Follower(ctx); err != nil {
		return r, err
	}
	for node := range servers.Nodes {
		if node != r.Node {
			a.Nodes = append(a.Nodes, node)
		}
	}
	s, err := Open(ctx, sys, a.Load)
	if err != nil {
		return r, err
	}
	defer s.Close()

	load, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	begin := time.Now()
	go func() { ended <- s.loop(load, false, begin, begin.Add(time.Hour)) }()
	err = a.absence(ctx, sys, s, &r)
	stop()
	if e := <-ended; err == nil {
		err = e
	}
	if err != nil {
		return r, fmt.Errorf("%s, node %d killed and restarted: %w", sys.About().Name, r.Node, err)
	}
	f := s.figures(time.Since(begin))
	r.Errors, r.FirstError = f.Errors, f.FirstError
	r.Checked, r.Wrong, err = s.check(ctx, func(int) int { return r.Node })
	return r, err
}

func (a Absence) absence(ctx context.Context, sys servers.System, s *Session, r *Rejoin) error {
	if err := pause(ctx, a.Warm); err != nil {
		return err
	}
	from, n := time.Now(), s.Acked.Load()
	if err := pause(ctx, a.Time); err != nil {
		return err
	}
	r.Before = rate(s.Acked.Load()-n, from)

	s.takeLongest()
	killed, n := time.Now(), s.Acked.Load()
	if err := sys.Kill(r.Node); err != nil {
		return err
	}
	for s.Acked.Load()-n < a.Missed && time.Since(killed) < a.Longest {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	r.Pause = float64(s.takeLongest()) / 1e6
	last := fmt.Appendf(nil, "%d", killed.UnixNano())
	if err := a.mark(ctx, sys, last); err != nil {
		return err
	}
	r.Missed, r.Away, r.Without = s.Acked.Load()-n, time.Since(killed).Seconds(), rate(s.Acked.Load()-n, killed)

	started, n := time.Now(), s.Acked.Load()
	if err := sys.Restart(ctx, r.Node); err != nil {
		return err
	}
	limit, cancel := context.WithDeadline(ctx, started.Add(a.Longest))
	defer cancel()
	for {
		err := reads(limit, sys, r.Node, last)
		if err == nil {
			break
		}
		if e := pause(limit, time.Millisecond); e != nil {
			return fmt.Errorf("it did not come back within %v: %w", a.Longest, err)
		}
	}
	r.Seconds, r.Returning = time.Since(started).Seconds(), rate(s.Acked.Load()-n, started)
	return pause(ctx, a.Time/2)
}

// mark writes the sentinel through a node that serves.
func (a Absence) mark(ctx context.Context, sys servers.System, value []byte) error {
	limit, cancel := context.WithTimeout(ctx, a.Longest)
	defer cancel()
	for {
		c, err := sys.Connect(limit, a.Nodes[0])
		if err == nil {
			err = c.Write(limit, sentinel, value)
			c.Close()
		}
		if err == nil {
			return nil
		}
		if e := pause(limit, 5*time.Millisecond); e != nil {
			return fmt.Errorf("no write was acknowledged while it was away: %w", err)
		}
	}
}

var errStale = errors.New("peers: the node does not have the last write yet")

// reads is nil if that node itself answers with the sentinel's value.
func reads(ctx context.Context, sys servers.System, node int, want []byte) error {
	try, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := sys.At(try, node)
	if err != nil {
		return err
	}
	defer c.Close()
	value, err := c.Read(try, sentinel)
	if err == nil && string(value) != string(want) {
		err = errStale
	}
	return err
}

func rate(n int64, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
