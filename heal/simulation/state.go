package simulation

import (
	"errors"
	"slices"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/membership"
	"healkv/pmem"
)

// Ways in which an acceptor's file is not what it was, B of doOldVotes.
const (
	votesOlder   = iota // an older copy of it
	votesAnew           // the operator has made it anew
	votesForeign        // another node's, for A
)

// oldVotes copies the acceptor's file, and puts the copy in its place after a
// while, with the process down: a backup that was brought back (H32). Others
// must have heard of what is lost by then, else nobody can tell.
func (w *world) oldVotes(m *machine, e *Entry) {
	d := &m.acceptor
	d.copyOf = d.synced
	until := w.sim.Now() + e.A*1000 + 20*int64(w.o.Lease)
	var bring func()
	bring = func() {
		switch {
		case w.calm || w.ended || w.sim.Now() > until:
			w.count("faults refused")
			return
		case !w.whole(m.id) || !w.spare(set(m.id)) || e.B == votesOlder && d.synced == d.copyOf:
			w.sim.At(w.o.Lease/4, bring)
			return
		}
		m.crash(-1)
		switch e.B {
		case votesOlder:
			d.file, d.synced = d.copyOf, d.copyOf
		case votesAnew:
			if err := membership.FormatStorage(d, clusterName, proto.NodeID(m.id)); err != nil {
				panic(err)
			}
		case votesForeign:
			own := d.synced
			d.file, d.foreign = w.nodes[e.Other].acceptor.synced, true
			w.sim.At(time.Duration(e.A)*time.Microsecond, func() { d.file, d.synced, d.foreign = own, own, false })
		}
		w.took(doOldVotes)
		w.note("acceptor file changed", m.id, uint64(e.B), 0)
		m.restart(int64(w.o.Lease))
	}
	if e.B == votesOlder {
		w.sim.At(time.Duration(e.A)*time.Microsecond, bring)
		return
	}
	bring()
}

// notStarted is what the operator sees of a node that does not start.
func (m *machine) notStarted(err error) {
	switch is := errors.Is(err, membership.ErrForeign); {
	case is && m.acceptor.foreign:
		m.w.count("foreign acceptor files refused")
	case is || m.acceptor.foreign:
		m.w.fail("acceptor", "node %d, a foreign file %v: %v", m.id, m.acceptor.foreign, err)
	}
}

// misplace lets another node's pools lie where the machine's were, until the
// operator puts its own back. The machine is down.
func (w *world) misplace(m, other *machine, after int64) {
	m.foreign = other
	m.restart(1)
	w.sim.At(time.Duration(after), func() { m.foreign = nil })
}

// openForeign opens a copy of another node's pools, which must be refused.
func (p *process) openForeign(d *medium, other *machine) error {
	h := other.pools[d.shard].heap
	h.Watch, h.Index, h.Pool = nil, slices.Clone(h.Index), slices.Clone(h.Pool)
	_, err := h.Open(d.identity())
	if !errors.Is(err, pmem.ErrForeign) {
		p.w.fail("foreign pool", "node %d opens a pool of node %d: %v", p.m.id, other.id, err)
	}
	p.w.count("foreign pools refused")
	return err
}
