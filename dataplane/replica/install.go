package replica

import (
	"encoding/binary"
	"errors"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// Install takes in a newer view that has this life as a member (protocol.md,
// "Installing view e at n", steps 1 to 5). The loop has detached the members
// that are gone before, and attached the new ones; afterwards it feeds each
// new member from FeedFrom.
//
// Views may be skipped: the last one installed is compared with v.
func (s *Shard) Install(v *proto.View) {
	assert(v.Epoch > s.view.Epoch && v.Has(s.self), r4)
	old := s.view
	was := s.installed
	if !was {
		old = proto.View{}
	}
	promoted := was && !old.Live.Has(s.self.Node) && v.Live.Has(s.self.Node)

	// What was visible before its owner went is not rolled forward: take it in
	// with the present view still in force.
	someGone := false
	for m := old.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		if n := first(m); !v.Has(old.Member(n)) {
			someGone = true
			s.forget(n)
		}
	}
	s.view, s.installed = *v, true
	s.reclaimLent()
	s.appendMarker()
	for m := v.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		if n := first(m); !old.Has(v.Member(n)) {
			s.meet(v.Member(n))
		}
	}
	if someGone && !plant.Is(plant.H16Gone) || promoted || !was {
		s.held, s.settleAt = true, v.Epoch
	}
	s.settleTo = s.st.Tail()
	s.wantFlush = true
	s.exhausted = false
}

// forget drops a member that is gone. Its entries that are locked here become
// the roll-forward cursor's work.
func (s *Shard) forget(n proto.NodeID) {
	st := &s.streams[n]
	if !plant.Is(plant.ForwardUnseen) {
		s.validate(st)
	}
	for ; st.entries.len() > 0; st.entries.pop() {
		if e := st.entries.front(); e.pos != 0 && !plant.Is(plant.H7Forget) {
			s.forward.push(pending{e.hash, e.pos})
		}
	}
	st.in, s.fed = false, s.fed.Without(n)
	st.entries.reset()
	st.spans.clear()
	flushed := s.peers[n].flushed
	if plant.Is(plant.H19Saw) {
		flushed = 0
	}
	if plant.Is(plant.DeadMember) {
		return
	}
	s.peers[n] = peer{flushed: flushed}
}

// reclaimLent makes the adopted locked records whose owner is gone the
// roll-forward cursor's work, and forgets those that have been settled.
func (s *Shard) reclaimLent() {
	kept := s.lent[:0]
	for _, l := range s.lent {
		if current, locked := s.st.References(l.hash, l.pos); !current || !locked {
			continue
		}
		if s.view.Has(l.owner) || plant.Is(plant.H7Lent) {
			kept = append(kept, l)
		} else {
			s.forward.push(l.pending)
		}
	}
	s.lent = kept
}

// meet starts the books of a new member: it reads the own stream from visible
// on and counts as having what lies below, which it gets from its buddy.
func (s *Shard) meet(m proto.Member) {
	from, dead := s.visible, s.peers[m.Node]
	if plant.Is(plant.H6Feed) {
		from = s.out.Tail()
	}
	s.peers[m.Node] = peer{in: true, start: from, applied: from, durable: from}
	if plant.Is(plant.DeadMember) && dead.in {
		s.peers[m.Node].applied, s.peers[m.Node].durable = dead.applied, dead.durable
	}
	st := &s.streams[m.Node]
	st.member, st.in, s.fed = m, false, s.fed.Without(m.Node)
	st.entries.reset()
	st.spans.clear()
	st.applied, st.durable, st.visible, st.stable, st.limit, st.barrier = 0, 0, 0, 0, 0, 0
}

// FeedFrom is the position from which a new member reads the own stream.
func (s *Shard) FeedFrom(n proto.NodeID) uint64 { return s.peers[n].start }

// Fed starts taking a member's stream at the position it was fed from. It is
// false if the node is no member or is taken already.
func (s *Shard) Fed(n proto.NodeID, from uint64) bool {
	st := &s.streams[n]
	if st.in || !s.peers[n].in {
		return false
	}
	st.in, s.fed = true, s.fed.With(n)
	st.applied, st.durable, st.visible, st.stable, st.limit = from, from, from, from, from
	for _, l := range s.lent { // the next install forgets them
		if l.owner == st.member && l.seq <= from && !plant.Is(plant.H7Fed) {
			s.becomeVisible(&entry{hash: l.hash, pos: l.pos})
		}
	}
	return true
}

// Following reports whether a member's stream is being taken.
func (s *Shard) Following(n proto.NodeID) bool { return s.streams[n].in }

// Applied is how far a member's stream is applied here.
func (s *Shard) Applied(n proto.NodeID) uint64 { return s.streams[n].applied }

// appendMarker logs the view with the stable position, and with it the older
// markers from which some absent node's missed range would start: so only the
// newest marker record is ever needed (protocol.md, "Rejoin of f", 4).
func (s *Shard) appendMarker() {
	keep := s.markers[:0]
	for i, m := range s.markers {
		if s.neededMarker(i, m) && !plant.Is(plant.MarkersDropped) {
			keep = append(keep, m)
		}
	}
	s.markers = append(keep, marker{s.view.Epoch, s.stablePos})
	s.markersBuf = encodeMarkers(s.markersBuf[:0], s.markers)
	h := record.Header{Seq: s.stablePos, Epoch: uint32(s.view.Epoch), OwnerNode: uint8(s.self.Node),
		OwnerIncarnation: uint32(s.self.Incarnation), Kind: record.Marker}
	s.st.AppendMarker(&h, s.markersBuf)
}

// neededMarker reports whether marker i is the first above some absent node's
// liveUntil.
func (s *Shard) neededMarker(i int, m marker) bool {
	for a := s.view.Configured &^ s.view.Live; a != 0; a &= a - 1 {
		u := s.view.LiveUntil[first(a)]
		if u > 0 && m.epoch > u && (i == 0 || s.markers[i-1].epoch <= u) {
			return true
		}
	}
	return false
}

// MissedFrom is the log position from which a node that was last live in view
// until misses records here: the position in the first marker above that view.
// ok is false when there is no such range (never live with its present pool).
func (s *Shard) MissedFrom(until proto.Epoch) (pos uint64, ok bool) {
	m, ok := s.firstMarker(until)
	return m.pos, ok
}

func (s *Shard) firstMarker(until proto.Epoch) (marker, bool) {
	if until == 0 {
		return marker{}, false
	}
	for i, m := range s.markers {
		if m.epoch > until && (!plant.Is(plant.H2Range) || i == len(s.markers)-1) {
			return m, true
		}
	}
	return marker{}, false
}

const markerBytes = 12

var errMarkers = errors.New("replica: the marker record in the log is malformed")

func encodeMarkers(dst []byte, list []marker) []byte {
	for _, m := range list {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(m.epoch))
		dst = binary.LittleEndian.AppendUint64(dst, m.pos)
	}
	return dst
}

func decodeMarkers(b []byte) ([]marker, error) {
	if len(b)%markerBytes != 0 || len(b) > markerBytes*(proto.NodesMax+1) {
		return nil, errMarkers
	}
	list := make([]marker, 0, proto.NodesMax+2)
	for ; len(b) > 0; b = b[markerBytes:] {
		m := marker{proto.Epoch(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint64(b[4:])}
		if len(list) > 0 && m.epoch <= list[len(list)-1].epoch {
			return nil, errMarkers
		}
		list = append(list, m)
	}
	return list, nil
}
