package heal

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
)

// remembered is how far the pools of one node remember a life of another to
// have flushed a shard (pmem.Super.Seen).
type remembered struct {
	Life  proto.Member
	Shard int
	Pos   uint64
}

// said is what a life has told of its pools. It stays the same as long as the
// life lasts.
type said struct {
	life       proto.Member // Incarnation 0: nothing yet
	at         int64        // when it was heard, Env.Now
	prev       proto.Incarnation
	tails      []uint64
	blank      bool // by its own account it holds nothing for a cold start
	remembers  []remembered
	tellsOlder bool // this node saw prev flush beyond tails
}

// remembers is everything that the own pools remember of the others.
func (l *Life) remembers() (all []remembered) {
	for shard := range l.cfg.Seen {
		for n, s := range l.cfg.Seen[shard] {
			if s.Incarnation != 0 && proto.NodeID(n) != l.self.Node {
				all = append(all, remembered{proto.Member{Node: proto.NodeID(n), Incarnation: proto.Incarnation(s.Incarnation)}, shard, s.Pos})
			}
		}
	}
	return all
}

// outdone reports whether what somebody remembers of a life is more than the
// pools hold that it left: then they are older copies.
func outdone(life proto.Member, tails []uint64, by []remembered) bool {
	for _, r := range by {
		if r.Life == life && life.Incarnation != 0 && r.Shard >= 0 && r.Shard < len(tails) && r.Pos > tails[r.Shard] && !plant.Is(plant.H19Hello) {
			return true
		}
	}
	return false
}

// heard takes in what a life has told of its pools. stale: they are older
// copies, as this node or another one knows.
//
// Each says what it remembers of all, and not of the asked one alone: whoever
// proposes a cold start has heard every member of it, and so knows whose pool is
// older though it never saw that one flush, and though the two whom it concerns
// may not have spoken to each other yet.
func (l *Life) heard(s said) (stale bool) {
	s.tellsOlder = l.older(proto.Member{Node: s.life.Node, Incarnation: s.prev}, s.tails) && !plant.Is(plant.H19Hello)
	l.mu.Lock()
	defer l.mu.Unlock()
	s.at = l.env.Now()
	if o := &l.others[s.life.Node]; s.life.Incarnation >= o.life.Incarnation {
		*o = s
	}
	return s.tellsOlder || l.hearsay(&s)
}

// heardSince reports whether a node has said hello, or answered one, after t.
func (l *Life) heardSince(n proto.NodeID, t int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.others[n].life.Incarnation != 0 && l.others[n].at > t
}

// hearsay reports whether a third one remembers that the pools of a life are
// older copies. mu is held.
func (l *Life) hearsay(s *said) bool {
	for i := range l.others {
		if !plant.Is(plant.ColdHearsay) && outdone(proto.Member{Node: s.life.Node, Incarnation: s.prev}, s.tails, l.others[i].remembers) {
			return true
		}
	}
	return false
}

// blanks is of which nodes this life has heard, and which of those hold nothing
// for a cold start.
func (l *Life) blanks() (known, blank proto.NodeSet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.others {
		s := &l.others[i]
		if s.life.Incarnation == 0 {
			continue
		}
		known = known.With(s.life.Node)
		if s.blank || s.tellsOlder || l.hearsay(s) {
			blank = blank.With(s.life.Node)
		}
	}
	return known, blank
}

// judge hands the machine which pools hold nothing for a cold start, as far as
// is known at this moment: a fact that waited must not undo what came after it.
func (l *Life) judge(m *rejoin.Machine) {
	known, blank := l.blanks()
	for _, n := range known.Nodes(nil) {
		m.Blank(n, blank.Has(n))
	}
}

// prev is the life before this one, whose pools it has.
func (l *Life) prev() proto.Member {
	return proto.Member{Node: l.self.Node, Incarnation: l.cfg.Prev}
}

// older reports whether a pool whose last life was prev, and whose logs end at
// tails, is an older copy: this node saw that life flush more, in this life or,
// as its own pools remember, in an earlier one (H19).
func (l *Life) older(prev proto.Member, tails []uint64) bool {
	if prev.Incarnation == 0 || prev.Node >= proto.NodesMax {
		return false
	}
	for i, w := range l.workers {
		if i >= len(tails) {
			break
		}
		var saw uint64
		if i < len(l.cfg.Seen) {
			if s := l.cfg.Seen[i][prev.Node]; s.Incarnation == uint32(prev.Incarnation) {
				saw = s.Pos
			}
		}
		if l.in() {
			w.Do(func() { saw = max(saw, w.Replica().SawFlushed(prev)) })
		}
		if saw > tails[i] {
			return true
		}
	}
	return false
}
