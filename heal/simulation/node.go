package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
	"healkv/heal"
	"healkv/heal/membership"
	"healkv/heal/membership/lease"
	"healkv/pmem"
	"healkv/pmem/store"
	"healkv/rdma/sim"
)

const (
	hashSeed    = 77
	clusterName = "00000000000000000000000000000001"
)

// process is one process of a node, the wiring of healkv.Node.
type process struct {
	*flowsim.Process
	m          *machine
	w          *world
	plane      *plane
	members    *membership.Service
	host       *dataplane.Host
	eye        dataplane.Watch
	log        *slog.Logger
	ctx        context.Context
	cancel     context.CancelFunc
	life       *life
	last       *life // life, and still that while it ends
	began      bool  // New of the membership is over: its storage may wait
	closing    bool
	drained    chan struct{} // closed when it is resumed; nil: it is not drained
	drainedFor time.Duration
	endsLife   func() // ends the present life
	failed     error  // for good
	fails      int    // lives in a row that ended by a failure of the device
	clients    []*client
	poked      bool
}

// life is what one incarnation of the node holds.
type life struct {
	p        *process
	self     proto.Member
	pools    []*pmem.Pool
	drivers  []*driver
	core     *dataplane.Core
	heal     *heal.Life
	gate     *leaseOf
	turns    []uint64
	entered  bool
	served   bool
	failed   error // its pool
	waits    bool  // says that it cannot go on
	laps     []int // of scrubbers, by shard
	calmLaps []int // laps when the calm was first looked at

	installed proto.Epoch
	buddy     int
	over      bool
}

// lifeState is what the kernel knows of a life.
type lifeState struct{ released int64 } // true time at which its liveness lock is free; 0: held

func (w *world) configured() (s proto.NodeSet) {
	for i := range w.o.Nodes {
		s = s.With(proto.NodeID(i))
	}
	return s
}

// poke lets tasks see what came from outside.
func (p *process) poke() {
	if !p.poked && !p.Dead() {
		p.poked = true
		p.w.sim.At(0, func() {
			p.poked = false
			p.Run()
		})
	}
}

func (p *process) pokeOther(n int) {
	if o := p.w.nodes[n].p; o != nil {
		o.poke()
	}
}

func (p *process) provenDead(m proto.Member) (bool, error) {
	if !p.w.o.OneHost || int(m.Node) >= p.w.o.Nodes {
		return false, nil
	}
	l := p.w.lives[m]
	return l != nil && l.released != 0 && p.w.sim.Now() >= l.released, nil
}

func (p *process) sawView(v proto.View) {
	p.w.sawView(p, &v)
	if p.life != nil {
		p.life.heal.SawView(v)
	}
}

// progress is Node.progress.
func (p *process) progress() bool {
	l := p.life
	if l == nil {
		return false
	}
	if p.host.Core() != l.core {
		return true
	}
	for i, w := range l.core.Workers() {
		if w.Exhausted() {
			p.Go(func() { p.members.SameMembers(p.ctx, p.members.Current().Epoch) })
		}
		was := l.turns[i]
		for tries := 0; w.Turns() == was; tries++ {
			if tries == 20 {
				p.w.count("leases not renewed for want of progress")
				return false
			}
			l.drivers[i].ep.Wake()
			p.Wait(p.w.o.Lease / 400)
			if p.life != l {
				return true
			}
		}
		l.turns[i] = w.Turns()
	}
	return true
}

// watch is Node.watch. What waits for a worker ends with its life.
func (p *process) watch() []proto.Pair { return p.eye.Pairs(p.host.Core(), p.members.Current().Epoch) }

// probe is Node.probe.
func (p *process) probe() {
	if c := p.host.Core(); c != nil && !p.w.o.NoProbes {
		for _, w := range c.Workers() {
			w.Do(w.Probe)
		}
	}
}

// run is Node.run: one life after the other.
func (p *process) run() {
	var err error
	for full := ""; ; {
		ctx, end := context.WithCancel(p.ctx)
		p.endsLife = end
		err = p.live(ctx, full)
		end()
		full = ""
		var f *heal.Fenced
		again := errors.As(err, &f)
		if p.ctx.Err() != nil || p.closing {
			break
		}
		if again && f.Full {
			full = f.Why
		}
		if p.rests(err) {
			continue
		}
		if errors.Is(err, pmem.ErrFlush) || errors.Is(err, pmem.ErrFault) || errors.Is(err, pmem.ErrDecayed) {
			p.failAgain()
			continue
		}
		if !again {
			break
		}
		p.w.note("life ends", p.m.id, 0, 0)
		p.w.count("lives fenced")
		p.Wait(50*p.w.o.Lease/1000, p.ctx.Done()) // 50 ms to a lease of a second
	}
	p.log.Info("process ends", "err", err)
	if p.failed == nil && !p.closing && p.ctx.Err() == nil {
		p.w.fail("node stopped", "node %d: %v", p.m.id, err)
	}
	p.w.sim.At(0, func() {
		if p.m.p == p && p.m.up {
			p.w.note("process ends", p.m.id, 0, 0)
			p.m.crash(-1)
			p.w.sim.At(p.w.o.Lease/2, p.m.start)
		}
	})
}

func (p *process) live(ctx context.Context, force string) (err error) {
	w := p.w
	l := &life{p: p, turns: make([]uint64, w.o.Shards), laps: make([]int, w.o.Shards), buddy: -1}
	defer func() { p.endLife(l) }()
	for _, d := range p.m.pools {
		if p.m.foreign != nil {
			p.failed = p.openForeign(d, p.m.foreign)
			return p.failed
		}
		pool, err := d.heap.Open(d.identity())
		if errors.Is(err, pmem.ErrFlush) {
			return err
		}
		if err != nil && p.m.anew(d, err) {
			return fmt.Errorf("%w: %w", pmem.ErrFault, err)
		}
		if err != nil {
			w.fail("open", "node %d, shard %d: %v", p.m.id, d.shard, err)
		}
		l.pools = append(l.pools, pool)
		w.watchDrops(pool)
		p.m.noteOpened(pool)
	}
	w.opened(p.m, l)
	p.Wait(time.Duration(w.rng.Int64N(2_000_000)))
	inc, err := p.members.NextIncarnation(ctx)
	if err != nil {
		return err
	}
	l.self = proto.Member{Node: proto.NodeID(p.m.id), Incarnation: inc}
	if w.lives[l.self] != nil {
		w.fail("incarnation twice", "%v", l.self)
	}
	w.lives[l.self] = &lifeState{}
	p.m.lastLife = inc
	w.note("life begins", p.m.id, uint64(inc), l.pools[0].Recovered().Tail)
	timed := &leaseOf{Timed: lease.Timed{Holder: p.members.Lease(), Clock: p.Process}, p: p}
	l.gate = timed
	workers := make([]*dataplane.Worker, w.o.Shards)
	for i, pool := range l.pools {
		e, err := w.net.Endpoint(sim.Config{Node: p.m.id, Nodes: w.o.Nodes, Shard: i, Incarnation: uint32(inc), RingBytes: w.o.Ring})
		if err != nil {
			panic(err)
		}
		e.Expose(pool.Region().Bytes()[pmem.DataOffset:])
		d := &driver{p: p, l: l, shard: i, medium: p.m.pools[i]}
		d.ep = &endpoint{Endpoint: e, d: d}
		workers[i] = dataplane.NewWorker(dataplane.WorkerConfig{Shard: i, Nodes: w.o.Nodes, Pool: pool, Endpoint: d.ep, Model: w.o.Model, Lease: timed,
			SpinTurns: w.o.Spin, OnFailure: func(shard int, err error) { p.poolFailed(l, shard, err) }, OnRefused: func(_ int, peer proto.Member, err error) {
				w.count("lives ended by a stream that does not verify")
				l.heal.Refused(peer, err)
				p.poke()
			}, Logger: p.log, Env: p.Process, Limits: w.o.limits()})
		d.w = workers[i]
		l.drivers = append(l.drivers, d)
	}
	l.core = dataplane.NewCore(workers, timed)
	c := heal.Config{Self: l.self, Configured: w.configured(), Core: l.core, Register: p.members, Control: p.plane, Full: force,
		ProvenDead: func(m proto.Member) bool { dead, err := p.provenDead(m); return err == nil && dead },
		Event:      func(name string, e proto.Epoch, detail string) { w.event(l, name, e, detail) },
		Enter:      func(full bool) error { return p.enter(l, full) },
		Promoted: func() error {
			if p.fails > 0 {
				w.count("live again after failures of the device")
				p.fails = 0
			}
			return l.core.Complete(l.heal.Installed().Epoch)
		},
		Lease: w.o.Lease, Running: p.members.Running, HeldBack: p.members.HeldBack,
		Logger: p.log, Env: p.Process,
		Limits: heal.Limits{Batches: 2, BatchBytes: 4 << 10, FirstPageBytes: 64, PageBytes: 512, LastStepBytes: 2 << 10, WalkBytes: 8 << 10, WalkPause: 100 * time.Microsecond, Leftovers: 8,
			PartBits: int(w.o.Seed % 3), CompareBusy: 2},
	}
	if w.o.compares() {
		c.CompareEvery = w.o.Lease / 4
	}
	v := p.members.Current()
	c.Opened(l.pools, &v, p.m.begun)
	if c.Full == "" && w.o.FullCopy {
		c.Full = "selected by configuration"
	}
	if c.Full != "" {
		w.count("full: " + reason(c.Full))
	}
	l.heal = heal.New(c)
	p.life, p.last = l, l
	p.members.SetMember(l.self)
	l.heal.SawView(p.members.Current())
	if p.members.Current().Epoch == 0 {
		p.Go(p.bootstrap)
	}
	err = l.heal.Run(ctx)
	if l.failed != nil {
		p.leave(l)
		return l.failed
	}
	return err
}

// reason is a text without its numbers.
func reason(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			b = append(b, s[i])
		}
	}
	return string(b)
}

func (p *process) bootstrap() {
	for p.ctx.Err() == nil && p.members.Current().Epoch == 0 {
		if _, err := p.members.Bootstrap(p.ctx); err != nil {
			p.Wait(2*time.Millisecond, p.ctx.Done())
		}
	}
	p.sawView(p.members.Current())
}

func (p *process) enter(l *life, full bool) error {
	p.m.begun = true
	p.w.tracer.enter(l, full)
	for _, w := range l.core.Workers() {
		if err := w.Open(l.self, full); err != nil {
			return err
		}
	}
	l.entered = true
	p.w.tracer.entered(l, full)
	if full {
		p.w.count("pools discarded")
	}
	for _, d := range l.drivers {
		d.schedule(0)
	}
	p.host.SetCore(l.core)
	if p.w.damages {
		p.scrub(l)
	}
	return nil
}

// poolFailed is Node.poolFailed.
func (p *process) poolFailed(l *life, shard int, err error) {
	if l.failed != nil {
		return
	}
	l.failed = fmt.Errorf("shard %d: %w", shard, err)
	p.w.note("pool failed", p.m.id, uint64(shard), 0)
	p.w.count("lives ended by a failed device")
	p.m.lossy = true
	l.gate.closed = true
	l.heal.Failed(l.failed)
	p.poke()
}

// failAgain is Node.failAgain: no life until the pool may work again.
func (p *process) failAgain() {
	p.m.lossy = true
	p.fails++
	p.w.count("openings after a failure of the device")
	p.w.note("opens again", p.m.id, uint64(p.fails), 0)
	p.members.SetMember(proto.Member{Node: proto.NodeID(p.m.id)})
	p.Wait(p.w.o.Lease/20<<min(p.fails, 6), p.ctx.Done())
}

func (p *process) endLife(l *life) {
	if p.Dead() { // killed: the crash has the rest
		return
	}
	if p.life == l {
		p.life = nil
	}
	if p.host.Core() == l.core && l.core != nil {
		p.host.SetCore(nil)
		l.core.Stop()
	}
	p.pollAll()
	l.end()
	for _, d := range l.drivers {
		d.ep.Close()
	}
	if l.entered {
		p.w.closing(p.m, l)
	}
	for _, pool := range l.pools {
		pool.Close(l.entered && l.failed == nil)
	}
	if s := p.w.lives[l.self]; s != nil {
		s.released = p.w.sim.Now()
	}
}

// end takes a life's counters.
func (l *life) end() {
	if l.over {
		return
	}
	l.over = true
	if l.heal != nil {
		l.p.w.Result.Marks.Add("leftovers rolled forward", int(l.heal.Recovery().Leftovers))
		l.p.w.compared(l)
	}
	if l.p.w.damages {
		l.damageCounts()
	}
	for _, d := range l.drivers {
		d.halted = true
		if l.entered {
			l.p.w.addCounters(d)
		}
	}
}

// count takes a process's counters when it ends.
func (p *process) count() {
	c, k := p.members.Status().Counts, &p.w.Result.Marks
	k.Add("leases lost and won again", int(c.LeasesLost))
	k.Add("changes of the view that were too late", int(c.Conflicts))
	k.Add("changes of the view held up by a lease", int(c.Held))
	k.Add("members removed", int(c.Removed))
	k.Add("leases refused", int(c.BeatsRefused))
	k.Add("members removed over complaints", int(c.Blamed))
	k.Add("slow members demoted, as seen by each", int(c.Demoted))
	k.Add("idle streams probed", int(c.Probes))
}

// shardOf is where a key lies (dataplane.Core).
func (w *world) shardOf(hash uint64) int {
	if w.o.Shards == 1 {
		return 0
	}
	hi, _ := bits.Mul64(hash*0x9E3779B97F4A7C15, uint64(w.o.Shards))
	return int(hi)
}

// find looks a key up in opened pools.
func (w *world) find(pools []*pmem.Pool, e *store.Entry, key int) {
	hash := keyHashes[key]
	pools[w.shardOf(hash)].Store().Find(e, hash, keyNames[key])
	e.TS = w.tsOf(e, key)
}
