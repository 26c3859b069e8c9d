package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/flow/flowsim"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal"
	"healkv/heal/control"
	"healkv/heal/membership"
	"healkv/heal/membership/lease"
	"healkv/pmem"
	"healkv/pmem/store"
	"healkv/rdma"
	"healkv/rdma/sim"
)

const (
	hashSeed    = 77
	clusterName = "00000000000000000000000000000001"
)

// machine is one configured node: what outlives its processes.
type machine struct {
	w        *world
	id       int
	acceptor acceptorDisk
	pools    []*medium
	begun    bool // a life of this node once entered: durable
	ppm      int
	starts   int

	p          *process // the present or last process; nil before the first
	up         bool
	dieInFlush bool
	dieByPower int // how its media is torn then; below 0: the process dies only
	dieAfter   int64
	back       int64 // when a restart is due, true time
	failFlush  bool
	slowTurns  int   // times
	slowFlush  int64 // up to so many ns after a drain
	hangUntil  int64 // true time until which workers stand still
	hangs      bool  // and slows, slowsFlush: that has not shown yet
	slows      bool
	slowsFlush bool
	blank      bool // lost its pool and was not promoted since
	lossy      bool // lost what was not flushed since it was last live
}

// process is one process of a node, the wiring of healkv.Node.
type process struct {
	*flowsim.Process
	m       *machine
	w       *world
	plane   *plane
	members *membership.Service
	host    *dataplane.Host
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	life    *life
	last    *life // life, and still that while it ends
	began   bool  // New of the membership is over: its storage may wait
	closing bool
	failed  error
	clients []*client
	poked   bool
}

// life is what one incarnation of the node holds.
type life struct {
	p       *process
	self    proto.Member
	pools   []*pmem.Pool
	drivers []*driver
	core    *dataplane.Core
	heal    *heal.Life
	turns   []uint64
	entered bool
	served  bool
	waits   bool // says that it cannot go on

	installed proto.Epoch
	buddy     int
	over      bool
}

// lifeState is what the kernel knows of a life.
type lifeState struct{ released int64 } // true time at which its liveness lock is free; 0: held

func newMachine(w *world, id int) *machine {
	m := &machine{w: w, id: id, dieByPower: -1}
	m.acceptor.m = m
	if err := membership.FormatStorage(&m.acceptor, clusterName, proto.NodeID(id)); err != nil {
		panic(err)
	}
	for i := range w.o.Shards {
		d := &medium{m: m, shard: i}
		d.format()
		m.pools = append(m.pools, d)
	}
	return m
}

// start begins a process.
func (m *machine) start() {
	w := m.w
	if m.up || w.ended {
		return
	}
	m.up = true
	m.starts++
	p := &process{Process: w.sim.NewProcess(time.Duration(w.rng.Int64N(int64(time.Hour))), m.ppm), m: m, w: w}
	m.p = p
	p.log = w.logger.With("node", m.id)
	p.plane = newPlane(w, p)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.host = dataplane.NewHost(func(key []byte) uint64 { return xxh3.HashSeed(key, hashSeed) })
	configured := w.configured()
	var err error
	p.members, err = membership.New(membership.Config{
		Node: proto.NodeID(m.id), ClusterID: clusterName, Storage: &m.acceptor, Configured: configured,
		Initial: proto.View{Configured: configured, Model: w.o.Model, Shards: uint8(w.o.Shards)},
		Lease:   w.o.Lease, Drift: w.o.Drift, Control: p.plane, Env: p.Process, Logger: p.log,
		Progress: p.progress, ProvenDead: p.provenDead, OnView: p.sawView,
		OnSuspect: func(n proto.NodeID, why string) { w.note("suspects", m.id, uint64(n), 0) },
	})
	if err != nil {
		w.note("start fails", m.id, 0, 0)
		if m.acceptor.failNext {
			w.fail("acceptor", "node %d: %v", m.id, err)
		}
		// The sync of the first look at the file failed: again later.
		m.up = false
		p.Kill()
		w.sim.At(w.o.Lease, m.start)
		return
	}
	p.began = true
	w.note("process starts", m.id, 0, 0)
	heal.Serve(p.plane, func() *heal.Life {
		if p.life == nil {
			return nil
		}
		return p.life.heal
	})
	p.members.Start()
	for i := range w.o.Clients {
		p.clients = append(p.clients, newClient(p, i))
	}
	p.Go(p.run)
	p.plane.redial()
}

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

// run is Node.run: one life after the other.
func (p *process) run() {
	var err error
	for full := ""; ; {
		err = p.live(full)
		full = ""
		var f *heal.Fenced
		if p.ctx.Err() != nil || p.closing || !errors.As(err, &f) {
			break
		}
		p.w.note("life ends", p.m.id, 0, 0)
		p.w.count("lives fenced")
		if f.Full {
			full = f.Why
		}
		p.Wait(50*p.w.o.Lease/1000, p.ctx.Done()) // 50 ms to a lease of a second
	}
	p.log.Info("process ends", "err", err)
	if errors.Is(err, pmem.ErrFlush) && p.failed == nil {
		p.failed = err
		p.m.lossy = true
	}
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

func (p *process) live(force string) (err error) {
	w := p.w
	l := &life{p: p, turns: make([]uint64, w.o.Shards), buddy: -1}
	defer func() { p.endLife(l) }()
	for _, d := range p.m.pools {
		pool, err := d.heap.Open(d.identity())
		if errors.Is(err, pmem.ErrFlush) {
			return err
		}
		if err != nil {
			w.fail("open", "node %d, shard %d: %v", p.m.id, d.shard, err)
		}
		l.pools = append(l.pools, pool)
	}
	w.opened(p.m, l)
	p.Wait(time.Duration(w.rng.Int64N(2_000_000)))
	inc, err := p.members.NextIncarnation(p.ctx)
	if err != nil {
		return err
	}
	l.self = proto.Member{Node: proto.NodeID(p.m.id), Incarnation: inc}
	if w.lives[l.self] != nil {
		w.fail("incarnation twice", "%v", l.self)
	}
	w.lives[l.self] = &lifeState{}
	w.note("life begins", p.m.id, uint64(inc), l.pools[0].Recovered().Tail)
	timed := &leaseOf{lease.Timed{Holder: p.members.Lease(), Clock: p.Process}, p}
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
			SpinTurns: w.o.Spin, OnFailure: p.poolFailed, OnRefused: func(_ int, peer proto.Member, err error) {
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
		Promoted:   func() error { return l.core.Complete(l.heal.Installed().Epoch) },
		Logger:     p.log, Env: p.Process,
		Limits: heal.Limits{Batches: 2, BatchBytes: 4 << 10, FirstPageBytes: 64, PageBytes: 512, LastStepBytes: 2 << 10, WalkBytes: 8 << 10, WalkPause: 100 * time.Microsecond, Leftovers: 8},
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
	return l.heal.Run(p.ctx)
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
	return nil
}

func (p *process) poolFailed(shard int, err error) {
	p.failed = fmt.Errorf("shard %d: %w", shard, err)
	p.w.note("pool failed", p.m.id, uint64(shard), 0)
	p.w.count("nodes stopped by a failed flush")
	p.m.lossy = true
	p.cancel()
	p.poke()
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
		pool.Close(l.entered && p.failed == nil)
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
}

// crash ends the process at once; power below 0: only that, else the machine
// loses power and its media is torn in that way.
func (m *machine) crash(power int) {
	w, p := m.w, m.p
	if !m.up {
		if power >= 0 {
			m.powerLost(power)
		}
		return
	}
	m.up = false
	m.dieInFlush, m.failFlush, m.hangUntil, m.hangs = false, false, 0, false
	w.crashing(m, power)
	w.tracer.crashed(m)
	w.note("crash", m.id, uint64(power+1), 0)
	for _, c := range p.clients {
		c.lost()
	}
	p.count()
	if p.Paused() {
		w.net.Resume(m.id)
	}
	p.Kill()
	p.cancel()
	if l := p.life; l != nil {
		l.end()
		w.net.Kill(m.id, uint32(l.self.Incarnation))
		if s := w.lives[l.self]; s != nil && power < 0 {
			s.released = w.sim.Now() + w.rng.Int64N(int64(w.o.Lease/4)) // memory is unmapped first
		}
	}
	for _, x := range p.plane.conns {
		if x == nil {
			continue
		}
		if power < 0 {
			w.sim.At(time.Duration(w.rng.Int64N(300_000)), func() {
				how := control.PeerClosed
				if w.o.OneHost {
					how = control.PeerExited
				}
				x.close(how)
			})
			continue
		}
		w.sim.At(w.o.Lease*2, func() { x.close(control.PeerClosed) }) // nobody tells; the connection times out
	}
	if power >= 0 {
		m.powerLost(power)
	}
}

func (m *machine) powerLost(how int) {
	w := m.w
	w.count("power losses: " + tornNames[how])
	if w.newest.Live.Has(proto.NodeID(m.id)) {
		m.lossy = true
	}
	m.acceptor.powerLoss()
	for _, d := range m.pools {
		d.powerLoss(how)
	}
}

// restart brings a machine back after a while.
func (m *machine) restart(after int64) {
	m.w.sim.At(time.Duration(after), m.start)
}

func (m *machine) pause(d time.Duration) {
	p, w := m.p, m.w
	if !m.up || p.Paused() {
		return
	}
	p.Pause()
	deaf := w.rng.IntN(2) == 0 // its memory, too, cannot be reached
	if deaf {
		w.net.Pause(m.id)
	}
	w.sim.At(d, func() { m.resume(p) })
}

func (m *machine) resume(p *process) {
	if p.Dead() || !p.Paused() {
		return
	}
	m.w.net.Resume(m.id)
	p.Resume()
	m.w.release()
	m.wake()
	m.w.netSoon()
}

// wake lets workers go on that stood still.
func (m *machine) wake() {
	if m.up && m.p.last != nil {
		for _, d := range m.p.last.drivers {
			if !d.ep.Asleep() {
				d.schedule(0)
			}
		}
	}
}

// driver runs one worker.
type driver struct {
	p         *process
	l         *life
	shard     int
	w         *dataplane.Worker
	ep        *endpoint
	medium    *medium
	scheduled bool
	halted    bool
	letters   bool // a task waits for the next round
	stable    uint64
}

func (d *driver) schedule(after time.Duration) {
	if d.scheduled || d.halted || !d.l.entered {
		return
	}
	d.scheduled = true
	d.p.w.sim.At(after, d.round)
}

func (d *driver) round() {
	d.scheduled = false
	p, w, m := d.p, d.p.w, d.p.m
	if d.halted || p.Dead() || p.Paused() || w.ended {
		return
	}
	if m.hangUntil > w.sim.Now() {
		if m.hangs {
			m.hangs = false
			w.took(doHang)
		}
		d.scheduled = true
		w.sim.At(time.Duration(m.hangUntil-w.sim.Now()), d.round)
		return
	}
	if d.ep.Asleep() {
		return
	}
	w.net.AdvanceTo(uint64(w.sim.Now()) / 1000)
	drains := d.medium.drains
	goesOn, dead := d.turn()
	if dead {
		// Clients' threads go on while a worker waits for its flush: what it has
		// answered before is answered.
		p.pollAll()
		m.crash(m.dieByPower)
		m.restart(m.back - w.sim.Now())
		return
	}
	if !goesOn {
		d.w.Halt()
		d.halted = true
		p.pollAll()
		p.poke()
		w.netSoon()
		return
	}
	w.tracer.turn(d)
	d.checkTurn()
	p.pollAll()
	if d.letters {
		d.letters = false
		p.Run()
	}
	w.netSoon()
	if d.halted || d.ep.Asleep() {
		return
	}
	cost := 500 + w.rng.Int64N(int64(w.o.TurnMax)*1000)
	if m.slowTurns > 1 {
		if m.slows {
			m.slows = false
			w.took(doSlow)
		}
		cost *= int64(m.slowTurns)
	}
	if m.slowFlush > 0 && d.medium.drains != drains {
		if m.slowsFlush {
			m.slowsFlush = false
			w.took(doSlowDisk)
		}
		cost += w.rng.Int64N(m.slowFlush)
	}
	d.schedule(time.Duration(cost))
}

func (d *driver) turn() (goesOn, dead bool) {
	w := d.p.w
	w.rounding = d
	defer func() {
		w.rounding = nil
		if r := recover(); r != nil {
			if x, ok := r.(died); ok && x.m == d.p.m {
				dead = true
				return
			}
			panic(r)
		}
	}()
	return d.w.Round(), false
}

// endpoint is the worker's end of the transport, watched.
type endpoint struct {
	*sim.Endpoint
	d    *driver
	sent [proto.NodesMax]rdma.Marks
}

func (e *endpoint) Wake() {
	e.Endpoint.Wake()
	d := e.d
	if !d.p.w.kicking {
		d.letters = true
	}
	d.schedule(time.Duration(200 + d.p.w.rng.Int64N(3000)))
}

// Poll comes after the letters of a turn, PrepareSleep between the two turns of
// a round.
func (e *endpoint) Poll() {
	e.d.p.w.tracer.turn(e.d)
	e.Endpoint.Poll()
}

func (e *endpoint) PrepareSleep() {
	e.d.p.w.tracer.turn(e.d)
	e.Endpoint.PrepareSleep()
}

func (e *endpoint) Attach(l rdma.Link) {
	e.sent[l.Peer()] = rdma.Marks{}
	e.Endpoint.Attach(l)
}

// PublishMarks: no watermark of one pair of lives steps back (I8).
func (e *endpoint) PublishMarks(peer int, b *rdma.Marks) {
	a := &e.sent[peer]
	if b.Epoch < a.Epoch || b.Visible < a.Visible || b.Stable < a.Stable || b.Applied < a.Applied || b.Durable < a.Durable ||
		b.Room < a.Room || b.Settled < a.Settled || b.Flushed < a.Flushed {
		e.d.p.w.fail("watermark back", "node %d: a watermark for %d stepped back: %+v after %+v (I8)", e.d.p.m.id, peer, *b, *a)
	}
	if b.Durable > b.Applied || b.Visible > e.Out().Tail() || b.Stable > b.Visible {
		e.d.p.w.fail("impossible watermark", "node %d: for %d: %+v", e.d.p.m.id, peer, *b)
	}
	*a = *b
	e.Endpoint.PublishMarks(peer, b)
}

// leaseOf is the lease as workers and sessions see it. A client's thread may
// stand still before it copies its value, and before it looks at the lease
// (H12).
type leaseOf struct {
	lease.Timed
	p *process
}

func (l *leaseOf) Valid() bool {
	if l.p.w.inClient {
		l.p.w.standStill(l.p)
		l.p.w.looked = true
	}
	return l.Timed.Valid()
}

func (l *leaseOf) Generation() uint64 {
	if l.p.w.inClient && !l.p.w.looked { // after it, only the answer comes later
		l.p.w.standStill(l.p)
	}
	return l.Timed.Generation()
}

var _ dataplane.Lease = (*leaseOf)(nil)
var _ flow.Env = (*process)(nil)

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
}

func (w *world) addCounters(d *driver) {
	if r := d.w.Replica(); r != nil {
		c, o := &w.counters, &r.Counters
		add(c, o)
		n := &d.w.Counters
		k := &w.Result.Marks
		k.Add("turns with a full ring", int(n.RingFullTurns))
		k.Add("operations refused for want of room", int(n.NoRoom))
		k.Add("missed ranges given up", int(n.GivenUp))
		k.Add("segments cleaned", int(n.CleanedSegments))
		k.Add("streams refused", int(n.StreamFaults))
		k.Add("operations unknown at the worker", int(n.Unknown))
		k.Add("sleeps", int(n.Sleeps))
	}
}

func add(c, o *replica.Counters) {
	c.Writes += o.Writes
	c.Superseded += o.Superseded
	c.Confirmed += o.Confirmed
	c.WaitedForView += o.WaitedForView
	c.LockedReads += o.LockedReads
	c.Adopted += o.Adopted
	c.AdoptedLocked += o.AdoptedLocked
	c.AdoptSkipped += o.AdoptSkipped
	c.RolledForward += o.RolledForward
	c.RingFull += o.RingFull
	c.NoRoom += o.NoRoom
	c.BadEntries += o.BadEntries
	c.StalledNoSpace += o.StalledNoSpace
}

func (m *machine) String() string {
	s := fmt.Sprintf("node %d: up %v", m.id, m.up)
	if !m.up {
		return s
	}
	p := m.p
	st := p.members.Status()
	s += fmt.Sprintf(", paused %v, %v, member %v, knows %d, lease %v (%v left), voting %v %s, guards %v, quiet %v", p.Paused(), p.Process, st.Member, st.View.Epoch,
		p.members.Lease().ValidAt(p.Now()), time.Duration(p.members.Lease().Until()-p.Now()), st.Voting, st.Stopped, st.Guards, st.Quiet)
	l := p.life
	if l == nil {
		return s + ", no life"
	}
	s += fmt.Sprintf(", life %v, installed %d, entered %v, serving %v", l.self, l.heal.Installed().Epoch, l.entered, l.core.Serving())
	if !l.entered {
		return s
	}
	for _, d := range l.drivers {
		r := d.w.Replica()
		st := d.w.Pool().Store()
		s += fmt.Sprintf("\n    shard %d: asleep %v scheduled %v halted %v outstanding %d, forward %d, stable %d, flushed %d, tail %d, free %d, ring %d of %d, counters %+v %+v", d.shard, d.ep.Asleep(),
			d.scheduled, d.halted, r.Outstanding(), r.ForwardPending(), r.StablePos(), st.Flushed(), st.Tail(), st.FreeBytes(), d.ep.Out().Room(), d.ep.Out().Size(), r.Counters, d.w.Counters)
	}
	return s
}
