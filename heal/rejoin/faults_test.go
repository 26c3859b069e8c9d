package rejoin_test

import "healkv/dataplane/proto"

// liveRunning counts live members of the register's view that run and hold a
// lease, without one node.
func (w *world) liveRunning(without proto.NodeSet) (k int) {
	for _, x := range (w.reg.Live &^ without).Nodes(nil) {
		if n := w.running(w.reg.Member(x)); n != nil && n.leased && !w.net.Paused(int(x)) {
			k++
		}
	}
	return k
}

// fault does something bad, mostly to n.
func (w *world) fault(n *node) {
	if w.rng.IntN(3) == 0 { // rather to somebody in the middle of a recovery
		for _, x := range w.nodes {
			if x.up && x.tr != nil {
				n = x
				switch w.rng.IntN(3) {
				case 0:
					n = w.nodes[x.tr.buddy.Node]
				case 1:
					n = w.nodes[w.rng.IntN(len(w.nodes))]
				}
				break
			}
		}
	}
	if !n.up {
		return
	}
	other := w.nodes[w.rng.IntN(len(w.nodes))]
	kind := w.rng.IntN(20)
	if w.o.losing && w.rng.IntN(3) == 0 {
		kind = 9
	}
	w.event(evFault, n.id, uint64(kind), uint64(other.id))
	switch {
	case kind < 3 && other != n && other.up && len(w.nodes) > 3:
		if !w.o.cold && w.liveRunning(proto.NodeSet(0).With(n.id).With(other.id)) == 0 {
			return
		}
		w.count("two died at once")
		n.crash(w.o.power && w.rng.IntN(2) == 0)
		other.crash(w.o.power && w.rng.IntN(2) == 0)
	case kind < 9:
		if !w.o.cold && w.liveRunning(proto.NodeSet(0).With(n.id)) == 0 {
			return
		}
		n.crash(w.o.power && w.rng.IntN(2) == 0)
	case kind == 9:
		if !w.o.cold {
			return
		}
		w.count("everybody died")
		for _, x := range w.nodes {
			if x.up {
				x.crash(w.o.power && w.rng.IntN(3) != 0)
			}
		}
		w.lose()
	case kind < 13:
		if w.reg.Has(n.self) && w.liveRunning(proto.NodeSet(0).With(n.id)) > 0 {
			w.tell(n)
		}
	case kind < 15:
		w.count("pauses")
		w.net.Pause(int(n.id))
	case kind < 18:
		if other == n {
			return
		}
		w.count("links cut")
		w.cut[n.id][other.id] = true
		w.net.Cut(int(n.id), int(other.id))
	default:
		if !w.o.damage || other == n || !other.up {
			return
		}
		w.damaged++
		if w.rng.IntN(2) == 0 {
			w.count("deliveries damaged")
			w.net.Corrupt(int(other.id), int(n.id))
		} else {
			w.count("deliveries cut short")
			w.net.Truncate(int(other.id), int(n.id))
		}
	}
}

// tell takes a node's lease away, so that it may be removed; it goes on running.
func (w *world) tell(n *node) {
	switch {
	case w.reg.Live.Has(n.id):
		w.count("leases lost")
		n.leased = false
		n.leaseGen++
		w.told = w.told.With(n.id)
	case w.reg.Shadow.Has(n.id):
		w.drop = w.drop.With(n.id)
	}
}

// mend ends a pause or a cut, or gives a lease back.
func (w *world) mend() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	switch w.rng.IntN(3) {
	case 0:
		w.net.Resume(int(n.id))
	case 1:
		for i := range w.nodes {
			w.cut[i][n.id] = false
			w.net.Mend(i, int(n.id))
		}
	default:
		w.regain(n)
	}
}

func (w *world) regain(n *node) {
	if w.told.Has(n.id) && n.up && w.reg.Has(n.self) && n.faulty == 0 {
		w.told = w.told.Without(n.id)
		n.leased = true
		n.leaseGen++
		w.count("leases regained")
	}
}

// remove decides a view without members that are gone, as long as a live one
// that runs stays.
func (w *world) remove() {
	bad := proto.NodeSet(0)
	for _, x := range w.reg.Members().Nodes(nil) {
		n := w.running(w.reg.Member(x))
		switch {
		case n == nil, w.told.Has(x) && !n.leased:
			bad = bad.With(x)
		case w.drop.Has(x) && w.reg.Shadow.Has(x):
			bad = bad.With(x)
			w.count("running shadows dropped")
		case w.net.Paused(int(x)) && w.liveRunning(proto.NodeSet(0).With(x)) > 0:
			w.tell(n)
		}
	}
	if !w.calm && w.rng.IntN(2) == 0 { // not all at once
		for _, x := range bad.Nodes(nil) {
			if w.rng.IntN(2) == 0 {
				bad = bad.Without(x)
			}
		}
	}
	if bad == 0 || w.liveRunning(bad) == 0 {
		return
	}
	if w.update(w.reg.Epoch, func(v proto.View) proto.View { return v.Next(v.Live&^bad, v.Shadow&^bad) }) {
		w.count("removals")
	}
	w.told, w.drop = w.told&^bad, w.drop&^bad
}

// calmDown ends all faults and lets everything end.
func (w *world) calmDown() {
	w.calm = true
	w.net.Calm()
	clear(w.cut[:])
	for round := 0; ; round++ {
		w.step++
		w.calmRound(round)
		if w.quiet() {
			return
		}
		if round > 3000 {
			w.fail("calm for %d rounds, and it does not end", round)
		}
	}
}

func (w *world) calmRound(round int) {
	w.drop = 0
	for _, n := range w.nodes {
		switch {
		case !n.up && !w.lost.Has(n.id):
			n.begin()
		case !n.up:
		case n.faulty != 0 && round > 40 && w.reg.Live == 0:
			w.count("restarts by hand in a cold start")
			n.crash(false)
		case n.faulty != 0 && round > 40 && w.reg.Has(n.self):
			// Damage stays in the reader's copy of the ring: it must go.
			if w.liveRunning(proto.NodeSet(0).With(n.id)) > 0 {
				w.tell(n)
			} else { // the last live one: those it cannot hear go
				for _, x := range n.faulty.Nodes(nil) {
					if w.nodes[x].up && w.reg.Has(w.nodes[x].self) {
						w.tell(w.nodes[x])
					}
				}
			}
		default:
			w.regain(n)
		}
	}
	if w.rng.IntN(4) == 0 {
		w.remove()
	}
	if round > 20 {
		w.order(w.nodes[w.rng.IntN(len(w.nodes))])
	}
	for _, n := range w.nodes {
		if !n.up {
			continue
		}
		n.look(true)
		if n.up && !n.served {
			n.drive()
		}
		if n.up {
			n.turn()
		}
	}
	for range 1 + w.rng.IntN(3) {
		w.net.Tick()
	}
	w.endDirect()
}

// quiet reports whether all is done (I10).
func (w *world) quiet() bool {
	if w.reg.Live != w.reg.Configured || len(w.direct) > 0 {
		return false
	}
	for _, n := range w.nodes {
		if !n.up || !n.served || n.installed.Epoch != w.reg.Epoch || n.held > 0 || len(n.queue) > 0 || n.rep.Outstanding() > 0 ||
			n.rep.ForwardPending() > 0 || n.rep.StablePos() != n.d.st.Tail() {
			return false
		}
		if k, _ := n.d.lockedCount(); k > 0 {
			return false
		}
	}
	return true
}
