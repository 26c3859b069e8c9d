package replica

import (
	"bytes"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
)

// ReadState is what a read at the worker found.
type ReadState uint8

const (
	ReadNow     ReadState = iota // answered by the record at the position
	ReadMissing                  // no such key
	ReadWaits                    // locked: a Completion will answer
	ReadRefused                  // not live or no lease
	ReadBusy                     // too many reads wait: reject for now
	ReadHurt                     // a record that may be the key's is damaged: reject until it is repaired
)

// Read answers a read from the own log, or lets it wait for the timestamp it
// found locked (protocol.md, "Read at node n"). key must stay unchanged until
// the read is answered or cancelled.
//
// A read that waited gives the record it found locked, not a newer one that
// became visible first: the newer one may be a write that the same client
// submitted after its read, and the commands of one connection take effect in
// order. It is not too old: no member had applied anything newer when the read
// began and could still complete before it, and once something newer is
// visible, what it found stands in the order of timestamps just before that.
func (s *Shard) Read(hash uint64, key []byte, leased bool, h Handle) (pos uint64, ts proto.TS, state ReadState) {
	if (!leased || !s.Live()) && !plant.Is(plant.ReadUnleased) {
		return 0, 0, ReadRefused
	}
	e := &s.scratch
	s.st.Find(e, hash, key)
	switch {
	case e.Damaged:
		return 0, 0, ReadHurt
	case !e.OK:
		return 0, 0, ReadMissing
	case !e.Locked || plant.Is(plant.ReadLocked):
		return e.Pos, proto.TS(e.TS), ReadNow
	case !s.st.Whole(e.Pos) && !plant.Is(plant.DoubtWaits):
		// Nobody rolls forward what does not verify: a leftover would keep its
		// readers waiting for ever.
		s.st.NoteRecord(hash, e.Pos)
		return 0, 0, ReadHurt
	}
	if !s.waiters.add(waiter{hash: hash, ts: e.TS, pos: e.Pos, key: key, handle: h}) {
		return 0, 0, ReadBusy
	}
	s.Counters.LockedReads++
	return 0, 0, ReadWaits
}

// Cancel takes back a waiting read. It is false if none waits.
func (s *Shard) Cancel(hash uint64, h Handle) bool { return s.waiters.cancel(hash, h) }

// wake answers the reads that wait for the key of the record at pos with a
// timestamp not above its own, even if that record is superseded by now: a hot
// key under a stream of writes must not starve its readers (H26).
func (s *Shard) wake(hash, pos uint64) {
	w := &s.waiters
	sound := s.st.Whole(pos)
	link := &w.bucket[hash%waiterBuckets]
	for *link >= 0 {
		i := *link
		x := &w.slot[i]
		if x.hash == hash {
			if !sound { // whose it was is not known: the answer says that it is damaged
				s.done = append(s.done, Completion{x.handle, 0, pos})
				*link = x.next
				w.release(i)
				continue
			}
			img := s.st.Record(pos)
			if ts := record.TS(img); (x.ts <= ts || plant.Is(plant.WakeOlder)) && (bytes.Equal(x.key, record.Key(img)) || plant.Is(plant.WakeKey)) {
				c := Completion{x.handle, proto.TS(ts), pos}
				if x.ts < ts && s.st.Record(x.pos) != nil { // gone only if it came with no stream
					c.TS, c.Pos = proto.TS(x.ts), x.pos
				}
				s.done = append(s.done, c)
				*link = x.next
				w.release(i)
				continue
			}
		}
		link = &x.next
	}
}

const waiterBuckets = 1024

// waiter is one read that found its record locked.
type waiter struct {
	hash   uint64
	ts     uint64 // of the record when it was found
	pos    uint64
	key    []byte
	handle Handle
	next   int32
}

// waiters is a table of waiting reads by hash, of fixed size.
type waiters struct {
	slot   []waiter
	free   int32
	count  int
	bucket [waiterBuckets]int32
}

func newWaiters(n int) waiters {
	w := waiters{slot: make([]waiter, n), free: -1}
	for i := range w.bucket {
		w.bucket[i] = -1
	}
	for i := n - 1; i >= 0; i-- {
		w.slot[i].next = w.free
		w.free = int32(i)
	}
	return w
}

func (w *waiters) add(x waiter) bool {
	i := w.free
	if i < 0 {
		return false
	}
	w.free = w.slot[i].next
	b := &w.bucket[x.hash%waiterBuckets]
	x.next = *b
	w.slot[i] = x
	*b = i
	w.count++
	return true
}

func (w *waiters) release(i int32) {
	w.slot[i] = waiter{next: w.free}
	w.free = i
	w.count--
}

func (w *waiters) cancel(hash uint64, h Handle) bool {
	for link := &w.bucket[hash%waiterBuckets]; *link >= 0; link = &w.slot[*link].next {
		if i := *link; w.slot[i].hash == hash && w.slot[i].handle == h {
			*link = w.slot[i].next
			w.release(i)
			return true
		}
	}
	return false
}
