package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/zeebo/xxh3"

	"healkv/dataplane"
	"healkv/dataplane/proto"
	"healkv/heal"
	"healkv/heal/control"
	"healkv/heal/membership"
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
	dark       bool  // without power: nothing refuses a connection either
	back       int64 // when a restart is due, true time
	failFlush  bool
	failFor    time.Duration // and those of that time after it
	failUntil  int64
	slowTurns  int   // times
	slowFlush  int64 // up to so many ns after a drain
	slowUntil  int64 // true time until which turns or flushes are, or were, slow
	hangUntil  int64 // true time until which workers stand still
	hangs      bool  // and slows, slowsFlush: that has not shown yet
	slows      bool
	slowsFlush bool
	old        older
	foreign    *machine          // whose pools lie where the own ones were, nil: nobody's
	blank      bool              // lost its pool and was not promoted since
	lastLife   proto.Incarnation // that has begun
	blankSince proto.Incarnation // the life in or after which it lost its pool
	doubtful   bool              // its pool was, and was not promoted since
	short      bool              // its log was hit at the end, and it was not promoted since
	lossy      bool              // lost what was not flushed since it was last live
}

// roundsAway is membership.Config.RoundsAway of every process. With 0 the schedules
// of seeds are those that they were before there was such a thing.
var roundsAway uint64

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
	if m.up || w.ended || w.away.Has(proto.NodeID(m.id)) {
		return
	}
	m.up, m.dark = true, false
	m.starts++
	w.touch(0, m.id)
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
		Lease:   w.o.Lease, Drift: w.o.Drift, TrustRefused: w.o.trusts(), BootstrapWait: w.o.FirstWait, Control: p.plane, Env: p.Process, Logger: p.log, RoundsAway: roundsAway,
		Progress: p.progress, ProvenDead: p.provenDead, OnView: p.sawView, Watch: p.watch, Probe: p.probe, Patience: w.o.Lease, Slow: w.o.Slow,
		OnSuspect: func(n proto.NodeID, why string) { w.note("suspects", m.id, uint64(n), 0); w.named(int(n), why) },
		OnOlder:   func(string) { m.acceptor.older = true; w.count("older acceptor files found") },
	})
	if err != nil {
		w.note("start fails", m.id, 0, 0)
		m.notStarted(err)
		// The sync of the first look at the file failed: again later.
		m.up = false
		p.Kill()
		w.sim.At(w.o.Lease, m.start)
		return
	}
	if m.acceptor.foreign {
		w.fail("acceptor", "node %d starts with a file of another node", m.id)
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
	m.dieInFlush, m.failFlush, m.failUntil, m.hangUntil, m.hangs = false, false, 0, 0, false
	w.crashing(m, power)
	m.downWithFlushes(power)
	w.tracer.crashed(m)
	w.note("crash", m.id, uint64(power+1), 0)
	w.touch(0, m.id)
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
	// A shadow's promotion may be decided after it went.
	if w.newest.Members().Has(proto.NodeID(m.id)) {
		m.lossy = true
	}
	m.dark = true
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
	m.w.touch(0, m.id)
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
