package simulation

import (
	"errors"
	"slices"
	"strings"
	"time"

	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// loseAll takes everybody down, and one live member for good: it comes back when
// the others have gone on without it. B: 0 the processes end, 1 all machines lose
// power, 2 some do; C: 1 the lost one keeps its pool.
func (w *world) loseAll(e *Entry) bool {
	lost := w.nodes[e.Node]
	if w.fragile() != 0 || w.guardOld >= 0 || w.away != 0 || w.newest.Cold || !w.running(e.Node) || w.newest.Live.Count() < 2 {
		return false
	}
	w.note("fault "+e.Do, e.Node, uint64(e.B), uint64(e.A))
	for _, m := range w.nodes {
		how := -1
		if w.o.Power && (e.B == 1 || e.B == 2 && w.rng.IntN(2) == 0) {
			how = w.rng.IntN(tornKinds)
		}
		switch {
		case m == lost:
			w.lost, w.away = set(m.id), w.away.With(proto.NodeID(m.id))
			m.crash(-1)
			if e.C == 0 {
				m.wipe()
			}
		case m.up:
			m.crash(how)
			m.restart(1 + w.rng.Int64N(e.A*1000))
		case how >= 0:
			m.powerLost(how)
		}
	}
	w.count("live members lost for good")
	return true
}

// rebootAll takes the power from machines that keep nothing without it.
func (w *world) rebootAll(e *Entry) bool {
	if w.o.Power || w.fragile() != 0 || w.away != 0 || w.newest.Epoch == 0 {
		return false
	}
	w.note("fault "+e.Do, e.Node, 0, uint64(e.A))
	for _, m := range w.nodes {
		m.lose(w.rng.IntN(tornKinds))
		m.restart(1 + w.rng.Int64N(e.A*1000))
	}
	return true
}

// wipe makes a machine's pools anew.
func (m *machine) wipe() {
	for _, d := range m.pools {
		d.format()
		d.want = nil
	}
	m.w.blanks(m.id)
	m.w.count("pools blank")
}

// allBlank: of those whom a cold start goes by nobody has a pool.
func (w *world) allBlank() bool {
	counts := w.newest.ColdSet().Nodes(nil)
	return len(counts) > 0 && !slices.ContainsFunc(counts, func(n proto.NodeID) bool { return !w.nodes[n].blank })
}

// orders has the operator give an order again and again, until it has worked or
// his patience ends.
func (w *world) orders(from int, patience int64) {
	if w.ended || w.calm || patience < 0 {
		return
	}
	w.order(from)
	pause := int64(w.o.Lease) / 4
	w.sim.At(time.Duration(pause), func() { w.orders(from+1, patience-pause) })
}

// order has the operator ask a node to start cold without who is lost. If nobody
// is he only asks whether it would; where there is no pool left he orders it all
// the same.
func (w *world) order(from int) {
	for i := range w.nodes {
		n := (from + i) % len(w.nodes)
		m := w.nodes[n]
		if !m.up || m.p.Paused() || m.p.life == nil {
			continue
		}
		p, l, v := m.p, m.p.life, m.p.members.Current()
		f := rejoin.Forced{Epoch: v.Epoch, Without: w.lost & v.ColdSet()}
		if w.lost == 0 {
			f.Without = v.ColdSet().Without(proto.NodeID(n))
			if f.Without.Count() > 1 && w.rng.IntN(2) == 0 {
				f.Without = set(int(f.Without.Nodes(nil)[0]))
			}
			f.Dry = !w.allBlank()
		}
		p.Go(func() { w.answer(p, &f, l.heal.Force(f)) })
		p.poke()
		return
	}
	w.count("orders for nobody")
}

// answer is what became of an order.
func (w *world) answer(p *process, f *rejoin.Forced, err error) {
	w.note("order answered", p.m.id, uint64(f.Epoch), uint64(f.Without))
	switch {
	case err == nil && f.Dry:
		w.count("orders that would be taken")
	case err == nil && w.allBlank():
		w.fail("order without a pool", "node %d takes the order to go on without %v, and nobody has a pool", p.m.id, f.Without)
	case err == nil:
		w.count("orders taken")
	case errors.Is(err, rejoin.ErrForced):
		why := reason(strings.TrimPrefix(err.Error(), rejoin.ErrForced.Error()+": "))
		why, _, _ = strings.Cut(why, ",")
		why, _, _ = strings.Cut(why, "{")
		w.count("orders refused: " + why)
		w.count("orders refused")
	default:
		w.count("orders not answered") // it is between two lives, or busy
	}
}

// found lets who was lost come back when the others have gone on without it. It
// also comes back where they never can: it was not the last live member as far
// as anybody knew, but a change that was under way when all went down can be
// settled afterwards and leave nobody else live. No order helps then, and the
// operator starts it with whatever pool it has.
func (w *world) found() {
	counts, back := w.newest.ColdSet(), "lost members that come back"
	switch {
	case w.lost == 0:
		return
	case counts != 0 && counts&^w.lost == 0:
		back = "lost members that nobody can go on without"
	case counts&w.lost != 0:
		return
	}
	for _, n := range w.lost.Nodes(nil) {
		w.count(back)
		w.away = w.away.Without(n)
		w.nodes[n].restart(1 + w.rng.Int64N(int64(2*w.o.Lease)))
	}
	w.lost = 0
}

// forced judges whom a cold view goes without, and reports whether it may lose
// anything that is not to be lost otherwise: what Loses told the operator.
func (w *world) forced(v *proto.View) (mayLose bool) {
	was := &w.views[v.Epoch-1]
	left := was.ColdSet() &^ v.Shadow
	if was.Epoch == 0 || left == 0 {
		return true
	}
	if left&^w.lost != 0 {
		w.fail("left out", "cold view %d goes without %v, lost are %v", v.Epoch, left, w.lost)
	}
	for _, n := range left.Nodes(nil) {
		if v.LiveUntil[n] != 0 {
			w.fail("left out", "cold view %d goes without node %d, and it may come back by range: live until %d", v.Epoch, n, v.LiveUntil[n])
		}
	}
	w.count("cold starts forced")
	if mayLose = strings.Contains(rejoin.Loses(w.o.Model, was, left), "may be lost"); !mayLose {
		w.count("forced cold starts that may lose nothing")
	}
	return mayLose
}

// idle: where a cold start is refused for good nobody serves.
func (w *world) idle() {
	for _, m := range w.nodes {
		if w.serves(m) {
			w.fail("serves without data", "node %d serves, and a cold start is refused for want of pools", m.id)
		}
	}
}
