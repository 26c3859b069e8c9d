package rejoin_test

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem/record"
)

// served is a range a buddy keeps readable.
type served struct {
	to  proto.Member
	pin uint64
}

// stretch is a run of neighbouring records in the buddy's arena.
type stretch struct {
	pos    uint64
	off    int64
	n      int
	inc    uint32
	locked bool
}

// transfer is one fetch of a buddy's range, done in steps.
type transfer struct {
	buddy   proto.Member
	kept    *served
	at, end uint64 // what is not listed yet
	full    bool
	runs    []stretch
	listed  bool // through the tail as it stood in one moment
	failed  bool
}

// update changes the register if it still has epoch e.
func (w *world) update(e proto.Epoch, next func(proto.View) proto.View) bool {
	if w.reg.Epoch != e {
		w.count("compare-and-swaps lost")
		return false
	}
	v := next(w.reg)
	v.Issued = w.reg.Issued
	if err := v.Validate(); err != nil || v.Epoch != e+1 {
		w.fail("not a view that may follow %+v: %+v (%v)", w.reg, v, err)
	}
	// The lease: whoever is live and is not any more has stopped before.
	for _, x := range w.reg.Live.Nodes(nil) {
		n := w.nodes[x]
		if !v.Live.Has(x) || v.Incarnation[x] != w.reg.Incarnation[x] {
			if n.up && n.self == w.reg.Member(x) && n.leased {
				w.fail("view %d removes node %d, whose lease holds", v.Epoch, x)
			}
		}
	}
	w.reg = v
	w.views = append(w.views, v)
	w.event(evView, 0, uint64(v.Live)<<16|uint64(v.Shadow), uint64(v.Epoch))
	return true
}

// running gives the node if that very life runs.
func (w *world) running(m proto.Member) *node {
	if n := w.nodes[m.Node]; n.up && n.self == m {
		return n
	}
	return nil
}

// reach reports whether the control plane of a can talk to b's node.
func (w *world) reach(a, b proto.NodeID) bool {
	return w.nodes[b].up && !w.cut[a][b] && !w.cut[b][a] && !w.net.Paused(int(a)) && !w.net.Paused(int(b))
}

// look takes in decided views and installs the newest it knows of.
func (n *node) look(newest bool) {
	w := n.w
	if n.newest.Epoch < w.reg.Epoch {
		v := w.reg
		if !newest {
			v = w.views[int(n.newest.Epoch)+w.rng.IntN(int(w.reg.Epoch-n.newest.Epoch))]
		}
		if v.Epoch > n.newest.Epoch {
			n.newest = v
		}
	}
	if n.newest.Epoch <= n.installed.Epoch {
		return
	}
	if !n.newest.Has(n.self) {
		// >=: this very life was a member once, be it that it never installed that view.
		if n.installed.Epoch != 0 || n.newest.Incarnation[n.id] >= n.self.Incarnation {
			if n.installed.Epoch == 0 {
				w.count("lives removed before their first install")
			}
			n.fenced()
		}
		return
	}
	n.install(&n.newest)
}

func (n *node) learn() {
	// heal's pause may hand the machine a fact before the view it belongs to.
	early := n.w.rng.IntN(4) == 0
	if early {
		n.tellFacts()
	}
	if n.newest.Epoch > n.m.View().Epoch {
		v := n.newest
		n.m.SawView(&v)
	}
	n.tellFacts()
}

func (n *node) tellFacts() {
	for _, f := range n.facts {
		f(n.m)
	}
	n.facts = n.facts[:0]
}

// drive does one step of the way back.
func (n *node) drive() {
	w := n.w
	n.learn()
	if n.tr != nil {
		n.pull()
		return
	}
	a := n.m.Next()
	w.event(evDrive, n.id, uint64(a.Do), uint64(a.Epoch))
	switch a.Do {
	case rejoin.Wait:
	case rejoin.Serve:
		n.served = true
		n.d.writeSuper(func(s *super) { s.complete = true })
		w.count("ways back finished")
	case rejoin.StartOver:
		w.count("started over: " + a.Why)
		if w.reg.Has(n.self) && w.reg.Live.Without(n.id) != 0 {
			w.update(w.reg.Epoch, func(v proto.View) proto.View { return v.Without(proto.NodeSet(0).With(n.id)) })
		}
		n.fenced()
		n.full = "started over"
	case rejoin.Again:
		w.count("again: " + a.Why)
		n.fenced()
	case rejoin.Connect:
		n.connect(a.Nodes)
	case rejoin.Admit:
		n.admit(a)
	case rejoin.AwaitInstalled:
		v := n.m.View()
		for _, x := range v.Members().Nodes(nil) {
			p := w.running(v.Member(x))
			if p == nil || x != n.id && !w.reach(n.id, x) || p.installed.Epoch < a.Epoch {
				return
			}
		}
		n.m.AllInstalled(a.Epoch)
	case rejoin.Transfer:
		n.fetch(a)
	case rejoin.RollLeftovers:
		n.rollLeftovers()
	case rejoin.Flush:
		n.d.flush(w.rng.IntN(2) == 0)
		n.m.Flushed()
	case rejoin.Promote:
		if w.update(a.Epoch, func(v proto.View) proto.View { return v.Promoted(n.id) }) {
			w.count("promotions")
			w.checkLive(n, true)
		}
		n.newest = w.reg
	case rejoin.ColdStart:
		lossy := true
		cold := n.m.ColdView()
		last := w.reg.Live // who counts, whether the cold view has them or not
		if last == 0 {
			last = w.reg.Shadow
		}
		if last&w.lost != 0 && last&^w.lost == cold.Shadow {
			last = cold.Shadow // those who stay have all that was answered, unless they lost power
		}
		was := w.reg
		for _, x := range last.Nodes(nil) {
			lossy = lossy && w.nodes[x].lossy
		}
		if w.update(a.Epoch, func(proto.View) proto.View { return cold }) {
			w.count("cold starts")
			w.losesOnly(&was, &cold)
			if lossy {
				w.lossyCold(cold.Epoch)
			}
		}
		n.newest = w.reg
	case rejoin.ReportCold:
		for _, x := range n.m.View().Shadow.Nodes(nil) {
			e, who := a.Epoch, n.id
			switch {
			case x == n.id:
				n.m.ColdDone(x, e)
			case !w.reach(n.id, x):
				return
			default:
				w.nodes[x].facts = append(w.nodes[x].facts, func(m *rejoin.Machine) { m.ColdDone(who, e) })
			}
		}
		n.m.Reported()
	case rejoin.PromoteCold:
		if w.update(a.Epoch, func(v proto.View) proto.View { return v.ColdDone() }) {
			for _, x := range w.nodes {
				w.checkLive(x, true)
			}
		}
		n.newest = w.reg
	default:
		w.fail("node %d: no way to carry out %v", n.id, a.Do)
	}
}

// connect says hello: both sides prepare their connections.
func (n *node) connect(nodes proto.NodeSet) {
	w := n.w
	for _, x := range nodes.Nodes(nil) {
		p := w.nodes[x]
		if !w.reach(n.id, x) || !p.prepare(n.self) || !n.prepare(p.self) {
			n.m.Disconnected(x)
			if was := n.m.View().Member(x); w.running(was) == nil && was.Incarnation != 0 && !(w.unproven && w.lost.Has(x)) {
				n.m.Died(was)
			}
			continue
		}
		me, blank := n.self, n.blank
		p.facts = append(p.facts, func(m *rejoin.Machine) { m.Connected(me); m.Blank(me.Node, blank) })
		n.m.Connected(p.self)
		n.m.Blank(x, p.blank)
		if p.rep != nil {
			if saw := p.rep.SawFlushed(proto.Member{Node: n.id, Incarnation: n.prev}); saw > n.tail {
				w.fail("node %d saw %d flush %d, its recovered log ends at %d", x, n.id, saw, n.tail)
			}
		}
	}
}

func (n *node) admit(a rejoin.Action) {
	w := n.w
	n.enter(a.Full)
	ok := w.update(n.m.View().Epoch, func(v proto.View) proto.View { return v.Admitted(n.self, a.Full) })
	if ok {
		w.count(map[bool]string{true: "admissions: full copy", false: "admissions: by range"}[a.Full])
	}
	n.newest = w.reg
}

// fetch asks the buddy for its list, as Life.onRange answers: after it has
// polled, in a turn of its own, what every member had published when it
// installed the view.
func (n *node) fetch(a rejoin.Action) {
	w := n.w
	b := w.running(a.Buddy)
	fail := func(noRange bool) { n.m.Transferred(a.Buddy, false, noRange) }
	if b == nil || !w.reach(n.id, a.Buddy.Node) {
		fail(false)
		return
	}
	v := b.installed
	if b.rep == nil || v.Epoch < n.m.View().Epoch || !v.Shadow.Has(n.id) || !v.Has(n.self) || !v.Live.Has(b.id) {
		fail(false)
		return
	}
	// This driver stands in for the buddy of heal, where that bug is planted.
	noReports := w.o.noReports || plant.Is(plant.H7Polled)
	if n.askedAt == 0 || n.asked != a.Buddy {
		n.asked, n.askedAt = a.Buddy, b.turns+1
	}
	if b.turns < n.askedAt && !noReports {
		return
	}
	if !noReports {
		for _, x := range v.Members().Without(n.id).Without(b.id).Nodes(nil) {
			if c := w.running(v.Member(x)); c != nil && c.installed.Has(n.self) && b.polled[x].Visible < c.rep.FeedFrom(n.id) {
				return // not reported yet
			}
		}
	}
	n.askedAt = 0
	tr := &transfer{buddy: a.Buddy, full: a.Full, end: b.d.st.Tail()}
	if !a.Full {
		until := v.LiveUntil[n.id]
		pos, ok := b.rep.MissedFrom(until)
		if !ok || until < b.lostThrough {
			w.count("no range at the buddy")
			fail(true)
			return
		}
		tr.at = pos
	}
	tr.kept = &served{n.self, tr.at}
	kept := b.ranges[:0]
	for _, s := range b.ranges {
		if s.to != n.self {
			kept = append(kept, s)
		}
	}
	b.ranges = append(kept, tr.kept)
	n.tr = tr
	w.count(map[bool]string{true: "transfers: full copy", false: "transfers: by range"}[a.Full])
	w.event(evTransfer, n.id, uint64(b.id), tr.at)
}

// pull does a small part of the transfer.
func (n *node) pull() {
	w, tr := n.w, n.tr
	b := w.running(tr.buddy)
	if b == nil || !w.reach(n.id, tr.buddy.Node) || !n.newest.Has(tr.buddy) || !n.newest.Has(n.self) || w.rng.IntN(400) == 0 {
		tr.failed = true
	}
	if tr.failed { // what is on its way is still adopted
		if len(n.adopting) == 0 {
			w.count("transfers failed")
			n.m.Transferred(tr.buddy, false, false)
			n.tr = nil
		}
		return
	}
	for steps := 1 + w.rng.IntN(6); steps > 0 && len(n.adopting) < 32; steps-- {
		if len(tr.runs) > 0 {
			n.readRecord(b, &tr.runs[0])
			if tr.runs[0].n == 0 {
				tr.runs = tr.runs[1:]
			}
			continue
		}
		seg := uint64(b.d.segment)
		to := min(tr.end, (tr.at/seg+1)*seg)
		if tr.at >= tr.end {
			if tr.listed {
				break
			}
			// What has been appended meanwhile may stand for what was left out
			// as superseded. It is listed in one step with the worker.
			tr.listed, to = true, b.d.st.Tail()
			if w.o.listGap || tr.at == to {
				break
			}
			tr.end = to
		}
		err := b.d.st.Manifest(tr.at, to, tr.full, func(pos uint64, off int64, n int, inc uint32, locked bool) bool {
			tr.runs = append(tr.runs, stretch{pos, off, n, inc, locked})
			return true
		})
		if err != nil {
			w.fail("node %d: list for node %d: %v", b.id, n.id, err)
		}
		tr.at = to
	}
	if !tr.listed || len(tr.runs) > 0 || len(n.adopting) > 0 {
		return
	}
	ok := false
	kept := b.ranges[:0]
	for _, s := range b.ranges {
		if s == tr.kept {
			ok = true
			continue
		}
		kept = append(kept, s)
	}
	b.ranges = kept
	w.event(evTransferred, n.id, uint64(b.id), 0)
	n.m.Transferred(tr.buddy, ok, false)
	n.tr = nil
}

// readRecord reads one record out of the buddy's memory.
func (n *node) readRecord(b *node, r *stretch) {
	var h record.Header
	img := b.d.arena[r.off : r.off+int64(r.n)]
	if err := record.VerifyHeader(img, record.Seed(r.pos, r.inc), &h); err != nil {
		n.w.fail("node %d: record at %d of buddy %d: %v", n.id, r.pos, b.id, err)
	}
	if err := record.VerifyBody(img, &h); err != nil {
		n.w.fail("node %d: record at %d of buddy %d: %v", n.id, r.pos, b.id, err)
	}
	size := h.Bytes()
	n.adopting = append(n.adopting, offered{append([]byte(nil), img[:size]...), r.locked})
	r.pos, r.off, r.n = r.pos+uint64(size), r.off+int64(size), r.n-size
}

func (n *node) rollLeftovers() {
	for k := n.w.burst(1, 5, 4096); k > 0 && len(n.left) > 0; k-- {
		if n.rep.Leftover(n.left[0].hash, n.left[0].pos) {
			n.w.count("leftovers rolled forward")
		}
		n.left = n.left[1:]
	}
	if len(n.left) == 0 && (n.rep.ForwardPending()+n.rep.Outstanding() == 0 || plant.Is(plant.RollVisible)) {
		n.m.Rolled()
	}
}
