package simulation

import (
	"strings"
	"time"

	"healkv/dataplane/proto"
)

// parts says of which seeds the data path between two nodes is cut for good.
func (o *Options) parts() bool { return !o.NoProbes && o.Nodes >= 3 && o.Seed%8 == 5 }

// partTwo cuts the data path between two nodes of a group that has healed, and
// leaves the control plane alone (H29). Exactly one of the two leaves, the
// others serve, and it comes back when the link is repaired.
func (w *world) partTwo() {
	if w.givenUp || !w.o.parts() {
		return
	}
	a := w.rng.IntN(w.o.Nodes)
	b := (a + 1 + w.rng.IntN(w.o.Nodes-1)) % w.o.Nodes
	w.net.Sever(a, b)
	if w.rng.IntN(2) == 0 {
		w.net.Sever(b, a)
	}
	w.apart = set(a) | set(b)
	w.note("data link stays cut", a, uint64(b), 0)
	before, begun := w.newest.Epoch, w.sim.Now()
	// Keys of both are written, so that some stay locked until one goes.
	for i := 0; w.newest.Live == w.newest.Configured; i++ {
		if since := time.Duration(w.sim.Now() - begun); since > 20*w.o.Lease {
			w.fail("bad link stays", "nodes %d and %d are apart for %v, and both are still members: %s", a, b, since, w.state())
		}
		w.ask(&Entry{Do: doPut, Node: pick(w.rng, a, b, w.rng.IntN(w.o.Nodes)), Other: i, A: int64(w.rng.IntN(w.o.Keys)), B: 16, C: 4 * w.o.Lease.Microseconds()}, 20)
		w.advance(w.o.Lease / 50)
	}
	took := time.Duration(w.sim.Now() - begun)
	w.settle()
	for range 40 {
		w.ask(&Entry{Do: doPut, Node: w.rng.IntN(w.o.Nodes), A: int64(w.rng.IntN(w.o.Keys)), B: 16, C: 20 * w.o.Lease.Microseconds()}, 0)
		w.advance(w.o.Lease / 50)
	}
	w.settle()
	for e := before + 1; e <= w.newest.Epoch; e++ {
		if v := &w.views[e]; v.Epoch == e && v.Members()|w.apart != v.Configured|w.apart {
			w.fail("an innocent one left", "nodes %d and %d are apart, and view %d has %v", a, b, e, v.Members())
		}
	}
	w.count("members removed over a cut data link")
	w.Result.Marks.Add("leases until one of two left, in hundredths", int(100*took/w.o.Lease))
	w.net.Mend(a, b)
	w.net.Mend(b, a)
	w.apart = 0
	w.netSoon()
	w.settle()
	w.touch(0, a, b)
	w.count("came back over a repaired data link")
}

// wanted reports whether the newest view has everybody in it who can be.
func (w *world) wanted() bool {
	out := w.newest.Configured &^ w.newest.Live
	return out == 0 && w.apart == 0 || w.apart != 0 && out&^w.apart == 0 && out.Count() == 1
}

// excused: the node is out over a link that stays cut.
func (w *world) excused(m *machine) bool {
	return w.apart.Has(proto.NodeID(m.id)) && !w.newest.Members().Has(proto.NodeID(m.id)) && m.up && m.p.life != nil
}

// touch notes that something is done to nodes for so long that may make their
// streams stand still.
func (w *world) touch(d time.Duration, nodes ...int) {
	for _, n := range nodes {
		w.touched[n] = max(w.touched[n], w.sim.Now()+int64(d))
	}
}

// named: complaints name a node. Something must have been wrong with it, or
// with one of its links, lately (H29).
func (w *world) named(n int, why string) {
	if why == "its connections are refused" {
		w.count("members dead by refused connections")
	}
	if strings.HasPrefix(why, "slow") {
		w.count("members named as slow")
		if since := w.sim.Now() - max(w.touched[n], w.nodes[n].slowUntil); since > 12*int64(w.o.Lease) && !w.apart.Has(proto.NodeID(n)) {
			w.fail("named as slow without a fault", "node %d, with which nothing was wrong for %v: %s", n, time.Duration(since), why)
		}
	}
	if !strings.HasPrefix(why, "bad links") {
		return
	}
	w.count("members named by complaints")
	if !w.nodes[n].up {
		return // it is down, and no majority has answered since that could take it out
	}
	if since := w.sim.Now() - w.touched[n]; since > 8*int64(w.o.Lease) && !w.apart.Has(proto.NodeID(n)) {
		w.fail("named without a fault", "node %d, with which nothing was wrong for %v: %s", n, time.Duration(since), why)
	}
}
