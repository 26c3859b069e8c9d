// Package rejoin decides the way back of a node: what a life of a node does
// next to become live, given what it knows. It is pure: knowledge in, one
// action out; the caller carries the action out and tells the result.
//
// Source: protocol.md, "Rejoin of f" and "Cold start"; HEAL (arXiv 2602.08257)
// for buddy and shadow.
//
// Invariants, named in asserts and tests:
//
//	J1  A node asks for promotion only in a view in which it finished: all
//	    members had installed a view with it before its range was taken, the
//	    range and its own leftovers are settled, everything is flushed.
//	J2  A range counts only if its buddy was the same life to the end (H9).
//	J3  An incomplete pool is healed by full copy, never by range (H17).
//	J4  Only the live members of the last view make a cold start (H15).
//	J5  A life that was removed from the view never asks to come back.
//	J6  What a cold start has lost does not come back with a node that was not
//	    in it: such a node with leftovers is healed by full copy.
//	J7  A pool whose records may not all be there, or whose range is not known
//	    any more, is compared with a buddy's whole, or discarded.
package rejoin

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// Do names the next action.
type Do uint8

const (
	Wait           Do = iota // nothing until something new is known
	Connect                  // say hello to Nodes, prepare connections both ways
	Admit                    // ask the register to be a shadow; Full discards
	AwaitInstalled           // until every member has installed Epoch
	Transfer                 // fetch Buddy's range into this node; Full: everything
	RollLeftovers            // offer the own leftovers, until the cursor is done
	Flush                    // flush through the tail
	Promote                  // compare and swap on Epoch
	ColdStart                // propose the cold view over Epoch
	ReportCold               // tell the cold members that this one is done
	PromoteCold              // all cold members are done: promote them together
	StartOver                // a new life with a full copy: Why says why
	Again                    // a new life, the view and what the pool holds stay: Why says why
	Later                    // nothing yet, before the next try: Why says why
	Serve                    // live: done
)

var names = [...]string{"wait", "connect", "admit", "await-installed", "transfer", "roll-leftovers", "flush",
	"promote", "cold-start", "report-cold", "promote-cold", "start-over", "again", "later", "serve"}

func (d Do) String() string { return names[d] }

// Action is what the caller does next.
type Action struct {
	Do    Do
	Nodes proto.NodeSet // Connect
	Epoch proto.Epoch   // AwaitInstalled, Promote, ColdStart, PromoteCold
	Buddy proto.Member  // Transfer
	Full  bool          // Admit, Transfer
	// Digest: Transfer compares digests with the buddy and fetches what differs.
	Digest bool
	Why    string // Admit with Full, StartOver, Wait, Connect, Again, Later
}

// Config is what a life knows of itself from the start.
type Config struct {
	Self proto.Member
	// Full says why this life heals by full copy: selected, incomplete pool,
	// stale pool, pool never live. Empty: by range.
	Full string
	// Digests: this node can compare digests with a buddy that has no range for
	// it; otherwise it takes a full copy then.
	Digests bool
	// Doubtful says why the pool may lack records it should have: ranges of its
	// log do not verify. Then only a comparison with a buddy shows what is to be
	// fetched (ADR 0027).
	Doubtful string
	// Blank: the pool was made anew since the cluster last ran, a full copy into
	// it was cut off, or it is an older copy: it can give nothing to a cold
	// start (J4).
	Blank bool
	// Leftovers: the pool holds records of which nobody said that they are
	// durable everywhere.
	Leftovers bool
	// Lease in nanoseconds and Random are for Backoff; Lease 0: the life never
	// backs off, and Now need not be called.
	Lease  int64
	Random uint64
}

// Machine is the knowledge of one life on its way back. One goroutine.
type Machine struct {
	self  proto.Member
	full  string
	blank bool
	left  bool

	view      proto.View
	connected [proto.NodesMax]proto.Incarnation // life of each node we are connected to, both ways

	digests  bool // Config.Digests
	digest   bool // compare digests: there is no range, or it would not be enough
	compared int  // rounds of comparing in which every live member failed

	allInstalled proto.Epoch // every member of that view has installed it
	transferred  bool
	tried        proto.NodeSet // buddies that failed in this view
	rolled       bool
	flushed      bool
	reported     bool
	coldDone     [proto.NodesMax]proto.Epoch // newest cold view in which each node is done
	startOver    string
	died         proto.NodeSet // lives of the view known to have ended
	blanks       proto.NodeSet // nodes whose pool holds nothing for a cold start
	forced       Forced        // an operator's order; Without 0: none
	heldBack     string        // why it should stay a shadow; "": it should not

	lease      int64
	random     uint64
	begun, now int64 // the caller's clock; 0: never told
}

// New starts a machine.
func New(c Config) *Machine {
	m := &Machine{self: c.Self, full: c.Full, blank: c.Blank, left: c.Leftovers, lease: c.Lease, random: c.Random, digests: c.Digests}
	switch {
	case c.Doubtful == "" || c.Full != "":
	case c.Digests:
		m.digest = true
	default:
		m.full = c.Doubtful
	}
	return m
}

// Now tells the time, in nanoseconds above 0 on a clock that does not step
// back. The first call is the begin of the life.
func (m *Machine) Now(t int64) {
	m.now = t
	if m.begun == 0 {
		m.begun = t
	}
}

// HeldBack tells why this node should stay a shadow although it could be live:
// the members have seen it to be slow. "": it should not. It holds no cold
// start back.
func (m *Machine) HeldBack(why string) { m.heldBack = why }

// View is the newest view known.
func (m *Machine) View() *proto.View { return &m.view }

// SawView tells of the newest decided view; older ones are ignored.
func (m *Machine) SawView(v *proto.View) {
	if v.Epoch <= m.view.Epoch && m.view.Epoch != 0 {
		return
	}
	m.view = *v
	m.tried, m.died, m.reported, m.flushed = 0, 0, false, m.flushed && plant.Is(plant.PromoteOldFlush)
}

// Connected tells that the given life answered the hello and has prepared its
// connection to this one.
func (m *Machine) Connected(p proto.Member) { m.connected[p.Node] = p.Incarnation }

// Disconnected tells that nothing answers at a node.
func (m *Machine) Disconnected(n proto.NodeID) { m.connected[n] = 0 }

// Died tells that the view's life of a node is proven to have ended.
func (m *Machine) Died(p proto.Member) {
	if m.view.Incarnation[p.Node] == p.Incarnation {
		m.died = m.died.With(p.Node)
	}
}

// AllInstalled tells that every member of the view has installed epoch e.
func (m *Machine) AllInstalled(e proto.Epoch) { m.allInstalled = max(m.allInstalled, e) }

// Transferred tells how a transfer ended. ok only if the buddy was the same
// life after the last read. noRange: the buddy has no range for this node.
func (m *Machine) Transferred(b proto.Member, ok, noRange bool) {
	switch {
	case ok || plant.Is(plant.BuddyDied) && !noRange:
		m.transferred = true
	case noRange && m.full == "" && m.digests && !m.digest:
		// Given up for space, or forgotten. What is in the pool still counts: only
		// where it differs from a buddy's is not known any more (J7).
		m.digest = true
	case noRange && m.full == "":
		m.startOver = "the members no longer have the range this node missed"
	default:
		m.tried = m.tried.With(b.Node)
		if m.tried&m.view.Live == m.view.Live {
			m.tried = 0 // everybody failed: begin again with the first
			if m.digest {
				m.compared++
			}
			if m.compared >= comparedMax {
				m.startOver = "no live member could compare its records with this node's"
			}
		}
	}
}

// comparedMax: after so many rounds in which no live member could compare
// digests, the node takes a full copy. Records that no member can verify would
// keep them from it for ever.
const comparedMax = 3

// NoRoom tells that the node's log has no room for the range: every life before
// this one that ended on its way back has left something in it that the cleaner
// may not touch before the node is live.
func (m *Machine) NoRoom() { m.startOver = "the log has no room for what this node missed" }

// Rolled tells that the own leftovers are offered and the cursor is done.
func (m *Machine) Rolled() { m.rolled = true }

// Flushed tells that everything up to the tail is durable.
func (m *Machine) Flushed() { m.flushed = true }

// Reported tells that the cold members were told.
func (m *Machine) Reported() { m.reported = true }

// ColdDone tells that a member of the cold view of epoch e is done. It is told
// once, and may come before this machine has seen that view.
func (m *Machine) ColdDone(n proto.NodeID, e proto.Epoch) {
	m.coldDone[n] = max(m.coldDone[n], e)
}

// Blank tells whether a connected life's pool holds nothing for a cold start.
func (m *Machine) Blank(n proto.NodeID, blank bool) {
	m.blanks = m.blanks.Without(n)
	if blank {
		m.blanks = m.blanks.With(n)
	}
}

// OlderPool is why a life starts over when it hears that its pool is an older
// copy. The next life heals by full copy, and has nothing for a cold start.
const OlderPool = "the pool is older than what the members saw it flush"

// Stale tells that a member knows a higher flushed position of this node's
// pool than it came back with (H19).
func (m *Machine) Stale() {
	switch {
	case plant.Is(plant.H19Stale):
	case m.full == "":
		m.startOver = OlderPool
	default:
		m.blank = true
	}
}

// Next is what to do now.
func (m *Machine) Next() Action {
	v := &m.view
	switch {
	case m.startOver != "":
		return Action{Do: StartOver, Why: m.startOver}
	case v.Epoch == 0:
		return Action{Do: Wait}
	case !v.Has(m.self):
		return m.outside()
	case v.Live.Has(m.self.Node):
		return Action{Do: Serve}
	case v.Cold:
		return m.cold()
	default:
		return m.shadow()
	}
}

// heldFails is as how many lives that ended on their way back a demotion counts
// in the waits: a shadow that is slow costs everybody as much as one that dies.
const heldFails = 6

// outside: not a member. Connect before you decide.
func (m *Machine) outside() Action {
	v := &m.view
	if v.Incarnation[m.self.Node] >= m.self.Incarnation && !plant.Is(plant.H9Outside) {
		// It was a member once. The others have cut it off; its streams would
		// begin anew in the middle of what it has taken in (H9).
		return Action{Do: Again, Why: "a view came without this life"}
	}
	others := v.Configured.Without(m.self.Node)
	if v.Live == 0 || m.nobodyRuns() {
		return m.coldCandidate(others)
	}
	if m.full == "" && m.left && m.missedColdStart() && !plant.Is(plant.ColdAway) {
		return Action{Do: StartOver, Why: "it was not in the last cold start, and holds what the others may have lost in it"}
	}
	need := v.Members().Without(m.self.Node)
	for r := need; r != 0; r &= r - 1 {
		n := lowest(r)
		if m.connected[n] != v.Incarnation[n] && !plant.Is(plant.ConnectLate) {
			return Action{Do: Connect, Nodes: need}
		}
	}
	full := m.full
	if full == "" && !plant.Is(plant.NeverLive) && v.LiveUntil[m.self.Node] == 0 && !v.Live.Has(m.self.Node) {
		full = "never live with its present pool, or left out of a cold start"
	}
	failed := v.Failed[m.self.Node]
	if m.heldBack != "" && m.begun+Backoff(failed+heldFails, m.random, m.lease) > m.now && !plant.Is(plant.BackoffAtOnce) {
		return Action{Do: Later, Why: "backs off: " + m.heldBack}
	}
	if m.begun+Backoff(failed, m.random, m.lease) > m.now && !plant.Is(plant.BackoffAtOnce) {
		return Action{Do: Later, Why: fmt.Sprintf("backs off: the last %d lives of this node ended on their way back", failed)}
	}
	return Action{Do: Admit, Full: full != "", Why: full}
}

// missedColdStart reports whether the cluster has started cold without this
// node, under a model that answers or shows what is not yet durable: then the
// members may have lost what clients saw, and gone on without it (J6).
func (m *Machine) missedColdStart() bool {
	v, n := &m.view, m.self.Node
	g := v.Model.Gates()
	return !v.Live.Has(n) && v.LiveUntil[n] < v.ColdAfter && (g.Answer != proto.Durable || g.Read != proto.Durable)
}

// nobodyRuns reports whether every live member of the view, this node's
// former life included, is known to have ended.
func (m *Machine) nobodyRuns() bool {
	v := &m.view
	for r := v.Live; r != 0; r &= r - 1 {
		n := lowest(r)
		if !m.ended(n) {
			return false
		}
	}
	return true
}

// ended: the view's life of node n is over, since its kernel or its own next
// life said so.
func (m *Machine) ended(n proto.NodeID) bool {
	return n == m.self.Node || m.died.Has(n) || m.connected[n] > m.view.Incarnation[n] || m.forcedOut().Has(n)
}

// coldCandidate: nobody of the last live members runs any more. They are what
// counts; all of them are waited for, and the lowest proposes (J4).
func (m *Machine) coldCandidate(others proto.NodeSet) Action {
	v := &m.view
	cold, without := v.ColdSet(), m.forcedOut()
	if plant.Is(plant.H15Shadow) {
		cold |= v.Shadow
	}
	cold &^= without
	if !cold.Has(m.self.Node) {
		return Action{Do: Connect, Nodes: others}
	}
	if m.blank {
		why := "every live member of the last view is down, and this one's pool is blank, incomplete or an older copy: its data is gone and it cannot make a cold start" + m.wayOut(cold)
		if m.inColdView(cold) != 0 && !plant.Is(plant.ColdMute) {
			return Action{Do: Connect, Nodes: others, Why: why} // they wait for the life before this one
		}
		return Action{Do: Wait, Why: why}
	}
	for r := cold.Without(m.self.Node); r != 0; r &= r - 1 {
		n := lowest(r)
		if m.connected[n] <= v.Incarnation[n] && !plant.Is(plant.H15All) {
			return Action{Do: Connect, Nodes: others}
		}
	}
	if m.blanks&cold != 0 && !plant.Is(plant.ColdBlank) {
		return Action{Do: Wait, Why: "every live member of the last view is down, and the pools of nodes " + (m.blanks & cold).String() +
			" are blank, incomplete or older copies: a cold start without their data could lose acknowledged writes" + m.wayOut(cold)}
	}
	if lowest(cold) != m.self.Node && without == 0 {
		return Action{Do: Wait}
	}
	return Action{Do: ColdStart, Epoch: v.Epoch}
}

// wayOut says what an operator can do where pools are missing for a cold start.
func (m *Machine) wayOut(cold proto.NodeSet) string {
	without := m.blanks & cold
	if m.blank {
		without = without.With(m.self.Node)
	}
	if without == cold {
		return fmt.Sprintf(". That goes for every one of the nodes %v, so there is nobody to go on without them: put back the pool that one of them had last, or make a new cluster from a backup", cold)
	}
	return fmt.Sprintf(". Put back the pools that nodes %v had last, or go on without them: `node cold-start --without` them, at a node whose pool is whole", without)
}

// inColdView is who of a cold start that was cut off is not known to have begun
// another life: it may still wait for this node in it.
func (m *Machine) inColdView(cold proto.NodeSet) (still proto.NodeSet) {
	v := &m.view
	if v.Live != 0 {
		return 0
	}
	for r := cold.Without(m.self.Node); r != 0; r &= r - 1 {
		if n := lowest(r); m.connected[n] <= v.Incarnation[n] {
			still = still.With(n)
		}
	}
	return still
}

// ColdView is the cold view over the present one: the live members become
// shadows of each other in their new lives.
func (m *Machine) ColdView() proto.View {
	left := m.forcedOut()
	lives := m.connected
	lives[m.self.Node] = m.self.Incarnation
	return m.view.ColdOf(m.view.ColdSet()&^left, &lives, left)
}

// cold: one of the shadows of a cold view. Each rolls its own leftovers
// forward; when all are done they are promoted together, since one alone may
// lack what another's leftover covers.
//
// A member that has begun another life takes the cold start with it: what the
// others rolled forward and it had applied may be lost there, and nobody sends
// it again. All begin anew, and the cold start is repeated with their new lives.
func (m *Machine) cold() Action {
	v := &m.view
	for r := v.Shadow.Without(m.self.Node); r != 0; r &= r - 1 {
		if n := lowest(r); m.connected[n] > v.Incarnation[n] && !plant.Is(plant.ColdDied) {
			return Action{Do: Again, Why: "a member of the cold start died in it"}
		}
	}
	if m.blank && !plant.Is(plant.ColdKnowing) {
		// Somebody who is no member told it too late for the proposer to know, or
		// the proposal was under way: the next life says it in its first hello, and
		// the others begin anew without counting on it.
		return Action{Do: StartOver, Why: OlderPool}
	}
	if m.allInstalled < v.Epoch {
		return Action{Do: AwaitInstalled, Epoch: v.Epoch}
	}
	if !m.rolled {
		return Action{Do: RollLeftovers}
	}
	if !m.flushed {
		return Action{Do: Flush}
	}
	if !m.reported {
		return Action{Do: ReportCold, Epoch: v.Epoch}
	}
	for r := v.Shadow; r != 0; r &= r - 1 {
		if m.coldDone[lowest(r)] != v.Epoch && !plant.Is(plant.ColdAlone) {
			return Action{Do: Wait}
		}
	}
	if lowest(v.Shadow) != m.self.Node {
		return Action{Do: Wait}
	}
	return Action{Do: PromoteCold, Epoch: v.Epoch}
}

func (m *Machine) shadow() Action {
	v := &m.view
	switch {
	case m.allInstalled < v.Epoch && !m.transferred && !plant.Is(plant.H6Installed):
		return Action{Do: AwaitInstalled, Epoch: v.Epoch}
	case !m.transferred:
		b, ok := m.buddy()
		if !ok {
			// The last live member went: what was fetched so far is no
			// basis for anything, wait for the cold start of the others.
			return Action{Do: StartOver, Why: "no live member is left to recover from"}
		}
		full := m.full != "" || v.LiveUntil[m.self.Node] == 0 && !plant.Is(plant.NeverLive)
		return Action{Do: Transfer, Buddy: b, Full: full, Digest: m.digest && !full}
	case !m.rolled && !plant.Is(plant.NoLeftovers):
		return Action{Do: RollLeftovers}
	case m.allInstalled < v.Epoch && !plant.Is(plant.PromoteLagging):
		return Action{Do: AwaitInstalled, Epoch: v.Epoch}
	case !m.flushed && !plant.Is(plant.H1Flush):
		return Action{Do: Flush}
	case m.heldBack != "":
		return Action{Do: Later, Why: m.heldBack}
	}
	return Action{Do: Promote, Epoch: v.Epoch}
}

// buddy is a live member, a different one after each failure, and not the same
// one for every recovering node.
func (m *Machine) buddy() (proto.Member, bool) {
	v := &m.view
	for i := range proto.NodeID(proto.NodesMax) {
		n := (m.self.Node + 1 + i) % proto.NodesMax
		if (v.Live.Has(n) || plant.Is(plant.BuddyShadow) && v.Shadow.Has(n) && n != m.self.Node) && !m.tried.Has(n) {
			return v.Member(n), true
		}
	}
	return proto.Member{}, false
}

func lowest(s proto.NodeSet) proto.NodeID {
	for n := range proto.NodeID(proto.NodesMax) {
		if s.Has(n) {
			return n
		}
	}
	return 0
}
