package simulation

import (
	"time"

	"healkv/dataplane"
	"healkv/dataplane/flow"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal/membership/lease"
	"healkv/rdma"
	"healkv/rdma/sim"
)

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
	faults    uint64 // looks at stream bytes that failed, and when the last one was
	faultAt   int64
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
	if n := d.w.Counters.StreamFaults; n != d.faults {
		d.faults, d.faultAt = n, w.sim.Now()
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
	p      *process
	closed bool // no client is let in any more (healkv.gate)
}

func (l *leaseOf) Valid() bool {
	if l.p.w.inClient {
		l.p.w.standStill(l.p)
		l.p.w.inClient = false // only the answer comes later, and bursts at other shards
	}
	return !l.closed && l.Timed.Valid()
}

func (l *leaseOf) Generation() uint64 {
	if l.p.w.inClient {
		l.p.w.standStill(l.p)
	}
	return l.Timed.Generation()
}

var _ dataplane.Lease = (*leaseOf)(nil)
var _ flow.Env = (*process)(nil)

func (w *world) addCounters(d *driver) {
	if r := d.w.Replica(); r != nil {
		c, o := &w.counters, &r.Counters
		add(c, o)
		n := &d.w.Counters
		k := &w.Result.Marks
		k.Add("turns with a full ring", int(n.RingFullTurns))
		k.Add("operations refused for want of room", int(n.NoRoom))
		k.Add("segments cleaned", int(n.CleanedSegments))
		k.Add("tombstones dropped", int(n.TombstonesDropped))
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
