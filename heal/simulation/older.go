package simulation

import (
	"slices"

	"healkv/dataplane/proto"
	"healkv/pmem"
)

// older is what a node's pools were when they were copied.
type older struct {
	life  proto.Incarnation
	tails []uint64 // by shard
}

// copyPools keeps a copy of what the media hold now.
func (m *machine) copyPools() {
	m.old = older{}
	for _, d := range m.pools {
		d.copyOf = append(d.copyOf[:0], d.image...)
	}
	if l := m.p.life; m.up && l != nil {
		m.old.life = l.self.Incarnation
		for _, p := range l.pools {
			m.old.tails = append(m.old.tails, p.Store().Tail())
		}
	}
}

// bringBack puts the copy where the pools were. The machine is down. Every other
// time it has not been booted since, and the index is there that the last life
// left: it knows of more than the copy has.
func (m *machine) bringBack() {
	w := m.w
	booted := w.sim.Now()/1000%2 == 0
	for _, d := range m.pools {
		copy(d.image, d.copyOf)
		d.copyOf = d.copyOf[:0]
		d.want, d.hits = nil, nil
		if boot := d.heap.BootID; booted {
			d.reboot()
		} else {
			d.reboot()
			d.heap.BootID = boot
		}
	}
	if !booted {
		w.count("older pools under the newer index")
	}
	w.count("older pools brought back")
	w.note("older pool", m.id, 0, 0)
	w.blanks(m.id)
	w.guardOld = m.id
}

// mayGoOld: the node whose older pool is about to come back can be spared, and
// so can its pool.
func (w *world) mayGoOld(m *machine) bool {
	return !w.calm && w.running(m.id) && w.spare(set(m.id)) && w.spareBlank(m.id) && len(m.pools[0].copyOf) > 0 && w.fragile() == 0
}

// oldAll copies a node's pools. After A the node goes down, with everybody live,
// and is removed; when the others' pools remember that it had flushed more than
// the copy has, they go down too (B 0: their processes, else their machines,
// torn), and all come back, the node with its older copy (H39).
func (w *world) oldAll(e *Entry) bool {
	m := w.nodes[e.Node]
	if !w.o.Power || w.newest.Epoch == 0 || w.guardOld >= 0 {
		return false
	}
	after, power, until, copied := e.A*1000, e.B, w.sim.Now()+e.A*1000+20*int64(w.o.Lease), int64(0)
	var step func()
	step = func() {
		has := m.up && m.p.life != nil && m.p.life.self.Incarnation == m.old.life && len(m.pools[0].copyOf) > 0
		switch {
		case w.calm || w.sim.Now() > until:
			w.count("faults refused")
			return
		case !has || copied == 0:
			if w.whole(m.id) {
				m.copyPools()
				copied = w.sim.Now()
			}
		case w.sim.Now() >= copied+after && w.newest.Live == w.newest.Configured && w.newest.Live.Count() >= 3 && w.away == 0 && w.mayGoOld(m):
			m.crash(tornNothing)
			m.bringBack()
			w.away = w.away.With(proto.NodeID(m.id))
			w.othersRestart(m, power, w.sim.Now()+20*int64(w.o.Lease))
			return
		}
		w.sim.At(w.o.Lease/4, step)
	}
	step()
	w.note("fault "+e.Do, e.Node, uint64(e.B), uint64(e.A))
	return true
}

// othersRestart waits until the others have removed m and their pools remember
// it, and takes them down then.
func (w *world) othersRestart(m *machine, power, until int64) {
	if w.ended {
		return
	}
	back := func(leases int64) {
		w.away = w.away.Without(proto.NodeID(m.id))
		m.restart(1 + w.rng.Int64N(leases*int64(w.o.Lease)))
	}
	if w.calm || w.sim.Now() > until {
		w.count("older pools whose others were not restarted")
		back(1)
		return
	}
	if w.newest.Members().Has(proto.NodeID(m.id)) || w.fragile() != 0 || !w.remembered() {
		w.sim.At(w.o.Lease/4, func() { w.othersRestart(m, power, until) })
		return
	}
	w.took(doOldAll)
	w.count("older pools after all others restarted")
	for _, x := range w.nodes {
		how := -1
		if power != 0 {
			how = w.rng.IntN(tornKinds)
		}
		switch {
		case x == m:
		case x.up:
			x.crash(how)
			x.restart(1 + w.rng.Int64N(2*int64(w.o.Lease)))
		case how >= 0:
			x.powerLost(how)
		}
	}
	back(3)
}

// remembered reports whether all others have it on their media that the node
// whose older pool is back had flushed more: then it need not be told by those
// who saw it, and they may go.
func (w *world) remembered() bool {
	old := w.nodes[w.guardOld]
	return old.old.life != 0 && !slices.ContainsFunc(w.nodes, func(x *machine) bool { return x != old && !x.remembers(old) })
}

// remembers reports whether this node's media say of one shard at least that the
// life whose pools were copied flushed beyond the copy.
func (x *machine) remembers(old *machine) bool {
	for i, d := range x.pools {
		h := d.heap
		h.Watch, h.Index, h.Pool = nil, make([]byte, len(h.Index)), make([]byte, len(h.Pool))
		h.BootID[0]++
		copy(h.Pool, d.image[:pmem.SuperBytes])
		copy(h.Pool[pmem.DataOffset:], d.image[pmem.SuperBytes:])
		p, err := h.Open(d.identity())
		if err != nil {
			continue
		}
		if s := p.Super().Seen[old.id]; s.Incarnation == uint32(old.old.life) && s.Pos > old.old.tails[i] {
			return true
		}
	}
	return false
}
