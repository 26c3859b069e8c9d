package simulation

import (
	"fmt"
	"slices"
	"time"

	"healkv/dataplane/proto"
	"healkv/pmem"
)

// running reports whether a node is a live member of the newest view, in that
// life, and runs.
func (w *world) running(n int) bool {
	m := w.nodes[n]
	return m.up && m.p.life != nil && w.newest.Live.Has(proto.NodeID(n)) && w.newest.Has(m.p.life.self)
}

// brokenFor is how long after a look at damaged stream bytes a life may yet end
// over them: it looks a few times, and may stand still in between.
const brokenFor = int64(200 * time.Millisecond)

// whole: running, and not about to begin another life over a stream that does
// not verify.
func (w *world) whole(n int) bool {
	if !w.running(n) || w.net.Damaging(n) {
		return false
	}
	for _, d := range w.nodes[n].p.life.drivers {
		if d.faults > 0 && w.sim.Now()-d.faultAt < brokenFor {
			return false
		}
	}
	return true
}

// spare reports whether these may go down now: in some situations the cluster
// is known, and allowed, to lose data or to refuse to go on (a cold start on a
// blank pool), and then somebody must stay.
func (w *world) spare(gone proto.NodeSet) bool {
	if w.newest.Epoch == 0 {
		return false
	}
	if w.guardOld >= 0 && !w.remembered() {
		return false
	}
	fragile := w.fragile()
	if fragile == 0 && !w.o.Keep {
		return true
	}
	for i := range w.nodes {
		if !gone.Has(proto.NodeID(i)) && !fragile.Has(proto.NodeID(i)) && w.stays(i) {
			return true
		}
	}
	return false
}

func set(n int) proto.NodeSet { return proto.NodeSet(0).With(proto.NodeID(n)) }

// blanks guards the cluster while a live member has lost its pool.
func (w *world) blanks(n int) {
	w.nodes[n].blank, w.nodes[n].blankSince = true, w.nodes[n].lastLife
	if w.newest.Live.Has(proto.NodeID(n)) {
		w.guarded = w.guarded.With(proto.NodeID(n))
	}
}

// powerOf is how a machine that loses power leaves its media.
func (m *machine) lose(how int) {
	m.crash(how)
	if !m.w.o.Power {
		m.w.blanks(m.id)
		m.w.count("pools blank")
	}
}

// took counts a fault where it takes effect. What waits for its moment (the
// next flush, the next message, the next step of a recovery) may never come to
// it, and then was none.
func (w *world) took(do string) { w.tookN(do, 1) }

func (w *world) tookN(do string, n int) {
	w.Result.Faults += n
	w.Result.Marks.Add("fault: "+do, n)
}

// late are the faults that tryFault only gets ready; who carries them out
// counts them.
var late = []string{doOldPool, doOldAll, doInFlush, doHang, doSlow, doSlowDisk, doFailDisk, doAcceptor, doOldVotes, doCorrupt, doTruncate, doGarbage, doAtStep, doForget}

// fault does something bad, to another node if that one cannot have it now.
func (w *world) fault(e Entry) {
	for range w.nodes {
		if w.tryFault(e) {
			w.touch(time.Duration(e.A)*time.Microsecond, e.Node, e.Other)
			if slices.Contains(late, e.Do) {
				w.count("faults made ready")
			} else {
				w.took(e.Do)
			}
			return
		}
		e.Node = (e.Node + 1) % len(w.nodes)
		if e.Node == e.Other {
			e.Other = (e.Other + 1) % len(w.nodes)
		}
	}
	w.count("faults refused")
}

// tryFault is false if the fault makes no sense now.
func (w *world) tryFault(e Entry) bool {
	m := w.nodes[e.Node]
	us := func(x int64) time.Duration { return time.Duration(x) * time.Microsecond }
	done := func() { w.note("fault "+e.Do, e.Node, uint64(e.Other), uint64(e.A)) }
	switch e.Do {
	case doCrash:
		if !m.up || !w.spare(set(e.Node)) {
			return false
		}
		done()
		m.crash(-1)
		m.restart(e.A * 1000)
	case doPower:
		if !m.up || !w.spare(set(e.Node)) || !w.o.Power && !w.spareBlank(e.Node) {
			return false
		}
		done()
		m.lose(int(e.B) % tornKinds)
		m.restart(e.A * 1000)
	case doPowerAll, doCrashAll:
		up := slices.ContainsFunc(w.nodes, func(m *machine) bool { return m.up })
		if !up || w.newest.Epoch == 0 || w.fragile() != 0 || w.guardOld >= 0 && !w.remembered() || e.Do == doPowerAll && !w.o.Power {
			return false
		}
		done()
		for _, x := range w.nodes {
			how := -1
			if e.Do == doPowerAll || w.o.Power && w.rng.IntN(4) == 0 {
				how = w.rng.IntN(tornKinds)
			}
			if x.up {
				x.crash(how)
				x.restart(1 + w.rng.Int64N(e.A*1000))
			} else if how >= 0 {
				x.powerLost(how)
			}
		}
	case doLostAll:
		return w.loseAll(&e)
	case doOldAll:
		return w.oldAll(&e)
	case doRebootAll:
		return w.rebootAll(&e)
	case doForce:
		done()
		w.orders(e.Node, e.A*1000)
	case doDiskGone:
		if !m.up || !w.spare(set(e.Node)) || !w.spareBlank(e.Node) {
			return false
		}
		done()
		m.crash(tornNothing)
		m.wipe()
		m.restart(e.A * 1000)
	case doOldPool:
		if !w.o.Power || w.newest.Epoch == 0 {
			return false
		}
		m.copyPools()
		w.sim.At(us(e.A), func() { w.oldPool(m) })
		done()
	case doInFlush:
		if !w.o.Power || !m.up || m.dieInFlush {
			return false
		}
		if !w.spare(set(e.Node)) {
			return false
		}
		done()
		m.dieInFlush, m.dieByPower, m.dieAfter, m.back = true, -1, w.sim.Now(), w.sim.Now()+e.A*1000
		if e.B != 0 {
			m.dieByPower = w.rng.IntN(tornKinds)
		}
	case doPause:
		if !m.up || m.p.Paused() {
			return false
		}
		done()
		m.pause(us(e.A))
	case doHang:
		if !m.up {
			return false
		}
		done()
		m.hangUntil, m.hangs = w.sim.Now()+e.A*1000, true
	case doSlow:
		if !m.up {
			return false
		}
		done()
		m.slowTurns, m.slows = int(e.B), true
		m.slowUntil = max(m.slowUntil, w.sim.Now()+e.A*1000)
		w.sim.At(us(e.A), func() { m.slowTurns = 0 })
	case doSlowDisk:
		if !m.up {
			return false
		}
		done()
		m.slowFlush, m.slowsFlush = e.B*1000, true
		m.slowUntil = max(m.slowUntil, w.sim.Now()+e.A*1000)
		w.sim.At(us(e.A), func() { m.slowFlush = 0 })
	case doFailDisk:
		if !w.o.Power || !m.up || !w.spare(set(e.Node)) {
			return false
		}
		done()
		switch l := m.p.life; {
		case e.At%3 == 0 && l != nil && l.entered:
			m.w.took(doFailDisk)
			m.w.count("faults on pages")
			d := l.drivers[int(e.At/3)%len(l.drivers)]
			d.w.Fault(pmem.ErrFault)
		default:
			m.failFlush, m.failFor = true, 0
			if e.At%3 == 1 {
				m.failFor = 2 * w.o.Lease
			}
		}
	case doAcceptor:
		if !m.up {
			return false
		}
		done()
		if e.B == 0 {
			m.acceptor.fails = true
			w.sim.At(us(e.A), func() { m.acceptor.fails = false })
			return true
		}
		m.acceptor.slow, m.acceptor.slows = us(e.B), true
		w.sim.At(us(e.A), func() { m.acceptor.slow = 0 })
	case doOldVotes:
		if !m.up || w.newest.Epoch == 0 {
			return false
		}
		done()
		w.oldVotes(m, &e)
	case doMissing:
		if m.starts > 0 || w.newest.Epoch != 0 {
			return false
		}
		done()
		w.away = w.away.With(proto.NodeID(m.id))
		w.sim.At(us(e.A), func() {
			w.away = w.away.Without(proto.NodeID(m.id))
			m.start()
		})
	case doForeign:
		if !m.up || !w.spare(set(e.Node)) {
			return false
		}
		done()
		m.crash(-1)
		w.misplace(m, w.nodes[e.Other], e.A*1000)
	case doCut, doCutBoth:
		if !w.joined(e.Node, e.Other, e.B) && !(e.Do == doCutBoth && w.joined(e.Other, e.Node, e.B)) {
			return false
		}
		done()
		w.cut(e.Node, e.Other, e.B, e.A)
		if e.Do == doCutBoth {
			w.cut(e.Other, e.Node, e.B, e.A)
		}
	case doIsolate:
		parts := false
		for i := range w.nodes {
			for j := range w.nodes {
				parts = parts || e.C>>i&1 != e.C>>j&1 && w.joined(i, j, e.B)
			}
		}
		if !parts {
			return false
		}
		done()
		for i := range w.nodes {
			for j := range w.nodes {
				if e.C>>i&1 != e.C>>j&1 {
					w.cut(i, j, e.B, e.A)
				}
			}
		}
	case doDelay:
		if !m.up || !w.nodes[e.Other].up {
			return false
		}
		done()
		w.net.SetDelay(e.Node, e.Other, 0, uint64(w.o.DelayMax)+uint64(e.B))
		w.plane.slow[e.Node][e.Other] = us(e.B)
		w.slowed[e.Node][e.Other]++
		w.sim.At(us(e.A), func() {
			if w.slowed[e.Node][e.Other]--; w.slowed[e.Node][e.Other] == 0 {
				w.net.SetDelay(e.Node, e.Other, 0, uint64(w.o.DelayMax))
				w.plane.slow[e.Node][e.Other] = 0
			}
		})
	case doCorrupt, doTruncate:
		if (w.fragile() != 0 || w.guardOld >= 0 || w.o.Keep) && !w.spare(set(e.Other)) {
			return false // its life may end over it
		}
		done()
		if e.Do == doTruncate {
			w.net.Truncate(e.Node, e.Other)
			break
		}
		w.net.Corrupt(e.Node, e.Other)
	case doGarbage:
		done()
		w.plane.garbage[e.Node][e.Other]++
	case doDrift:
		if !m.up {
			return false
		}
		done()
		w.drift(m, 0, int(e.B))
		w.sim.At(us(e.A), func() { w.drift(m, 0, 0) })
	case doJump:
		if !m.up {
			return false
		}
		done()
		w.drift(m, us(e.A), m.ppm)
	case doLeave:
		if !m.up || m.p.closing || m.p.Paused() || !w.spare(set(e.Node)) {
			return false
		}
		done()
		m.leave(us(e.A))
	case doForget:
		done()
		w.forget(w.sim.Now() + e.A*1000)
	case doDrain:
		if !m.mayDrain() {
			return false
		}
		done()
		m.drain(us(e.A))
	case doDamage:
		return w.damage(&e)
	case doAtStep:
		done()
		w.armed = append(w.armed, e)
	default:
		panic(fmt.Sprintf("simulation: unknown fault %q", e.Do))
	}
	return true
}

// joined reports whether a cut of what goes from a to b now takes anything
// away: both run, and it is not cut already.
func (w *world) joined(a, b int, what int64) bool {
	return w.nodes[a].up && w.nodes[b].up && (what&1 != 0 && !w.cutData[a][b] || what&2 != 0 && !w.plane.cut[a][b])
}

// spareBlank: a node may lose its pool only while others that have everything
// run and are no blank ones themselves.
func (w *world) spareBlank(n int) bool {
	k, fragile := 0, w.fragile()
	for i := range w.nodes {
		if i != n && w.whole(i) && !fragile.Has(proto.NodeID(i)) {
			k++
		}
	}
	return k >= 1 && !w.newest.Cold
}

// oldPool brings an older copy of the pools back (H19).
func (w *world) oldPool(m *machine) {
	if !w.mayGoOld(m) {
		w.count("faults refused")
		return
	}
	for i := range w.nodes { // somebody must be there who saw it flush
		if i != m.id && !w.running(i) {
			w.count("faults refused")
			return
		}
	}
	m.crash(tornNothing)
	m.bringBack()
	w.took(doOldPool)
	m.restart(1)
}

// drift sets a node's clock.
func (w *world) drift(m *machine, jump time.Duration, ppm int) {
	m.ppm = ppm
	if m.up {
		m.p.SetClock(jump, ppm)
	}
}

// cut holds back what goes from one node to another for a while.
func (w *world) cut(a, b int, what, us int64) {
	if a == b {
		return
	}
	w.touch(time.Duration(us)*time.Microsecond, a, b)
	if what&1 != 0 {
		w.net.Cut(a, b)
		w.cutData[a][b] = true
	}
	if what&2 != 0 {
		w.plane.cut[a][b] = true
	}
	w.sim.At(time.Duration(us)*time.Microsecond, func() {
		if what&1 != 0 {
			w.net.Uncut(a, b)
			w.cutData[a][b] = false
		}
		if what&2 != 0 {
			w.plane.cut[a][b] = false
		}
		w.release()
		w.netSoon()
	})
	if what&2 != 0 && us*1000 > int64(w.o.Lease)*2 { // a long one ends the connection
		w.sim.At(2*w.o.Lease, func() {
			m := w.nodes[a]
			if m.p == nil || !w.plane.cut[a][b] {
				return
			}
			if c := m.p.plane.conns[b]; c != nil && !m.p.Paused() {
				c.close(2)
			}
		})
	}
}

// leave is Node.Close: out of the view in order, then the end.
func (m *machine) leave(back time.Duration) {
	p, w := m.p, m.w
	p.closing = true
	p.Go(func() {
		l := p.life
		if l != nil {
			l.gate.closed = true
			p.quiesce(l)
		}
		p.leave(l)
		p.cancel()
	})
	w.sim.At(back, m.start)
}

// event hears of what a life does: here somebody may die in the middle of a
// recovery.
func (w *world) event(l *life, name string, e proto.Epoch, detail string) {
	p := l.p
	w.note("event "+name, p.m.id, uint64(e), 0)
	w.Result.Marks.Add("event: "+name, 1)
	w.tracer.event(l, name)
	switch name {
	case "transfer_begun":
		if _, err := fmt.Sscanf(detail, "buddy %d", &l.buddy); err == nil && l.served {
			w.count("transfers begun again")
		}
		l.served = true
	case "promoted":
		if w.guardOld == p.m.id {
			w.guardOld = -1
		}
		w.guarded = w.guarded.Without(proto.NodeID(p.m.id))
		p.m.blank, p.m.doubtful, p.m.short = false, false, false
		w.count("promoted: " + detail)
		w.digests(l)
	case "view_installed":
		v := l.heal.Installed()
		if l.installed != 0 && e > l.installed+1 {
			w.count("views skipped")
		}
		l.installed = e
		if v.Live.Has(l.self.Node) {
			p.m.lossy = false
		}
		w.sim.At(0, func() { w.checkNode(p.m) })
	case "join_asked":
		if detail != "" {
			w.count("asked for a full copy: " + reason(detail))
		}
	case "waiting":
		l.waits = true
		w.count("waits: " + reason(detail))
	}
	step := slices.Index(steps, name)
	for i, a := range w.armed {
		if int(a.B) != step || w.calm {
			continue
		}
		victim := w.nodes[a.Node]
		switch a.C {
		case 0:
			victim = p.m
		case 1:
			if l.buddy >= 0 {
				victim = w.nodes[l.buddy]
			}
		}
		w.armed = append(w.armed[:i:i], w.armed[i+1:]...)
		w.sim.At(time.Duration(w.rng.Int64N(200_000)), func() {
			if !victim.up || !w.spare(set(victim.id)) || w.calm {
				w.count("faults refused")
				return
			}
			w.took(doAtStep)
			if victim == p.m {
				w.count("deaths at " + name + ": itself")
			} else {
				w.count("deaths at " + name + ": another")
			}
			if victim.id == l.buddy && victim != p.m {
				w.count("deaths of a buddy")
			}
			how := -1
			if a.Other == 1 && w.o.Power {
				how = w.rng.IntN(tornKinds)
			}
			w.note("dies at step", victim.id, uint64(step), uint64(how+1))
			victim.crash(how)
			victim.restart(a.A * 1000)
		})
		return
	}
}
