package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"healkv/bench/report"
)

// rollers are clients outside that go to another node when they are rejected or
// find nobody, as a client of a group should: only what was sent and never
// answered, or answered with UNKNOWN, has an outcome they do not know.
type rollers struct {
	n                          int
	answered, retried, unknown atomic.Uint64
	done                       chan struct{}
	wait                       sync.WaitGroup
	mu                         sync.Mutex
	errs                       []error
}

func (r *runner) startRollers() *rollers {
	l := &rollers{n: r.o.Nodes, done: make(chan struct{})}
	for i := range l.n {
		l.wait.Go(func() { l.drive(r, i) })
	}
	return l
}

// drive does one client's operations, a write and a read in turn.
func (l *rollers) drive(r *runner, first int) {
	at := first
	c := &resp{address: r.k.local.Configs[at].Resp.Listen}
	defer func() { c.close() }()
	for n := 0; ; n++ {
		key := fmt.Sprintf("roll:%d:%d", first, n/2%64)
		for tries := 0; ; tries++ {
			select {
			case <-l.done:
				return
			case <-time.After(time.Millisecond):
			}
			var err error
			if n%2 == 0 {
				err = c.ok("SET", key, fmt.Sprint(n))
			} else if _, err = c.do("GET", key); errors.Is(err, errNil) {
				err = nil
			}
			if err == nil {
				l.answered.Add(1)
				break
			}
			switch {
			case errors.Is(err, errNoAnswer), strings.HasPrefix(err.Error(), "UNKNOWN"):
				l.unknown.Add(1)
			case errors.Is(err, errNotSent), rejected(err):
				l.retried.Add(1)
			default:
				l.mu.Lock()
				l.errs = append(l.errs, fmt.Errorf("%s at node %d: %w", key, at, err))
				l.mu.Unlock()
				return
			}
			c.close()
			at = (at + 1) % l.n
			c = &resp{address: r.k.local.Configs[at].Resp.Listen}
			if !errors.Is(err, errNotSent) && !strings.HasPrefix(err.Error(), "TRYAGAIN") {
				break // it is not known whether it happened: not done again
			}
		}
	}
}

func (l *rollers) end() error {
	close(l.done)
	l.wait.Wait()
	return errors.Join(l.errs...)
}

// rolling restarts every node in order, under load, and waits for each to be
// live again before the next.
func (r *runner) rolling(ctx context.Context) (*report.Rolling, []failoverSpan, error) {
	l := r.startRollers()
	out := &report.Rolling{Clients: l.n}
	var spans []failoverSpan
	err := func() error {
		for i := range r.o.Nodes {
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			p, unknown := r.k.procs[i], l.unknown.Load()
			s := failoverSpan{victim: i, from: now()}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				return err
			}
			wait, cancel := context.WithTimeout(ctx, r.o.patience(time.Minute, 6))
			defer cancel()
			select {
			case <-p.ended:
			case <-wait.Done():
				return fmt.Errorf("node %d does not end after SIGTERM", i)
			}
			n := report.RollingNode{Node: i, Left: now() - s.from}
			if !p.cmd.ProcessState.Success() {
				return fmt.Errorf("node %d after SIGTERM: %v", i, p.cmd.ProcessState)
			}
			if err := r.k.start(i, r.flags()...); err != nil {
				return err
			}
			status, err := r.k.recovered(wait, i)
			if err != nil {
				return err
			}
			s.to = now()
			n.Away, n.Kind, n.Bytes = s.to-s.from, status.LastRecovery.Kind, status.LastRecovery.Bytes
			n.Unknown = l.unknown.Load() - unknown
			out.Nodes, spans = append(out.Nodes, n), append(spans, s)
			if err := r.startLoad(ctx, []int{i}); err != nil {
				return err
			}
		}
		return nil
	}()
	if endErr := l.end(); err == nil {
		err = endErr
	}
	out.Operations, out.Retried, out.Unknown = l.answered.Load(), l.retried.Load(), l.unknown.Load()
	return out, spans, err
}

// coldStart kills every process under load, starts all again, waits until every
// node has answered a read, and puts them under load again.
func (r *runner) coldStart(ctx context.Context, c *report.ColdStart) error {
	for _, i := range r.k.all() {
		r.k.kill(i)
	}
	for _, i := range r.k.all() {
		<-r.k.procs[i].ended
	}
	wait, cancel := context.WithTimeout(ctx, r.o.patience(startPatience, 10))
	defer cancel()
	began := now()
	for _, i := range r.k.all() {
		if err := r.k.start(i, r.flags()...); err != nil {
			return err
		}
	}
	if err := r.k.each(r.k.all(), func(i int) error { return r.firstRead(wait, i) }); err != nil {
		return err
	}
	c.Times = append(c.Times, now()-began)
	for _, i := range r.k.all() {
		s, err := r.k.recovered(wait, i)
		if err != nil {
			return err
		}
		if s.LastRecovery.Kind == "cold" {
			c.Cold++
		}
	}
	if err := r.startLoad(ctx, r.k.all()); err != nil {
		return err
	}
	return sleep(ctx, time.Second)
}

// firstRead waits until node i answers one.
func (r *runner) firstRead(ctx context.Context, i int) error {
	c := &resp{address: r.k.local.Configs[i].Resp.Listen}
	defer c.close()
	for {
		_, err := c.do("GET", probeKey)
		if err == nil || errors.Is(err, errNil) {
			return nil
		}
		if r.k.procs[i].over() {
			return fmt.Errorf("node %d ended in a cold start: %v", i, r.k.procs[i].cmd.ProcessState)
		}
		if sleep(ctx, time.Millisecond) != nil {
			return fmt.Errorf("node %d answers no read after a cold start: %w", i, err)
		}
	}
}
