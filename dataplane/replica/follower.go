package replica

import (
	"errors"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// What a peer's bytes can be refused for. The loop counts it, cuts the
// connection and leaves the rest to the control plane.
var (
	ErrEntry = errors.New("replica: a peer's stream entry failed its checks")
	ErrMarks = errors.New("replica: a peer's watermarks are impossible")
)

// OnStream applies entries of member c's stream, at most budget bytes, in
// order (protocol.md, "INV from c at follower f"). It stops before an entry of
// a view that is not installed here (H4), and when the log has no space. An
// error means that the bytes make no stream: nothing of the bad entry has
// taken effect.
func (s *Shard) OnStream(c proto.NodeID, m *ring.Mirror, budget int) (bytes int, err error) {
	st := &s.streams[c]
	if !st.in || s.failure != nil || plant.Is(plant.H30Apply) && s.forward.len() > 0 {
		return 0, nil
	}
	before := s.st.Tail()
	for bytes < budget && err == nil {
		var w []byte
		if w, err = m.Window(); len(w) == 0 {
			break
		}
		s.goOn(&st.ahead, w, m.Cursor())
		var n int
		var wait bool
		if n, wait, err = s.apply(st, w, m.Cursor()); wait || err != nil {
			break
		}
		m.Advance(n)
		bytes += n
	}
	if err != nil {
		s.Counters.BadEntries++
	}
	// What was good before a bad entry is applied: its span must hold the
	// stable position (R5).
	if m.Cursor() != st.applied {
		if st.applied = m.Cursor(); plant.Is(plant.AckEarly) {
			st.applied = m.Limit()
		}
		after := s.st.Tail()
		if plant.Is(plant.H11Loser) && after == before {
			after = 0 // nothing was appended
		}
		st.spans.add(st.applied, before, after)
	}
	return bytes, err
}

// apply handles the first entry of the window, which starts at the stream
// position at.
//
// The entry lies in memory its coordinator can write: the header is checked as
// a copy, and the body's checksum is verified on the own log's copy before the
// index changes (H27). A loser is never copied: it only counts for the
// watermarks, since the record that beat it stands below the log's tail (H11).
func (s *Shard) apply(st *stream, w []byte, at uint64) (n int, wait bool, err error) {
	hd := &s.head
	if copy(s.headBytes[:], w) < record.HeaderBytes { // read shared bytes once
		return 0, false, ErrEntry
	}
	err = record.VerifyHeader(s.headBytes[:], record.Seed(at, uint32(st.member.Incarnation)), hd)
	if err != nil && err != record.ErrShort { // short: the body is not in the copy
		return 0, false, err
	}
	n = hd.Bytes()
	if n > len(w) || hd.Seq != at+uint64(n) && !plant.Is(plant.EntrySeq) || hd.OwnerNode != uint8(st.member.Node) ||
		hd.OwnerIncarnation != uint32(st.member.Incarnation) && !plant.Is(plant.H9Entry) {
		return 0, false, ErrEntry
	}
	if proto.Epoch(hd.Epoch) > s.view.Epoch && !plant.Is(plant.H4Entries) {
		s.Counters.WaitedForView++
		return 0, true, nil
	}
	if hd.Kind == record.Persist {
		s.wantFlush = !plant.Is(plant.PersistNoFlush)
		if hd.Flags&record.FlagBarrier != 0 {
			st.barrier = proto.Epoch(hd.Epoch)
		}
		return n, false, nil
	}
	if hd.Kind != record.Put && hd.Kind != record.Delete || proto.TS(hd.TS).Epoch() > s.view.Epoch && !plant.Is(plant.H4Entries) {
		return 0, false, ErrEntry
	}
	if !s.st.Fits(n) {
		s.Counters.StalledNoSpace++
		return 0, true, nil
	}
	img := w[:n]
	// Lengths come from the checked copy, not from memory the peer can change.
	key := img[record.HeaderBytes : record.HeaderBytes+int(hd.KeyLen)]
	hash := s.st.Hash(key)
	if hash != hd.Hash {
		// The body of what loses is never verified: a damaged key may be another
		// one, whose record is newer, and the entry would count as applied.
		return 0, false, record.ErrBody
	}
	e := &s.scratch
	s.st.Find(e, hash, key)
	if e.OK && hd.TS < e.TS && !plant.Is(plant.OldWins) {
		s.Counters.Superseded++
		return n, false, nil
	}
	if s.skip() { // never outside a test build
		return n, false, nil
	}
	locked := !plant.Is(plant.AppliedUnlocked)
	if e.OK && hd.TS == e.TS && !plant.Is(plant.ReplayLocks) { // a replay: what was readable stays readable
		locked = e.Locked && !plant.Is(plant.ReplayUnlocks)
		s.Counters.Confirmed++
	}
	hd.Hash, hd.Flags = hash, 0
	pos, err := s.st.PutVerified(e, hd, img, locked)
	switch {
	case err == record.ErrBody:
		return 0, false, err
	case err != nil: // not the peer's fault
		s.indexFull(err)
		return 0, true, nil
	}
	st.entries.push(entry{hd.Seq, hash, pos})
	return n, false, nil
}

// OnMarks takes in member p's line of watermarks: what it acknowledges of the
// own stream, and how far its own stream is visible and stable.
func (s *Shard) OnMarks(p proto.NodeID, m *rdma.Marks) error {
	st, pr := &s.streams[p], &s.peers[p]
	if pr.in {
		if (m.Applied > s.out.Tail() || m.Durable > s.out.Tail()) && !plant.Is(plant.MarksAhead) {
			return ErrMarks
		}
		pr.applied = max(pr.applied, m.Applied)
		pr.durable = max(pr.durable, m.Durable)
		if plant.Is(plant.MarksBack) {
			pr.applied, pr.durable = m.Applied, m.Durable
		}
		pr.room = max(pr.room, m.Room)
		pr.settled = max(pr.settled, proto.Epoch(m.Settled))
		pr.flushed = max(pr.flushed, m.Flushed)
	}
	// VAL: only from a view that is installed here too (H3).
	if !st.in || m.Epoch > uint64(s.view.Epoch) && !plant.Is(plant.H3Marks) {
		return nil
	}
	st.stable = max(st.stable, m.Stable)
	if m.Visible > st.visible {
		st.visible = m.Visible
	}
	return nil
}

// unlockAhead is how many entries' keys are asked for at a time before they are
// made visible.
const unlockAhead = 12

// validate makes entries visible through the stream's watermark: they unlock
// their records if the record is still that very append.
func (s *Shard) validate(st *stream) (did int) {
	q := &st.entries
	for ahead := q.head; q.len() > 0 && q.front().seq <= st.visible; {
		if ahead == q.head && q.len() > 1 { // one alone has nothing to overlap with
			for ; ahead < q.tail && ahead < q.head+unlockAhead; ahead++ {
				s.st.PrefetchKey(q.at(ahead).hash)
			}
		}
		s.becomeVisible(st.entries.front())
		st.entries.pop()
		did++
	}
	st.spans.stable(min(st.stable, st.applied))
	return did
}

// becomeVisible unlocks one entry's record and answers the reads that waited
// for it or for an older one of its key (H26).
func (s *Shard) becomeVisible(e *entry) {
	if e.pos == 0 {
		return
	}
	current := s.st.Unlock(e.hash, e.pos)
	if s.waiters.count > 0 && (current || !plant.Is(plant.H26Wake)) {
		s.wake(e.hash, e.pos)
	}
}
