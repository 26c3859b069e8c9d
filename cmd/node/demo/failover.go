package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"healkv/bench/report"
	"healkv/cmd/node/local"
)

// failoverSpan is one time of one kind.
type failoverSpan struct {
	kind     int
	victim   int
	from, to int64
	view     int64
	read     int64 // the longest of the others
	reads    int
}

// Measured is what Failover has found on one cluster.
type Measured struct {
	Failover []report.Failover
	Rolling  *report.Rolling
	Cold     []report.ColdStart
}

// Add puts two together.
func (m *Measured) Add(o *Measured) {
	m.Failover, m.Cold = append(m.Failover, o.Failover...), append(m.Cold, o.Cold...)
	if m.Rolling == nil {
		m.Rolling = o.Rolling
	}
}

// Failover measures what each kind of fault costs the nodes that are left
// alone, so many times each and another victim every time; then a rolling
// restart; as many times all processes are killed under load; and it verifies
// everything at the end. Only that and the cold starts, if the cluster is there
// for them. The error is ErrVerify if
// something was not right.
func Failover(ctx context.Context, o Options, c *local.Cluster, provider string, times int, onlyCold bool) (*Measured, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if times < 1 || times > 1000 {
		return nil, fmt.Errorf("%w: each fault %d times, want 1 to 1000", errOptions, times)
	}
	o.Verify = Minima{AckedWrites: o.Keys, AckedKeys: o.Keys, HistoryOps: 100}
	domain := c.Configs[0].Domain
	r, err := newRunner(o, c, filepath.Join(o.Out, "failover-data-"+provider+"-"+domain))
	if err != nil {
		return nil, err
	}
	r.k.onDeath = syscall.SIGKILL // a process that was stopped would not see a gentler signal
	defer r.k.client.CloseIdleConnections()
	m, err := r.failover(ctx, provider, domain, times, onlyCold)
	for _, p := range r.k.procs {
		if p != nil && !p.over() {
			p.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	if stopErr := r.k.stop(syscall.SIGHUP); err == nil {
		err = stopErr
	}
	return m, err
}

func (r *runner) failover(ctx context.Context, provider, domain string, times int, onlyCold bool) (*Measured, error) {
	if err := r.serve(ctx); err != nil {
		return nil, err
	}
	r.probing = !onlyCold
	if err := r.startLoad(ctx, r.k.all()); err != nil {
		return nil, err
	}
	if err := sleep(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	cold := report.ColdStart{Provider: provider, Domain: domain, Nodes: r.o.Nodes}
	var spans []failoverSpan
	var rows []report.Failover
	for i := range failoverKinds {
		k := &failoverKinds[i]
		if onlyCold || k.oneHost != (provider == "shm") {
			continue
		}
		if k.trusted != r.trusted { // all begin again with the other setting
			r.trusted = k.trusted
			if err := r.coldStart(ctx, &cold); err != nil {
				return nil, err
			}
		}
		rows = append(rows, k.row(r, provider))
		for n := range times {
			s, err := r.failoverOnce(ctx, k, (n+1)%r.o.Nodes)
			if err != nil {
				return nil, fmt.Errorf("%s over %s, the %d. time, node %d: %w", k.name, provider, n+1, (n+1)%r.o.Nodes, err)
			}
			s.kind = len(rows) - 1
			spans = append(spans, s)
		}
		r.say("%s over %s, %d times", k.name, provider, times)
	}
	if r.probing { // what follows is under the workload that was asked for
		if err := r.stopLoad(ctx, r.k.all()); err != nil {
			return nil, err
		}
		r.probing = false
		if err := r.startLoad(ctx, r.k.all()); err != nil {
			return nil, err
		}
	}
	m := &Measured{}
	var rolled []failoverSpan
	if provider == "shm" && !onlyCold {
		var err error
		if m.Rolling, rolled, err = r.rolling(ctx); err != nil {
			return nil, fmt.Errorf("rolling restart: %w", err)
		}
		r.say("rolling restart: %d operations answered outside, %d tries repeated, %d unknown", m.Rolling.Operations, m.Rolling.Retried, m.Rolling.Unknown)
	}
	for len(cold.Times) < times {
		if err := r.coldStart(ctx, &cold); err != nil {
			return nil, err
		}
	}
	r.say("all killed and started again over %s in domain %s, %d times", provider, domain, len(cold.Times))
	if err := r.stopLoad(ctx, r.k.all()); err != nil {
		return nil, err
	}
	nodes, err := r.writes()
	if err != nil {
		return nil, err
	}
	for _, s := range spans {
		left := slices.DeleteFunc(slices.Clone(nodes), func(n report.NodeTrace) bool { return n.Node == s.victim })
		gap, _ := report.WriteGap(left, s.from, s.to)
		before, _ := report.WriteGap(left, s.from-int64(time.Second), s.from)
		t := report.FailoverTime{Victim: s.victim, Stall: gap, Before: before, View: s.view, Read: s.read, Reads: s.reads}
		rows[s.kind].Times = append(rows[s.kind].Times, t)
	}
	m.Failover = rows
	for i, s := range rolled {
		left := slices.DeleteFunc(slices.Clone(nodes), func(n report.NodeTrace) bool { return n.Node == s.victim })
		m.Rolling.Nodes[i].Stall, _ = report.WriteGap(left, s.from, s.to)
	}
	v, err := r.verify(ctx)
	if err != nil {
		return nil, err
	}
	cold.Acked, cold.Lost = v.AckedWrites, v.Missing+v.Older
	m.Cold = append(m.Cold, cold)
	if !v.OK {
		return nil, fmt.Errorf("%w: after the failovers over %s: %v", ErrVerify, provider, v.Problems)
	}
	return m, nil
}

// flags of a node of this run.
func (r *runner) flags() []string {
	switch {
	case r.trusted:
		return []string{benchFlag, "--trust-refused"}
	case r.profiled:
		return []string{benchFlag, profileFlag}
	}
	return []string{benchFlag}
}

// failoverOnce does it to one node, waits until the others go on without it, and
// brings it back.
func (r *runner) failoverOnce(ctx context.Context, k *failoverKind, victim int) (s failoverSpan, err error) {
	p := r.k.procs[victim]
	before, err := r.k.status(ctx, victim)
	if err != nil {
		return s, err
	}
	reads := r.readAlong(victim)
	s = failoverSpan{victim: victim, from: now()}
	defer reads()
	if err := p.cmd.Process.Signal(k.signal); err != nil {
		return s, err
	}
	if err := r.awaitRemoved(ctx, victim); err != nil {
		return s, err
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return s, err
	}
	s.to = now()
	s.read, s.reads, err = reads()
	if err != nil {
		return s, err
	}
	for _, i := range r.k.all() {
		if i == victim {
			continue
		}
		o, err := r.k.status(ctx, i)
		if err != nil {
			return s, err
		}
		for _, e := range o.Events {
			if e.Name == report.EventViewInstalled && e.At >= s.from && !listed(e.Detail, victim) {
				s.view = max(s.view, e.At-s.from)
				break
			}
		}
	}
	wait, cancel := context.WithTimeout(ctx, r.o.patience(time.Minute, 6))
	defer cancel()
	if k.signal == syscall.SIGSTOP {
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			return s, err
		}
		err = r.awaitLife(wait, victim, before.Incarnation)
	} else {
		select {
		case <-p.ended:
		case <-wait.Done():
			return s, fmt.Errorf("it does not end after %v", k.signal)
		}
		if err = r.k.start(victim, r.flags()...); err == nil {
			if err = r.k.awaitServing(wait, []int{victim}); err == nil {
				err = r.startLoad(ctx, []int{victim})
			}
		}
	}
	if err != nil {
		return s, err
	}
	return s, sleep(ctx, time.Second)
}

// probeKey is one that no generator writes.
const probeKey = "failover:probe"

// readAlong reads a key that nobody writes at every node but the victim, again
// and again. What it returns ends that and says how long the longest read took,
// ns, with all its tries, and how many there were; a second time it says the
// same.
func (r *runner) readAlong(victim int) func() (longest int64, n int, err error) {
	var (
		mu      sync.Mutex
		wait    sync.WaitGroup
		done    = make(chan struct{})
		longest int64
		n       int
		errs    []error
	)
	for _, i := range r.k.all() {
		if i == victim {
			continue
		}
		wait.Go(func() {
			c := &resp{address: r.k.local.Configs[i].Resp.Listen}
			defer c.close()
			for began := now(); ; {
				_, err := c.do("GET", probeKey)
				at := now()
				mu.Lock()
				switch {
				case err == nil || errors.Is(err, errNil):
					longest, n, began = max(longest, at-began), n+1, 0
				case !rejected(err):
					errs = append(errs, fmt.Errorf("a read at node %d: %w", i, err))
				}
				failed := len(errs) > 0
				mu.Unlock()
				select {
				case <-done:
					if began != 0 {
						mu.Lock()
						longest = max(longest, at-began)
						mu.Unlock()
					}
					return
				case <-time.After(4 * time.Millisecond):
				}
				if failed {
					return
				}
				if began == 0 {
					began = now()
				}
			}
		})
	}
	var once sync.Once
	return func() (int64, int, error) {
		once.Do(func() {
			close(done)
			wait.Wait()
		})
		return longest, n, errors.Join(errs...)
	}
}

// awaitLife waits until a node that stood still is back in a new life.
func (r *runner) awaitLife(ctx context.Context, i int, before uint32) error {
	for {
		s, err := r.k.status(ctx, i)
		if err == nil && s.Incarnation > before && s.Serving {
			return nil
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("it did not begin another life: role %q, incarnation %d: %w", s.Role, s.Incarnation, err)
		}
	}
}
