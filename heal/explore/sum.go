package explore

import (
	"healkv/dataplane/proto"
	"healkv/heal/rejoin"
	"healkv/pmem/record"
)

func recordTS(img []byte) uint64 { return record.TS(img) }

// sum is what the rest of the world can see of a local state, made once.
type sum struct {
	id            proto.NodeID
	up, entered   bool
	served        bool
	leased        bool
	serving       bool // answers reads and takes writes
	live          bool // in the installed view
	blank, lossy  bool
	unflushed     bool
	full          bool // transfer
	forward       bool
	busy          bool // operations or entries under way
	offers        bool
	phase         phase
	self, buddy   proto.Member
	newest        viewID
	installed     viewID
	puts          uint8
	nops          uint8
	lost          uint8 // records above the flushed ones
	attached      [nodesMax]proto.Incarnation
	links         [nodesMax]proto.Incarnation
	kept          [nodesMax]proto.Incarnation
	pubs          [nodesMax]uint32
	ghost         [nodesMax]uint32
	ts, durable   [keysMax]proto.TS
	locked        [keysMax]bool
	ranged        [viewsMax + 1]uint8 // by liveUntil: bit 7: there is a range; bit k: the key's record is in it
	action        rejoin.Action
	written       []stamp // what the log holds
	machineOfView viewID
	machine       uint32
}

// stamp is what was written under a timestamp.
type stamp struct {
	key   uint8
	ts    proto.TS
	value uint64
}

// summarise makes the sum of the live object's state.
func (n *node) summarise(recs []logged) sum {
	s := sum{id: n.id, up: n.up, entered: n.entered, served: n.served, leased: n.leased, blank: n.blank, lossy: n.lossy, phase: n.phase, full: n.full,
		self: n.self, buddy: n.buddy, newest: n.newest, installed: n.installed, puts: n.puts, attached: n.attached, links: n.links, ghost: n.ghost,
		offers: len(n.offer) > 0}
	flushed := n.log.Flushed()
	s.unflushed = flushed != n.log.Tail()
	for i := range recs {
		r := &recs[i]
		if r.pos >= flushed {
			s.lost++
		}
		if r.kind == record.Marker {
			continue
		}
		if !n.up {
			s.ts[r.key] = max(s.ts[r.key], r.ts)
		}
		if r.end <= flushed {
			s.durable[r.key] = max(s.durable[r.key], r.ts)
		}
		// What is not in the canonical form is another history's as well.
		if kept := n.e.canon.kept; kept[n.e.canon.rank(r.pos)%len(kept)] == r.pos {
			s.written = append(s.written, stamp{r.key, r.ts, r.value})
		}
	}
	if !n.up {
		return s
	}
	for i := range n.ops {
		if n.ops[i].kind != noOp {
			s.nops++
		}
	}
	for i := range n.kept {
		s.kept[i] = n.kept[i].inc
	}
	for k, h := range n.e.hashes {
		if w := n.word(h); w != 0 {
			s.ts[k], s.locked[k] = proto.TS(recordTS(n.st.Record(w.Pos()))), w.Locked()
		}
	}
	if !n.served {
		s.action = n.m.Next()
		s.machineOfView, s.machine = n.e.viewID(n.m.View()), n.life.machine
	}
	if !n.entered {
		return s
	}
	s.live = n.rep.Live()
	s.serving = n.serving && n.leased && s.live
	s.forward = n.rep.ForwardPending() > 0
	s.busy = n.rep.ForwardPending()+n.rep.Outstanding() > 0 || s.nops > 0
	for c := range nodesMax {
		s.pubs[c] = n.publication(proto.NodeID(c))
	}
	for until := range proto.Epoch(viewsMax + 1) {
		pos, ok := n.rep.MissedFrom(until)
		if !ok {
			continue
		}
		s.ranged[until] = 1 << 7
		for k, h := range n.e.hashes {
			if w := n.word(h); w != 0 && w.Pos() >= pos {
				s.ranged[until] |= 1 << k
			}
		}
	}
	return s
}
