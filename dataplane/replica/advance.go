package replica

import (
	"math/bits"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

// first is the lowest node of a set that is not empty.
func first(s proto.NodeSet) proto.NodeID { return proto.NodeID(bits.TrailingZeros16(uint16(s))) }

// Advance is AdvanceMarks and AdvanceRoom.
func (s *Shard) Advance() (moved bool) {
	moved = s.AdvanceMarks()
	return s.AdvanceRoom() || moved
}

// AdvanceMarks turns what has arrived since the last call into watermarks and
// answers: once a burst, after OnStream, OnMarks and the flush. It reports
// whether anything that peers or clients wait for has moved.
func (s *Shard) AdvanceMarks() (moved bool) {
	flushed := s.st.Flushed()
	if d := s.spans.flushed(flushed, s.durable); d != s.durable {
		assert(d > s.durable, r2)
		s.durable = d
	}
	for m := s.fed; m != 0; m &= m - 1 {
		st := &s.streams[first(m)]
		if d := st.spans.flushed(flushed, st.durable); d != st.durable {
			assert(d > st.durable, r2)
			st.durable, moved = d, true
		}
		if s.validate(st) > 0 {
			moved = true
		}
	}
	if s.wantFlush && flushed == s.st.Tail() {
		s.wantFlush = false
	}
	if s.installed && s.settled < s.view.Epoch && flushed >= s.settleTo {
		s.settled, moved = s.view.Epoch, true
	}
	if s.installed {
		moved = s.complete() || moved
	}
	return moved
}

// AdvanceRoom does what follows from that for the space in the logs. Nobody waits
// for it as long as there is some: it may come once the watermarks are out.
func (s *Shard) AdvanceRoom() (moved bool) {
	if !s.installed {
		return false
	}
	s.advanceStable(s.st.Flushed())
	return s.updateRoom()
}

// complete computes visible, stable and answered of the own stream from the
// members' acknowledgements, by the model's row (protocol.md, "The five models
// are a table"). A member that is gone does not count; a new shadow counts
// from its start, so nothing steps back.
func (s *Shard) complete() (moved bool) {
	applied, durable := s.out.Tail(), s.durable
	if plant.Is(plant.OwnUnflushed) {
		durable = applied
	}
	for m := s.view.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		p := &s.peers[first(m)]
		if plant.Is(plant.ShadowUncounted) && s.view.Shadow.Has(first(m)) {
			continue
		}
		applied, durable = min(applied, p.applied), min(durable, p.durable)
		if plant.Is(plant.FirstSettles) {
			break
		}
	}
	through := [2]uint64{proto.Applied: applied, proto.Durable: min(applied, durable)}
	visible, answered, scoped := through[s.gates.Read], through[s.gates.Answer], through[proto.Durable]
	if plant.Is(plant.ReadEarly) {
		visible = applied
	}
	if plant.Is(plant.AnswerEarly) {
		answered = applied
	}
	if plant.Is(plant.PersistEarly) {
		scoped = applied
	}
	if visible > s.visible {
		s.visible, moved = visible, true
	}
	if answered > s.answered {
		s.answered, moved = answered, true
	}
	if v := through[proto.Durable]; v > s.stable {
		s.stable, moved = v, true
	}
	q := &s.queue
	for ahead := s.visAt; s.visAt < q.tail && q.at(s.visAt).seq <= s.visible; {
		if ahead == s.visAt && q.tail-s.visAt > 1 { // one alone has nothing to overlap with
			for ; ahead < q.tail && ahead < s.visAt+unlockAhead; ahead++ {
				s.st.PrefetchKey(q.at(ahead).hash)
			}
		}
		s.becomeVisible(&q.at(s.visAt).entry)
		s.visAt++
	}
	for s.answerAt < q.tail && q.at(s.answerAt).seq <= s.answered {
		if o := q.at(s.answerAt); o.handle != NoHandle {
			s.done = append(s.done, Completion{o.handle, o.ts, 0})
		}
		s.answerAt++
	}
	q.head = min(s.visAt, s.answerAt)
	for s.persists.len() > 0 && s.persists.front().seq <= scoped {
		s.done = append(s.done, Completion{s.persists.front().handle, 0, 0})
		s.persists.pop()
		moved = true
	}
	s.spans.stable(s.stable)
	// All members have applied what is visible, and a new shadow is fed from
	// visible (H18).
	if plant.Is(plant.H18Reclaim) {
		s.out.Reclaim(applied)
	}
	s.out.Reclaim(min(s.visible, applied))
	return moved
}

// advanceStable moves the stable position: the lowest log position of an
// entry, from any stream, that is not stable, and never above the flushed mark
// (H20). It stays while a view settles (H16) and while records of a gone owner
// wait for their roll-forward: they are in no stream that could hold it.
func (s *Shard) advanceStable(flushed uint64) {
	if s.held {
		if (!s.Live() || !s.allSettled()) && !plant.Is(plant.H16Promoted) {
			return
		}
		s.held = false
	}
	if s.forward.len() > 0 && !plant.Is(plant.ForwardStable) {
		return
	}
	if floor := s.floor(flushed); floor > s.stablePos {
		assert(floor <= flushed || plant.Is(plant.H20Flushed), r5)
		s.stablePos = floor
	}
}

// floor is the lowest log position of an entry, from any stream, that is not
// stable yet, or the flushed position if that is lower.
func (s *Shard) floor(flushed uint64) uint64 {
	floor := s.lentFloor(s.spans.floor(s.st.Tail()))
	if !plant.Is(plant.H20Flushed) {
		floor = min(floor, flushed)
	}
	for m := s.fed; m != 0; m &= m - 1 {
		floor = s.streams[first(m)].spans.floor(floor)
	}
	return floor
}

// lentFloor is floor, or the position of the first lent record that is still
// waiting for its stream if that is lower: others may lack it, and nothing that
// they flushed when a view was settled covers it. Lent records are in the order
// of their positions; those that are settled at the front are forgotten.
func (s *Shard) lentFloor(floor uint64) uint64 {
	for len(s.lent) > 0 && !plant.Is(plant.LentStable) {
		l := &s.lent[0]
		if current, locked := s.st.References(l.hash, l.pos); current && locked {
			return min(floor, l.pos)
		}
		s.lent = s.lent[1:]
	}
	return floor
}

// allSettled reports whether every live member, this node included, has
// flushed through its install of the view that this node waits for.
func (s *Shard) allSettled() bool {
	if s.settled < s.settleAt {
		return false
	}
	for m := s.view.Live.Without(s.self.Node); m != 0; m &= m - 1 {
		if s.peers[first(m)].settled < s.settleAt {
			return false
		}
	}
	return true
}

// StablePos is the shard's stable position: [StablePos, tail) is HEAL's
// partially persisted list.
func (s *Shard) StablePos() uint64 { return s.stablePos }

// Settled reports whether the present view is flushed at this node.
func (s *Shard) Settled() bool { return s.installed && s.settled == s.view.Epoch }

// updateRoom tops up the log space that is set aside for every coordinator.
// What is guaranteed and not yet used never exceeds the free space less the
// reserve, whoever asks first (H28).
func (s *Shard) updateRoom() (moved bool) {
	members := s.view.Members()
	n := uint64(members.Count())
	reserve := 2 * n * deleteReserve
	if plant.Is(plant.H28Reserve) {
		reserve = 0
	}
	free := s.st.SureBytes()
	if free <= reserve {
		s.st.Press(true)
		return false
	}
	space := free - reserve
	// A record takes a word of the index, at most. The reserve takes none:
	// deletes and replays are of keys that are there.
	free = min(space, s.freeKeys()*recordBytesMin)
	used := s.limit - min(s.limit, s.out.Tail())
	for m := members.Without(s.self.Node); m != 0; m &= m - 1 {
		st := &s.streams[first(m)]
		used += st.limit - min(st.limit, st.applied)
	}
	if plant.Is(plant.H28Used) {
		used = 0
	}
	// What an idle coordinator was guaranteed is free for nobody else. So it is
	// little beside what is free when the cleaner begins, and when it is all
	// there is, space is short. So it is when a share would not take a large record:
	// whoever has one to write would wait for ever.
	large := min(s.out.Size(), s.st.SureLargest())
	s.st.Press(space <= used || space/(n+1) < large)
	if free <= used {
		return false
	}
	spare := free - used
	most := max(s.st.SureLargest()*5/4, s.st.SureWhenCleaning()/(8*(n+1)))
	share := min(s.out.Size(), free/(n+1), most)
	s.limit, spare = topUp(s.limit, s.out.Tail()+share, spare)
	for m := members.Without(s.self.Node); m != 0; m &= m - 1 {
		st := &s.streams[first(m)]
		if !st.in {
			continue
		}
		// Publishing every few bytes of room would be noise.
		want := st.applied + share
		if want-min(want, st.limit) < share/8 {
			continue
		}
		was := st.limit
		st.limit, spare = topUp(st.limit, want, spare)
		moved = moved || st.limit != was
	}
	return moved
}

// topUp raises limit towards want by at most spare.
func topUp(limit, want, spare uint64) (newLimit, left uint64) {
	if want <= limit {
		return limit, spare
	}
	d := min(want-limit, spare)
	return limit + d, spare - d
}
