package simulation

import (
	"fmt"
	"slices"
	"time"

	"healkv/dataplane/proto"
)

// calmMax is how long everything may take to heal. It is much for these leases,
// but the control plane's timeouts are those of a running node, seconds.
const calmMax = 9 * time.Second

// calmDown ends all faults and lets everything end.
func (w *world) calmDown() {
	w.calm = true
	w.note("calm", 0, 0, 0)
	w.armed = nil
	for _, m := range w.nodes {
		w.touch(0, m.id)
		m.dieInFlush, m.failFlush, m.failUntil, m.acceptor.fails, m.acceptor.slow = false, false, 0, false, 0
		m.slowTurns, m.slowFlush, m.hangUntil = 0, 0, 0
		m.hangs, m.slows, m.slowsFlush, m.acceptor.slows = false, false, false, false
		w.drift(m, 0, 0)
	}
	w.plane = planes{}
	w.cutData = [proto.NodesMax][proto.NodesMax]bool{}
	w.net.Calm()
	st := w.net.Stats()
	w.tookN(doCorrupt, int(st.Corrupted))
	w.tookN(doTruncate, int(st.Truncated))
	for i := range w.nodes {
		for j := range w.nodes {
			w.net.SetDelay(i, j, 0, uint64(w.o.DelayMax))
		}
	}
	for _, m := range w.nodes {
		if m.up && m.p.Paused() {
			m.resume(m.p)
		}
		m.wake()
	}
	w.release()
	w.netSoon()
	w.settle()
	w.serveOn()
	w.partTwo()
}

// settle lets time pass until all is done.
func (w *world) settle() {
	begun, first := w.sim.Now(), w.sim.Now()
	for round := 0; ; round++ {
		w.advance(2 * time.Millisecond)
		if w.quiet() {
			break
		}
		since := time.Duration(w.sim.Now() - begun)
		if round%64 == 63 {
			if since > 100*w.o.Lease {
				w.loseShort()
			}
			if w.lost != 0 || w.allBlank() {
				w.order(round / 64)
			}
			w.operator()
		}
		if since > 100*w.o.Lease && w.refuses() {
			w.count("cold starts refused for a blank pool")
			w.givenUp, w.Result.Waiting = true, true
			break
		}
		if since > 100*w.o.Lease && w.refusesHurt() {
			w.count("cold starts refused for damaged pools")
			w.givenUp, w.Result.Waiting = true, true
			break
		}
		if since > calmMax/2 && w.heldByDamage() {
			if w.acceptLoss() {
				begun = w.sim.Now()
				continue
			}
			w.givenUp, w.heldUp, w.Result.Waiting = true, true, true
			break
		}
		if since > calmMax {
			w.fail("no end", "calm for %v, and it does not end (I10): %s", since, w.unquiet())
		}
	}
	for _, m := range w.nodes {
		if m.acceptor.older {
			m.acceptor.older = false
			w.count("acceptors that vote again after an older file")
		}
	}
	w.note("quiet", 0, uint64(w.sim.Now()-first), 0)
}

// opsLeast is how many operations a run of a drawn script has at least.
const opsLeast = 2000

// serveOn shows that what has healed serves: some of the script's operations
// once more, so many that a run with long outages has done enough too. Scripts
// made short by hand or by Shrink have none to spare.
func (w *world) serveOn() {
	ops := slices.DeleteFunc(slices.Clone(w.s.Entries), func(e Entry) bool { return !e.op() })
	if w.givenUp || len(ops) < opsLeast {
		return
	}
	enough := max(opsLeast+100, w.Result.Ops+100)
	for i := 0; w.Result.Ops < enough; i++ {
		if i == 4*len(ops) {
			w.fail("no end", "healed, and of %d operations only %d were taken: %s", i, w.Result.Ops, w.state())
		}
		w.ask(&ops[i%len(ops)], 0)
		w.count("operations after everything healed")
		if i%4 == 3 {
			w.advance(20 * time.Microsecond)
		}
	}
	w.settle()
}

// refuses: everybody who was live is down and the pool of one of them is gone:
// the nodes say so and wait for people. It comes to that in spite of spare when
// a promotion is decided and nobody knows it yet.
func (w *world) refuses() bool {
	if w.lost != 0 || !slices.ContainsFunc(w.nodes, func(m *machine) bool { return m.blank && w.newest.Live.Has(proto.NodeID(m.id)) }) {
		return false
	}
	for _, m := range w.nodes {
		if w.newest.Live.Has(proto.NodeID(m.id)) && (m.p == nil || m.p.life == nil || !m.p.life.waits) {
			return false
		}
	}
	return true
}

// operator does what the documents leave to people: a node that is down is
// started again.
func (w *world) operator() {
	for _, m := range w.nodes {
		if !m.up {
			m.start()
		}
	}
}

// quiet reports whether all is done (I10).
func (w *world) quiet() bool { return w.unquiet() == "" }

func (w *world) unquiet() string {
	if !w.wanted() {
		return fmt.Sprintf("live are %v", w.newest.Live)
	}
	for _, m := range w.nodes {
		if w.excused(m) {
			continue
		}
		if !m.up || m.p.life == nil || !m.p.life.entered {
			return fmt.Sprintf("node %d is not there", m.id)
		}
		l := m.p.life
		if l.heal.Installed().Epoch != w.newest.Epoch {
			return fmt.Sprintf("node %d has not installed view %d", m.id, w.newest.Epoch)
		}
		if !l.core.Serving() {
			return fmt.Sprintf("node %d does not serve", m.id)
		}
		for _, c := range m.p.clients {
			if len(c.out) > 0 {
				return fmt.Sprintf("node %d has operations under way", m.id)
			}
		}
		for _, d := range l.drivers {
			r, st := d.w.Replica(), d.w.Pool().Store()
			if r.Outstanding() > 0 || r.ForwardPending() > 0 || r.StablePos() != st.Tail() {
				return fmt.Sprintf("node %d, shard %d: outstanding %d, to roll forward %d, stable %d, tail %d", m.id, d.shard, r.Outstanding(), r.ForwardPending(), r.StablePos(), st.Tail())
			}
		}
	}
	if s := w.unmended(); s != "" {
		return s
	}
	for _, m := range w.nodes { // asked last, as it takes the longest
		if m.acceptor.older && (m.p.members.Status().Acceptor != "" || !m.p.members.Status().Voting) {
			return fmt.Sprintf("node %d, whose acceptor's file was an older copy, does not vote", m.id)
		}
	}
	return ""
}
