package explore

import (
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// history is the register, what clients know, and how often what is bounded
// has happened.
type history struct {
	views     [viewsMax]viewID // decided, by epoch-1
	nviews    uint8
	issued    [nodesMax]uint8 // incarnations
	written   [writesMax]stamp
	nwritten  uint8
	wrote     [keysMax]proto.TS // newest answered write
	read      [keysMax]proto.TS // newest timestamp that a read gave or could have given
	persisted [keysMax]proto.TS // newest write of a scope whose PERSIST was answered

	puts, deletes, persists, gets, crashes, powers, fences uint8
}

// state is a state of the whole world: local states and history by number.
type state struct {
	loc  [nodesMax]uint32
	hist uint32
}

// world is a state while an action changes it.
type world struct {
	e   *Explorer
	loc [nodesMax]uint32
	h   history
	was uint32 // number of the history before the action
	bad string // a violation
	eff uint32 // what the last step did
	cut bool   // an action was left out because of viewsMax or livesMax
}

func (e *Explorer) at(s state) world { return world{e: e, loc: s.loc, h: e.hists[s.hist], was: s.hist} }

func (w *world) state() state {
	if int(w.was) < len(w.e.hists) && w.h == w.e.hists[w.was] {
		return state{w.loc, w.was}
	}
	id, ok := w.e.histIDs[w.h]
	if !ok {
		id = uint32(len(w.e.hists))
		w.e.hists = append(w.e.hists, w.h)
		w.e.histIDs[w.h] = id
	}
	return state{w.loc, id}
}

func (w *world) sum(n proto.NodeID) *sum { return &w.e.sums[w.loc[n]] }

func (w *world) latestID() viewID            { return w.h.views[w.h.nviews-1] }
func (w *world) latest() *proto.View         { return &w.e.views[w.latestID()] }
func (w *world) epoch(id viewID) proto.Epoch { return w.e.views[id].Epoch }

func (w *world) running(m proto.Member) bool {
	s := w.sum(m.Node)
	return s.up && s.self == m
}

// step lets one node do one thing, and takes what comes of it.
func (w *world) step(n proto.NodeID, st step) bool {
	if w.bad != "" {
		return false
	}
	o := w.e.do(w.loc[n], st)
	if o.bad != 0 {
		w.bad = w.e.violations[o.bad]
		return false
	}
	if o.next == noState {
		return false
	}
	w.loc[n], w.eff = o.next, o.eff
	if o.eff == 0 {
		return true
	}
	eff := &w.e.effs[o.eff]
	for i := range eff.n {
		w.effect(&eff.list[i])
	}
	return w.bad == ""
}

func (w *world) effect(x *effect) {
	h := &w.h
	switch x.kind {
	case minted:
		if bar := max(h.wrote[x.key], h.read[x.key]); x.ts <= bar {
			w.violate("key %d: a write that begins now has TS %v, and %v was answered before (I3)", x.key, x.ts, bar)
			return
		}
		at := 0
		for i := range h.nwritten {
			s := &h.written[i]
			if s.key == x.key && s.ts == x.ts {
				w.violate("key %d: TS %v is minted twice, for %#x and %#x (I2, H5)", x.key, x.ts, s.value, x.value)
				return
			}
			if s.key < x.key || s.key == x.key && s.ts < x.ts {
				at = int(i) + 1
			}
		}
		copy(h.written[at+1:], h.written[at:])
		h.written[at] = stamp{x.key, x.ts, x.value}
		h.nwritten++
	case wrote:
		h.wrote[x.key] = max(h.wrote[x.key], x.ts)
	case read:
		h.read[x.key] = max(h.read[x.key], x.ts)
	case persisted:
		h.persisted[x.key] = max(h.persisted[x.key], x.ts)
	}
}

// published is what n can read of what a life of c has published for it; 0:
// nothing. A life that has ended stays readable for those still attached.
func (w *world) published(n, c proto.NodeID) uint32 {
	s, x := w.sum(n), w.sum(c)
	for _, id := range [...]uint32{x.pubs[n], x.ghost[n]} {
		if p := &w.e.pubs[id]; id != 0 && p.from.Incarnation == s.attached[c] && p.to == s.self {
			return id
		}
	}
	return 0
}

// update changes the register if it still has epoch e.
func (w *world) update(e proto.Epoch, next func(proto.View) proto.View) bool {
	old := *w.latest()
	if old.Epoch != e {
		return false
	}
	if w.h.nviews == viewsMax {
		w.cut = true
		return false
	}
	v := next(old)
	v.Issued = old.Issued
	if err := v.Validate(); err != nil || v.Epoch != e+1 {
		w.violate("not a view that may follow %+v: %+v (%v)", old, v, err)
		return false
	}
	for _, x := range old.Live.Nodes(nil) {
		if !v.Live.Has(x) || v.Incarnation[x] != old.Incarnation[x] {
			if w.running(old.Member(x)) && w.sum(x).leased {
				w.violate("view %d removes node %d, whose lease holds", v.Epoch, x)
				return false
			}
		}
	}
	w.h.views[w.h.nviews] = w.e.viewID(&v)
	w.h.nviews++
	return true
}

// Do carries an action out. False: it is not possible, and nothing counts.
func (w *world) Do(a Action) bool {
	n := a.node()
	if int(n) >= w.e.c.Nodes || !w.try(a.kind(), n, a.arg()) || w.bad != "" {
		return w.bad != ""
	}
	w.reads()
	w.check(n)
	return true
}

func (w *world) try(k actionKind, n proto.NodeID, arg uint8) bool {
	s, c := w.sum(n), w.e.c
	works := s.up && s.entered
	switch k {
	case actListen, actMarks, actStream:
		if !works || int(arg) >= c.Nodes || proto.NodeID(arg) == n || (k == actListen) == c.Fine {
			return false
		}
		p := w.published(n, proto.NodeID(arg))
		op := [...]stepOp{actListen: stListen, actMarks: stMarks, actStream: stStream}[k]
		return p != 0 && w.step(n, step{op: op, a: arg, arg: p})
	case actPublish:
		return works && c.Fine && w.step(n, step{op: stPublish})
	case actFlush:
		return works && s.unflushed && w.step(n, step{op: stFlush})
	case actForward:
		return works && s.forward && w.step(n, step{op: stForward})
	case actAdopt:
		return works && s.offers && w.step(n, step{op: stAdopt})
	case actInstall:
		return s.up && w.install(n, arg)
	case actLearn:
		return s.up && !s.served && w.epoch(s.newest) < w.latest().Epoch && w.step(n, step{op: stLearn, arg: uint32(w.latestID())})
	case actDrive:
		return s.up && !s.served && s.phase == idle && w.counted(n)
	case actTransfer:
		return s.up && s.phase != idle && w.transfer(n)
	case actBegin:
		return w.begin(n)
	case actRemove:
		return w.remove(n)
	case actPut:
		if !works || int(arg) >= c.Keys || int(w.h.puts) >= c.Puts || !w.e.prefix && c.PutOnly != 0 && !c.PutOnly.Has(n) {
			return false
		}
		w.h.puts++
		return w.step(n, step{op: stPut, a: arg})
	case actDelete:
		if !works || int(arg) >= c.Keys || int(w.h.deletes) >= c.Deletes {
			return false
		}
		w.h.deletes++
		return w.step(n, step{op: stDelete, a: arg})
	case actPersist:
		if !works || int(w.h.persists) >= c.Persists {
			return false
		}
		w.h.persists++
		return w.step(n, step{op: stPersist})
	case actGet:
		if !works || int(arg) >= c.Keys || int(w.h.gets) >= c.Gets {
			return false
		}
		w.h.gets++
		return w.step(n, step{op: stGet, a: arg, arg: w.e.bar(max(w.h.wrote[arg], w.h.read[arg]))})
	case actCrash:
		return w.crash(n, arg)
	case actLease:
		if !s.serving || int(w.h.fences) >= c.Fences || !w.e.prefix && c.LoseOnly != 0 && !c.LoseOnly.Has(n) {
			return false
		}
		w.h.fences++
		return w.step(n, step{op: stLease})
	case actDrop:
		v := w.latest()
		if !w.running(v.Member(n)) || !v.Shadow.Has(n) || v.Live == 0 || int(w.h.fences) >= c.Fences || !w.e.prefix && c.LoseOnly != 0 && !c.LoseOnly.Has(n) {
			return false
		}
		w.h.fences++
		return w.update(v.Epoch, func(v proto.View) proto.View { return v.Without(proto.NodeSet(0).With(n)) })
	}
	return false
}

// install is Life.install of a decided view, or the end of a life without
// which it was decided.
func (w *world) install(n proto.NodeID, epoch uint8) bool {
	s := w.sum(n)
	if epoch == 0 || epoch > w.h.nviews {
		return false
	}
	id := w.h.views[epoch-1]
	v := &w.e.views[id]
	if v.Epoch <= w.epoch(s.installed) || v.Epoch < w.epoch(s.newest) {
		return false
	}
	if !v.Has(s.self) {
		// Before the admission that is nothing new.
		return (s.installed != 0 || v.Incarnation[n] >= s.self.Incarnation) && w.step(n, step{op: stFenced})
	}
	old := &w.e.views[s.installed]
	for _, x := range v.Members().Without(n).Nodes(nil) {
		if m := v.Member(x); !old.Has(m) && !w.running(m) && s.links[x] != m.Incarnation {
			return false // no connection can be made
		}
	}
	if s.installed != 0 && v.Epoch > w.epoch(s.installed)+1 {
		w.e.marks["views skipped"]++
	}
	if !w.step(n, step{op: stInstall, arg: uint32(id)}) {
		return false
	}
	for c := range proto.NodeID(w.e.c.Nodes) {
		if g := w.sum(c).ghost[n]; g != 0 && w.e.pubs[g].from.Incarnation != w.sum(n).attached[c] {
			w.step(c, step{op: stGhost, a: uint8(n)})
		}
	}
	return true
}

func (w *world) begin(n proto.NodeID) bool {
	s := w.sum(n)
	if s.up || w.e.c.NoRestart && !w.e.prefix {
		return false
	}
	if w.h.issued[n] >= livesMax {
		w.cut = true
		return false
	}
	w.h.issued[n]++
	if !w.step(n, step{op: stBegin, a: w.h.issued[n], arg: uint32(w.latestID())}) {
		return false
	}
	for c := range proto.NodeID(w.e.c.Nodes) { // nobody reads it: forget it
		if g := w.sum(n).ghost[c]; g != 0 && (w.e.pubs[g].from.Incarnation != w.sum(c).attached[n] || w.e.pubs[g].to != w.sum(c).self) {
			w.step(n, step{op: stGhost, a: uint8(c)})
		}
	}
	return true
}

func (w *world) crash(n proto.NodeID, how uint8) bool {
	s, c := w.sum(n), w.e.c
	if int(w.h.crashes) >= c.Crashes || !w.e.prefix && c.CrashOnly != 0 && !c.CrashOnly.Has(n) {
		return false
	}
	power := how >= crashPower
	if power {
		// A process that is dead already can still lose its memory.
		if int(w.h.powers) >= c.Powers || how-crashPower > s.lost {
			return false
		}
		w.h.powers++
	}
	if !s.up {
		return false
	}
	w.h.crashes++
	live := uint8(0)
	if v := w.latest(); s.live || v.Has(s.self) && v.Live.Has(n) {
		live = 1
	}
	return w.step(n, step{op: stCrash, a: how, b: live})
}

// remove is the failure detector: a member that is dead, or a live one without
// a lease, leaves the view. Somebody live is there to propose it.
func (w *world) remove(n proto.NodeID) bool {
	v := *w.latest()
	if !v.Members().Has(n) {
		return false
	}
	if w.running(v.Member(n)) && (!v.Live.Has(n) || w.sum(n).leased) {
		return false
	}
	someone := false
	for _, x := range v.Live.Without(n).Nodes(nil) {
		someone = someone || w.running(v.Member(x))
	}
	return someone && w.update(v.Epoch, func(v proto.View) proto.View { return v.Without(proto.NodeSet(0).With(n)) })
}

// counted is drive, with a mark for what was done.
func (w *world) counted(n proto.NodeID) bool {
	a, views := w.sum(n).action, w.h.nviews
	done := w.drive(n)
	if !done {
		return false
	}
	switch {
	case a.Do == rejoin.Promote && w.h.nviews == views:
		w.e.marks["promotions refused"]++
	case a.Do == rejoin.Admit && a.Full:
		w.e.marks["way back: admit, full copy"]++
	default:
		w.e.marks[doMarks[a.Do]]++
	}
	return true
}

var doMarks = func() (names [rejoin.Serve + 1]string) {
	for d := range names {
		names[d] = "way back: " + rejoin.Do(d).String()
	}
	return names
}()

// drive is one round of Life.drive: what the machine asks for.
func (w *world) drive(n proto.NodeID) bool {
	s := *w.sum(n)
	a := s.action
	mv := &w.e.views[s.machineOfView]
	cas := func(e proto.Epoch, next func(proto.View) proto.View) bool {
		moved := w.update(e, next)
		if w.cut {
			return false
		}
		// Either way the life hears of the newest view.
		return w.step(n, step{op: stLearn, arg: uint32(w.latestID())}) || moved
	}
	switch a.Do {
	case rejoin.Wait:
		return false
	case rejoin.Serve:
		return w.step(n, step{op: stServe})
	case rejoin.StartOver:
		// Life.leave: the last live members stay, since a cold start waits for them.
		if v := w.latest(); v.Has(s.self) && v.Live.Without(n) != 0 {
			w.update(v.Epoch, func(v proto.View) proto.View { return v.Without(proto.NodeSet(0).With(n)) })
		}
		return w.step(n, step{op: stFenced, a: 1})
	case rejoin.Again:
		return w.step(n, step{op: stFenced})
	case rejoin.Connect:
		return w.connect(n, &a, mv)
	case rejoin.Admit:
		if a.Full && mv.Live.Has(n) {
			return cas(mv.Epoch, func(v proto.View) proto.View { return v.Without(proto.NodeSet(0).With(n)) })
		}
		full := uint8(0)
		if a.Full {
			full = 1
		}
		return w.step(n, step{op: stEnter, a: full}) && cas(mv.Epoch, func(v proto.View) proto.View { return v.Admitted(s.self, a.Full) })
	case rejoin.AwaitInstalled:
		for _, x := range mv.Members().Nodes(nil) {
			if !w.running(mv.Member(x)) || w.epoch(w.sum(x).installed) < a.Epoch {
				return false
			}
		}
		return w.step(n, step{op: stInstalled, arg: uint32(a.Epoch)})
	case rejoin.Transfer:
		return w.ask(n, &a, mv.Epoch)
	case rejoin.RollLeftovers:
		return s.entered && w.step(n, step{op: stRoll})
	case rejoin.Flush:
		return w.step(n, step{op: stFlushed})
	case rejoin.Promote:
		return cas(a.Epoch, func(v proto.View) proto.View { return v.Promoted(n) })
	case rejoin.ColdStart:
		return w.coldStart(n, &a, cas)
	case rejoin.ReportCold:
		for _, x := range mv.Shadow.Nodes(nil) {
			if !w.sum(x).up || !w.step(x, step{op: stColdDone, a: uint8(n), arg: uint32(a.Epoch)}) {
				return false
			}
		}
		return w.step(n, step{op: stReported})
	case rejoin.PromoteCold:
		return cas(a.Epoch, func(v proto.View) proto.View { return v.ColdDone() })
	}
	w.violate("node %d: no way to carry out %v", n, a.Do)
	return false
}

// connect says hello: both sides prepare their connections.
func (w *world) connect(n proto.NodeID, a *rejoin.Action, mv *proto.View) bool {
	bit := func(b bool) uint32 {
		if b {
			return 1
		}
		return 0
	}
	for _, x := range a.Nodes.Nodes(nil) {
		p, s := w.sum(x), w.sum(n)
		if !p.up {
			was := mv.Member(x)
			inc := uint8(0)
			if was.Incarnation != 0 && !w.running(was) {
				inc = uint8(was.Incarnation)
			}
			w.step(n, step{op: stNoAnswer, a: uint8(x), b: inc})
			continue
		}
		to := step{op: stGreeted, a: uint8(n), b: uint8(s.self.Incarnation), arg: bit(s.blank)}
		from := step{op: stHello, a: uint8(x), b: uint8(p.self.Incarnation), arg: bit(p.blank)}
		w.step(x, to)
		w.step(n, from)
	}
	return w.bad == ""
}

func (w *world) coldStart(n proto.NodeID, a *rejoin.Action, cas func(proto.Epoch, func(proto.View) proto.View) bool) bool {
	m := w.e.machines[w.sum(n).machine]
	cold := m.ColdView()
	last := w.latest().Live
	if last == 0 {
		last = w.latest().Shadow
	}
	lossy := true
	for _, x := range last.Nodes(nil) {
		lossy = lossy && w.sum(x).lossy
	}
	was := w.h.nviews
	if !cas(a.Epoch, func(proto.View) proto.View { return cold }) {
		return false
	}
	if w.h.nviews != was && lossy {
		// All live members have lost power: what the model does not promise
		// may be gone.
		g := w.e.c.Model.Gates()
		for k := range w.h.wrote {
			if g.Answer != proto.Durable {
				w.h.wrote[k] = 0
			}
			if g.Read != proto.Durable {
				w.h.read[k] = 0
			}
		}
	}
	return true
}

// ask begins a transfer: the buddy takes in what every member has published,
// in a turn of its own, and keeps the range (Life.onRange).
func (w *world) ask(n proto.NodeID, a *rejoin.Action, e proto.Epoch) bool {
	s := w.sum(n)
	full := uint32(0)
	if a.Full {
		full = 1
	}
	if !w.step(n, step{op: stAsk, a: uint8(a.Buddy.Node), b: uint8(a.Buddy.Incarnation), arg: full}) {
		return false
	}
	b := w.sum(a.Buddy.Node)
	v := &w.e.views[b.installed]
	if !w.running(a.Buddy) || !b.entered || v.Epoch < e || !v.Shadow.Has(n) || !v.Has(s.self) || !v.Live.Has(a.Buddy.Node) {
		return w.step(n, step{op: stEnded})
	}
	for c := range proto.NodeID(w.e.c.Nodes) {
		if p := w.published(a.Buddy.Node, c); p != 0 && !w.step(a.Buddy.Node, step{op: stMarks, a: uint8(c), arg: p}) {
			return false
		}
	}
	if !w.step(a.Buddy.Node, step{op: stPin, a: uint8(n), b: uint8(s.self.Incarnation), arg: full}) {
		return false
	}
	if _, no := w.e.effs[w.eff].has(noRange); no {
		return w.step(n, step{op: stEnded, a: 2})
	}
	return true
}

// transfer goes on with one.
func (w *world) transfer(n proto.NodeID) bool {
	s := w.sum(n)
	if s.phase == failed {
		return !s.offers && w.step(n, step{op: stEnded})
	}
	v := &w.e.views[s.newest]
	if !w.running(s.buddy) || !v.Has(s.buddy) || !v.Has(s.self) {
		w.e.marks["transfers failed"]++
		return w.step(n, step{op: stFailed})
	}
	keeps := w.sum(s.buddy.Node).kept[n] == s.self.Incarnation
	if s.phase == listed {
		if s.offers {
			return false
		}
		ok := uint8(0)
		if keeps {
			ok = 1
			if !w.step(s.buddy.Node, step{op: stUnpin, a: uint8(n)}) {
				return false
			}
		}
		return w.step(n, step{op: stEnded, a: ok})
	}
	if !keeps {
		return w.step(n, step{op: stFailed})
	}
	arg := uint32(0)
	if s.full {
		arg = 1
	}
	next := part
	if s.phase == part {
		next, arg = listed, arg|2
	}
	if !w.step(s.buddy.Node, step{op: stList, a: uint8(n), arg: arg}) {
		return false
	}
	x, _ := w.e.effs[w.eff].has(listing)
	return w.step(n, step{op: stOffer, a: uint8(next), arg: uint32(x.value)})
}
