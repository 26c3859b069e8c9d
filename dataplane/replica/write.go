package replica

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// Admission is what became of a client's write when it was offered.
type Admission uint8

const (
	Taken       Admission = iota
	NotServing            // not live, or the lease is gone: rejected
	RingFull              // back-pressure: offer it again
	NoRoom                // some member has no log space for it now: offer again or reject
	NoKeys                // the index takes no new keys: reject
	NeedsView             // version exhausted or record of a newer epoch: reject for now
	Unsupported           // PERSIST without scopes in the model
	Hurt                  // the key's record is damaged and its timestamp lost: reject until it is repaired
	Absent                // delete of a key that was never written: nothing to do, as a read that misses
)

// deleteReserve is log space every member keeps for each coordinator's
// deletes and replays beyond the published room: a full pool still takes them.
const deleteReserve = 64 << 10

// Write is the coordinator's half of a write (protocol.md, "Write at
// coordinator c", 1 to 3). kind is Put or Delete. leased says that the lease
// holds now. existed is whether the key had a value.
//
// It is Offer and Keep.
func (s *Shard) Write(kind record.Kind, hash uint64, key, value []byte, scope uint32, leased bool, h Handle) (a Admission, ts proto.TS, existed bool) {
	a, ts, existed = s.Offer(kind, hash, key, value, scope, leased, h)
	if a == Taken {
		s.Keep()
	}
	return a, ts, existed
}

// Offer is Write as far as the stream; if it was taken, Keep is the next event. The
// stream may be published in between: members apply the entry while it goes into
// the own log, and nothing they say of it is heard before. Should this node die
// there, they have a record that it lacks, as after a flush that only it has lost:
// whoever has it rolls it forward, in the next view or at a cold start, and the
// client's answer is "unknown".
func (s *Shard) Offer(kind record.Kind, hash uint64, key, value []byte, scope uint32, leased bool, h Handle) (a Admission, ts proto.TS, existed bool) {
	if !leased && !plant.Is(plant.WriteUnleased) || !s.Live() && !plant.Is(plant.WriteUnlive) {
		return NotServing, 0, false
	}
	n := record.Bytes(len(key), len(value))
	reserve := uint64(0)
	if kind == record.Delete {
		reserve = deleteReserve
	}
	if !s.roomFor(uint64(n), reserve) && !plant.Is(plant.H28Ask) {
		if s.roomOwed() {
			s.Counters.RingFull++
			return RingFull, 0, false
		}
		s.Counters.NoRoom++
		return NoRoom, 0, false
	}
	e := &s.scratch
	s.st.Find(e, hash, key)
	if e.Damaged && e.Floor == store.TSUnknown && !plant.Is(plant.DamageFloor) {
		// What the members hold may be newer than any timestamp made here.
		s.Counters.Hurt++
		return Hurt, 0, false
	}
	if !e.OK && !e.Damaged {
		// No member can have answered anything about the key but "missing", so
		// a tombstone would only take space, for ever.
		if kind == record.Delete {
			return Absent, 0, false
		}
		if s.keysShort() {
			s.Counters.NoRoom++
			return NoKeys, 0, false
		}
	}
	base := e.TS
	if e.Damaged && !plant.Is(plant.DamageFloor) {
		base = max(base, e.Floor)
	}
	ts, ok := proto.TS(base).Next(s.view.Epoch, s.self.Node)
	if !ok {
		s.exhausted = proto.TS(base).Epoch() <= s.view.Epoch
		return NeedsView, 0, false
	}
	dst, end, ok := s.out.Next(n)
	if !ok {
		s.Counters.RingFull++
		return RingFull, 0, false
	}
	hd := &s.head
	*hd = record.Header{TS: uint64(ts), Seq: end, Hash: hash, OwnerIncarnation: uint32(s.self.Incarnation),
		Epoch: uint32(s.view.Epoch), Scope: scope, OwnerNode: uint8(s.self.Node), Kind: kind}
	record.Encode(dst, hd, key, value, record.Seed(end-uint64(n), hd.OwnerIncarnation))
	existed = e.OK && !e.Tombstone || !e.OK && e.Damaged // behind the damage there was something
	s.offered = offered{dst, end, ts, h}
	s.Counters.Writes++
	return Taken, ts, existed
}

// offered is an entry that stands in the stream and not yet in the own log; its
// header is in Shard.head, and its key looked up in Shard.scratch.
type offered struct {
	img    []byte
	end    uint64
	ts     proto.TS
	handle Handle
}

// Keep puts the entry of the last Offer into the own log.
func (s *Shard) Keep() {
	o := &s.offered
	assert(o.end == s.out.Tail(), r6)
	s.appendOwn(o.img, o.end, s.head.Hash, o.ts, o.handle)
}

// appendOwn appends an image that stands in the ring (header in s.head, key
// looked up in s.scratch) to the own log and queues it. Own log and stream
// hold the same body; only the header's seal differs.
func (s *Shard) appendOwn(img []byte, end, hash uint64, ts proto.TS, h Handle) {
	before := s.st.Tail()
	assert(uint64(ts) >= s.scratch.TS, r1)
	pos := s.st.PutCopy(&s.scratch, &s.head, img, !plant.Is(plant.OwnUnlocked))
	if pos == 0 {
		s.indexFull(nil)
	}
	s.spans.note(end, before, s.st.Tail())
	s.queue.push(own{entry{end, hash, pos}, ts, h})
}

// note extends the newest span if that has not been published as a burst of
// its own, which is when it is not flushed yet, nor on its way, and short; else
// it adds one.
func (s *spans) note(seq, before, after uint64) {
	if max(s.durable, s.fixed) < s.tail {
		if b := s.back(); after-b.before < spanBytes {
			b.seq, b.after = seq, after
			return
		}
	}
	s.add(seq, before, after)
}

// FlushStarted says that a flush through the present tail has begun and goes on
// beside the caller: what is written from here on belongs to the next one, and
// must not keep what came before waiting.
func (s *Shard) FlushStarted() {
	if !plant.Is(plant.FlushExtended) {
		s.spans.fixed = s.spans.tail
	}
}

// spanBytes bounds how much of the own stream one span covers.
const spanBytes = 16 << 10

// Persist appends a PERSIST entry for the scope: since it follows the scope's
// writes in the stream, the durable watermark answers it.
func (s *Shard) Persist(scope uint32, leased bool, h Handle) Admission {
	if !s.gates.Scopes {
		return Unsupported
	}
	if !leased || !s.Live() {
		return NotServing
	}
	dst, end, ok := s.out.Next(record.HeaderBytes)
	if !ok {
		s.Counters.RingFull++
		return RingFull
	}
	s.appendPersist(dst, end, scope, 0)
	s.persists.push(persist{end, h})
	return Taken
}

// appendPersist makes dst, which ends at the stream position end, a PERSIST.
func (s *Shard) appendPersist(dst []byte, end uint64, scope, flags uint32) {
	hd := &s.head
	*hd = record.Header{Seq: end, OwnerIncarnation: uint32(s.self.Incarnation), Epoch: uint32(s.view.Epoch),
		Scope: scope, Flags: flags, OwnerNode: uint8(s.self.Node), Kind: record.Persist}
	record.Encode(dst, hd, nil, nil, record.Seed(end-record.HeaderBytes, hd.OwnerIncarnation))
	tail := s.st.Tail()
	s.spans.note(end, tail, tail)
	s.queue.push(own{entry{end, 0, 0}, 0, NoHandle})
	s.wantFlush = true
}

// roomFor reports whether every member, this node included, has set log space
// aside for n more bytes of the own stream (H28).
func (s *Shard) roomFor(n, reserve uint64) bool {
	end := s.out.Tail() + n
	if end > s.limit+reserve {
		return false
	}
	for m := s.view.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		if end > s.peers[first(m)].room+reserve {
			return false
		}
	}
	return true
}

// roomOwed reports whether some member has not said yet how much log space it
// has: it has just joined, which is no full pool.
func (s *Shard) roomOwed() bool {
	for m := s.view.Members().Without(s.self.Node); m != 0; m &= m - 1 {
		if p := &s.peers[first(m)]; p.room <= p.start {
			return true
		}
	}
	return false
}

// RollForward appends up to budget pending records to the own stream and log:
// same timestamp and value, this node as owner (protocol.md, "Installing view
// e at n", 2). It is a cursor: it stops when the ring is full and goes on at
// the next call, ahead of client writes, and never blocks applying (H30).
func (s *Shard) RollForward(budget int) (did int) {
	for ; budget > 0 && s.forward.len() > 0; budget-- {
		p := *s.forward.front()
		if current, locked := s.st.References(p.hash, p.pos); current && locked {
			if !s.replay(p) {
				break
			}
			did++
		}
		s.forward.pop()
	}
	return did
}

// replay appends one locked record of an earlier owner to the own stream. It
// is false when ring or log have no space now.
func (s *Shard) replay(p pending) bool {
	if !s.st.Whole(p.pos) && !plant.Is(plant.DamageForward) {
		// Whoever else has it rolls it forward. The key is refused meanwhile; a
		// lookup queues the damage.
		s.Counters.ForwardHurt++
		s.st.NoteRecord(p.hash, p.pos)
		return true
	}
	img := s.st.Record(p.pos)
	hd := &s.head
	record.Decode(img, hd)
	n := hd.Bytes()
	if !s.st.Fits(n) {
		s.Counters.StalledNoSpace++
		return false
	}
	dst, end, ok := s.out.Next(n)
	if !ok {
		s.Counters.RingFull++
		return false
	}
	hd.Seq, hd.Epoch, hd.Flags, hd.Durable = end, uint32(s.view.Epoch), 0, 0
	if plant.Is(plant.ForwardTS) {
		ts, _ := proto.TS(hd.TS).Next(s.view.Epoch, s.self.Node)
		hd.TS = uint64(ts)
	}
	hd.OwnerNode, hd.OwnerIncarnation = uint8(s.self.Node), uint32(s.self.Incarnation)
	record.EncodeCopy(dst, hd, img, record.Seed(end-uint64(n), hd.OwnerIncarnation))
	s.st.Find(&s.scratch, p.hash, record.Key(dst))
	s.appendOwn(dst, end, p.hash, proto.TS(hd.TS), NoHandle)
	s.Counters.RolledForward++
	return true
}
