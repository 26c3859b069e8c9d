package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"healkv/bench/peers/measure"
	"healkv/bench/peers/result"
	"healkv/bench/peers/servers"
)

var (
	// errMissed: a bound was not kept.
	errMissed = errors.New("peers: missed")
	// errNothing: there was nothing to judge.
	errNothing = errors.New("peers: no bound applies to what was measured; --judge=false for figures alone")
)

const (
	startPatience = 2 * time.Minute
	fillClients   = 64
	probeTime     = time.Second
	// absenceClients write while a node is away.
	absenceClients  = 64
	absencePatience = 2 * time.Minute
)

// comparison is one run of the command.
type comparison struct {
	o      options
	data   string // where all data directories are
	report result.Report
	out    io.Writer
}

// compare measures, judges and leaves the results in o.out.
func compare(ctx context.Context, o options, out io.Writer) (err error) {
	c := &comparison{o: o, out: out}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	c.data = filepath.Join(o.out, "data")
	if o.domain == servers.Memory {
		if c.data, err = os.MkdirTemp("/dev/shm", "peers-"); err != nil {
			return fmt.Errorf("peers: --domain memory needs a tmpfs: %w", err)
		}
	} else if err := os.Mkdir(c.data, 0o700); err != nil {
		return fmt.Errorf("peers: data of another run, or of one that was killed? remove it or name another --out: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.data)) }()
	for _, name := range o.systems { // what is missing is said before anything runs
		sys, err := servers.New(name, c.options(name, 0))
		if err != nil {
			return err
		}
		c.report.Systems = append(c.report.Systems, sys.About())
	}
	c.report.Conditions = conditions(o, c.data)
	fmt.Fprintf(out, "%s; about %v; results in %s\n", o.command, c.estimate().Round(time.Minute), o.out)

	err = c.measure(ctx)
	if err != nil {
		c.report.Unfinished = err.Error()
	}
	c.report.NoteProbes()
	if o.domain == servers.File {
		c.report.Judge(result.FileBounds, result.RejoinBounds)
	} else {
		c.report.Judge(result.MemoryBounds, result.RejoinBounds)
	}
	if e := c.report.Save(o.out); e != nil {
		return errors.Join(err, e)
	}
	fmt.Fprintf(out, "\n%s\n", c.report.Markdown())
	if err != nil || !o.judge {
		return err
	}
	if len(c.report.Verdicts) == 0 {
		return errNothing
	}
	var missed []string
	for _, v := range c.report.Failed() {
		missed = append(missed, v.Text)
	}
	if len(missed) > 0 {
		return fmt.Errorf("%w: %s", errMissed, strings.Join(missed, "; "))
	}
	return nil
}

func (c *comparison) options(name string, run int) servers.Options {
	return servers.Options{Dir: filepath.Join(c.data, fmt.Sprintf("%s-%d", name, run)), Domain: c.o.domain, Program: c.o.program, Pool: c.o.pool}
}

// estimate of the whole: parts, and about 15 s to start, fill and stop a group.
func (c *comparison) estimate() time.Duration {
	part := c.o.warm + c.o.time
	if c.o.domain == servers.File {
		part += probeTime
	}
	ops := time.Duration(1)
	if c.o.reads {
		ops = 2
	}
	group := ops*time.Duration(len(c.o.clients))*part + 15*time.Second
	if c.o.unix { // nearly all have them
		group += ops * part
	}
	if c.o.missed > 0 {
		group += 15 * time.Second
	}
	all := time.Duration(len(c.o.systems)) * group
	if c.o.inNode && slices.Contains(c.o.systems, "healkv") {
		all += ops * time.Duration(len(c.inNodeClients())) * (part + 10*time.Second)
	}
	return time.Duration(c.o.runs) * all
}

// measure does all runs. The system that begins changes from run to run, so that
// what a disk or a machine does in the course of time hits each one in turn.
func (c *comparison) measure(ctx context.Context) error {
	for run := 1; run <= c.o.runs; run++ {
		turn := (run - 1) % len(c.o.systems)
		for _, name := range slices.Concat(c.o.systems[turn:], c.o.systems[:turn]) {
			if err := c.system(ctx, name, run); err != nil {
				return fmt.Errorf("run %d: %w", run, err)
			}
			if name == "healkv" && c.o.inNode {
				for _, n := range c.inNodeClients() {
					if err := c.inNode(ctx, run, n); err != nil {
						return fmt.Errorf("run %d: %w", run, err)
					}
				}
			}
			if err := c.report.Save(c.o.out); err != nil {
				return err
			}
			debug.FreeOSMemory() // of what ran in this process
		}
	}
	return nil
}

// system measures one group from its start to its end.
func (c *comparison) system(ctx context.Context, name string, run int) (err error) {
	sys, err := servers.New(name, c.options(name, run))
	if err != nil {
		return err
	}
	defer func() {
		if e := sys.Stop(); e != nil {
			err = errors.Join(err, fmt.Errorf("stopping %s: %w", name, e))
		}
	}()
	begin := time.Now()
	start, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := sys.Start(start); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "run %d: %s serves after %.1f s\n", run, name, time.Since(begin).Seconds())
	load := measure.Load{Clients: min(fillClients, c.o.keys), Keys: c.o.keys, ValueBytes: c.o.value, Warm: c.o.warm, Time: c.o.time}
	if err := fill(ctx, sys, load); err != nil {
		return err
	}
	for _, n := range c.o.clients {
		load.Clients = n
		if err := c.parts(ctx, sys, run, load); err != nil {
			return err
		}
	}
	if _, ok := sys.(servers.Filed); ok && c.o.unix { // by the largest number, which is judged
		load.Files = true
		if err := c.parts(ctx, sys, run, load); err != nil {
			return err
		}
		load.Files = false
	}
	if c.o.missed == 0 {
		return nil
	}
	a := measure.Absence{Load: load, Missed: c.o.missed, Longest: absencePatience}
	a.Clients, a.Time = min(absenceClients, c.o.clients[len(c.o.clients)-1]), min(c.o.time, 3*time.Second)
	r, err := a.Run(ctx, sys)
	if r.Seconds > 0 {
		c.report.Absences = append(c.report.Absences, result.Absence{System: name, Clients: a.Clients, Run: run, Rejoin: r})
		fmt.Fprintf(c.out, "run %d: %s back after %.3f s, having missed %d writes\n", run, name, r.Seconds, r.Missed)
	}
	return c.known(err)
}

// known lets a wrong answer pass as a result: it is judged, and the rest is
// measured all the same.
func (c *comparison) known(err error) error {
	if errors.Is(err, measure.ErrWrong) {
		c.report.Notes = append(c.report.Notes, err.Error())
		return nil
	}
	return err
}

func fill(ctx context.Context, sys servers.System, load measure.Load) error {
	s, err := measure.Open(ctx, sys, load)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Fill(ctx)
}

// parts measures writes, and reads if they were asked for, by one number of clients.
func (c *comparison) parts(ctx context.Context, sys servers.System, run int, load measure.Load) error {
	s, err := measure.Open(ctx, sys, load)
	if err != nil {
		return err
	}
	defer s.Close()
	ops := []string{"write"}
	if c.o.reads {
		ops = append(ops, "read")
	}
	name := sys.About().Name
	if load.Files {
		name = result.OverFiles(name)
	}
	for _, op := range ops {
		p := result.Part{System: name, Op: op, Clients: load.Clients, Run: run}
		if p.Probe, err = c.probe(ctx); err != nil {
			return err
		}
		if p.Figures, err = s.Run(ctx, op == "read"); c.known(err) != nil {
			return err
		}
		if err := c.add(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) probe(ctx context.Context) (*measure.Probe, error) {
	if c.o.domain != servers.File {
		return nil, nil
	}
	p, err := measure.Disk(ctx, c.data, probeTime)
	return &p, err
}

// add takes a part in. One in which nothing was acknowledged is none.
func (c *comparison) add(p result.Part) error {
	if p.Operations == 0 {
		return fmt.Errorf("peers: %s, %s, %d clients: nothing was acknowledged; first error: %s", p.System, p.Op, p.Clients, p.FirstError)
	}
	c.report.Parts = append(c.report.Parts, p)
	disk := ""
	if p.Probe != nil {
		disk = fmt.Sprintf("; disk before: %.0f fdatasync/s", p.Probe.Rate)
	}
	fmt.Fprintf(c.out, "run %d: %-14s %-5s %4d clients %10.0f/s  p50 %8.2f ms  p99 %8.2f ms  %d errors%s\n",
		p.Run, p.System, p.Op, p.Clients, p.Rate, float64(p.P50)/1000, float64(p.P99)/1000, p.Errors, disk)
	return nil
}

// inNodeClients are the numbers of clients for which HealKV is measured under its
// own generators: flushed all, else the largest. Each node has generators, so
// there is none for fewer clients than nodes.
func (c *comparison) inNodeClients() []int {
	all := slices.DeleteFunc(slices.Clone(c.o.clients), func(n int) bool { return n < servers.Nodes })
	if c.o.domain != servers.File && len(all) > 0 {
		all = all[len(all)-1:]
	}
	return all
}

// inNode measures HealKV under its own generators with no more operations in
// flight than that many clients have.
func (c *comparison) inNode(ctx context.Context, run, clients int) error {
	loads := []struct{ op, workload string }{{"write", "write-only"}}
	if c.o.reads {
		loads = append(loads, struct{ op, workload string }{"read", "taobench-ro"})
	}
	for _, l := range loads {
		port, err := servers.Ports(10)
		if err != nil {
			return err
		}
		p := result.Part{System: result.InNode, Op: l.op, Clients: clients, Run: run}
		if p.Probe, err = c.probe(ctx); err != nil {
			return err
		}
		n := measure.InNode{Program: c.o.program, Domain: string(c.o.domain), Pool: c.o.pool, Workload: l.workload, Keys: c.o.keys,
			Dir: filepath.Join(c.data, "in-node"), Window: clients / servers.Nodes, Time: c.o.time, Port: port}
		if p.Figures, err = n.Run(ctx); err != nil {
			return err
		}
		if err := c.add(p); err != nil {
			return err
		}
	}
	return nil
}
