package dataplane

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/pmem/record"
)

// collect takes the lanes that were kicked, in the order of the kicks.
func (w *Worker) collect() {
	if w.ready.Load() == nil {
		return
	}
	var first *lane
	for l := w.ready.Swap(nil); l != nil; {
		l.next, first, l = first, l, l.next
	}
	for l := first; l != nil; {
		next := l.next
		l.next = nil
		w.active = append(w.active, l)
		l = next
	}
}

// clients takes operations from the sessions' lanes, in the order of each
// lane, until the burst is full or a write must wait for ring or log space.
func (w *Worker) clients() (moved bool) {
	if len(w.active) == 0 && len(w.parked) == 0 {
		return false
	}
	w.leased = w.lease.Valid() || plant.Is(plant.WorkerLease)
	budget := w.limit.client
	moved = len(w.parked) > 0 && w.unpark()
	for i := 0; i < len(w.active) && budget > 0; {
		l := w.active[i]
		tail := l.subTail.Load()
		for keys, records := l.subHead, l.subHead; l.subHead < tail && budget > 0; {
			// One alone has nothing to overlap with.
			if records == l.subHead && tail-l.subHead > 1 {
				if keys == records {
					keys = w.askKeys(l, keys, tail)
				}
				records = w.askRecords(l, records, keys)
				keys = w.askKeys(l, keys, tail)
			}
			if !w.start(l.sub[l.subHead&l.mask], l) {
				w.Counters.RingFullTurns++
				w.rotate(i)
				return moved
			}
			l.sub[l.subHead&l.mask] = nil
			l.subHead++
			budget--
			moved = true
		}
		if l.subHead < tail {
			break
		}
		l.queued.Store(0)
		if l.subHead != l.subTail.Load() && l.queued.Swap(1) == 0 {
			continue
		}
		w.active[i] = w.active[len(w.active)-1]
		w.active[len(w.active)-1] = nil
		w.active = w.active[:len(w.active)-1]
	}
	if len(w.active) > 1 {
		w.rotate(1)
	}
	return moved
}

// opsAhead is how many operations are looked at ahead of their handling, at a
// time: for their keys' places in the index, and a burst later for their records.
const opsAhead = 12

// askKeys asks the memory for the keys of the lane's next operations, so that
// the misses overlap, and says through which it did.
func (w *Worker) askKeys(l *lane, from, tail uint64) (to uint64) {
	to = min(tail, from+opsAhead)
	for i := from; i < to; i++ {
		w.st.PrefetchKey(l.sub[i&l.mask].hash)
	}
	return to
}

// askRecords asks for the records of keys that askKeys asked for.
func (w *Worker) askRecords(l *lane, from, to uint64) uint64 {
	var hash [opsAhead]uint64
	n := 0
	for i := from; i < to; i++ {
		hash[n] = l.sub[i&l.mask].hash
		n++
	}
	w.st.PrefetchRecords(hash[:n])
	return to
}

// rotate moves the lanes before i behind the others, so that each gets turns.
func (w *Worker) rotate(i int) {
	if i == 0 || i >= len(w.active) {
		return
	}
	l := w.active[0]
	copy(w.active, w.active[1:])
	w.active[len(w.active)-1] = l
}

// start begins one operation. False: it stays at the head of its lane, for
// lack of space now.
func (w *Worker) start(op *Op, l *lane) bool {
	if op.due != 0 && op.due < w.now {
		w.end(op, l, ErrDeadline)
		return true
	}
	if len(w.parked) > 0 && w.behind(op, l) {
		w.parked = append(w.parked, parked{op, l})
		return true
	}
	h := w.free
	if h < 0 {
		w.Counters.Rejected++
		w.end(op, l, ErrOverload)
		return true
	}
	switch op.Kind {
	case OpGet:
		w.startGet(op, l, h)
		return true
	case OpPut:
		return w.startWrite(op, l, h, record.Put)
	case OpDelete:
		return w.startWrite(op, l, h, record.Delete)
	case OpPersist:
		return w.admitted(w.rep.Persist(op.Scope, w.leased, replica.Handle(h)), op, l, h)
	}
	w.end(op, l, ErrTryAgain)
	return true
}

func (w *Worker) startWrite(op *Op, l *lane, h int32, kind record.Kind) bool {
	value := op.Value
	if kind == record.Delete {
		value = nil
	}
	if w.full && kind == record.Put && w.now-w.noRoomSince < 2*w.limit.noRoomPatience {
		w.Counters.NoRoom++
		w.end(op, l, ErrNoRoom)
		return true
	}
	if planted && plantLostWrite(w, op) {
		w.end(op, l, nil)
		return true
	}
	a, ts, existed := w.rep.Offer(kind, op.hash, op.Key, value, op.Scope, w.leased, replica.Handle(h))
	op.TS, op.Existed = ts, existed
	if a == replica.Taken {
		if len(w.active) == 1 && l.subTail.Load()-l.subHead == 1 {
			w.publishStream() // it comes alone: the members need not wait for what is left to do here
		}
		if !plant.Is(plant.OfferUnkept) {
			w.rep.Keep()
		}
	}
	return w.admitted(a, op, l, h)
}

// admitted acts on the replica's verdict about an operation in slot h.
func (w *Worker) admitted(a replica.Admission, op *Op, l *lane, h int32) bool {
	switch a {
	case replica.Taken:
		if op.Kind == OpPut { // a delete finds room in a full pool too
			w.noRoomSince, w.full = 0, false
		}
		w.hold(op, l, h)
	case replica.RingFull:
		return false
	case replica.NoRoom:
		if w.noRoomSince == 0 {
			w.noRoomSince = w.now
		}
		if w.now-w.noRoomSince < w.limit.noRoomPatience {
			return false
		}
		// Refuse at once for a while, then try again.
		w.full, w.noRoomSince = true, w.now-w.limit.noRoomPatience
		w.Counters.NoRoom++
		w.end(op, l, ErrNoRoom)
	case replica.NoKeys: // keys do not go away; but the index may grow yet
		w.Counters.NoRoom++
		w.end(op, l, ErrNoRoom)
	case replica.Hurt:
		w.park(op, l)
	case replica.Absent: // as a read that misses: the lease must have held
		op.Err = nil
		w.ended = append(w.ended, ended{op, l})
	case replica.Unsupported:
		w.end(op, l, ErrScope)
	default:
		w.noRoomSince, w.full = 0, false // the next view counts from its own beginning
		w.Counters.Rejected++
		w.end(op, l, ErrTryAgain)
	}
	return true
}

func (w *Worker) startGet(op *Op, l *lane, h int32) {
	pos, ts, state := w.rep.Read(op.hash, op.Key, w.leased, replica.Handle(h))
	switch state {
	case replica.ReadNow:
		if !w.value(op, pos, ts) {
			w.park(op, l)
			return
		}
		w.ended = append(w.ended, ended{op, l})
	case replica.ReadMissing:
		op.Err = ErrNotFound
		w.ended = append(w.ended, ended{op, l})
	case replica.ReadWaits:
		w.hold(op, l, h)
	case replica.ReadBusy:
		w.end(op, l, ErrOverload)
	case replica.ReadHurt:
		w.park(op, l)
	default:
		w.end(op, l, ErrTryAgain)
	}
}

// value copies the record at pos into the operation, verified. False: it is
// damaged.
func (w *Worker) value(op *Op, pos uint64, ts proto.TS) bool {
	if !w.st.Whole(pos) {
		w.st.NoteRecord(op.hash, pos)
		return false
	}
	w.Counters.Reads++
	img := w.st.Record(pos)
	op.TS = ts
	if record.KindOf(img) == record.Delete {
		op.Err = ErrNotFound
		return true
	}
	op.Value = append(op.Value[:0], record.Value(img)...)
	return true
}

func (w *Worker) hold(op *Op, l *lane, h int32) {
	w.free = w.ops[h].next
	w.ops[h] = slot{op, l, -1}
	w.high = max(w.high, h+1)
	w.busy++
}

func (w *Worker) release(h int32) {
	w.ops[h] = slot{next: w.free}
	w.free = h
	if w.busy--; w.busy == 0 {
		w.high = 0
	}
}

// end gives an operation back to its session at the end of the turn.
func (w *Worker) end(op *Op, l *lane, err error) {
	op.Err = err
	l.cmp[l.cmpNext&l.mask] = op
	l.cmpNext++
	if !l.dirty {
		l.dirty = true
		w.dirty = append(w.dirty, l)
	}
}

// answer takes the replica's completions and gives everything that ended in
// this turn back. The lease is looked at after the reads have their values.
func (w *Worker) answer() {
	for _, c := range w.rep.Done() {
		h := int32(c.Handle)
		s := w.ops[h]
		hurt := s.op != nil && c.Pos != 0 && !w.value(s.op, c.Pos, c.TS) // a fault in it finds the operation in its slot yet
		w.release(h)
		if s.op == nil {
			continue
		}
		if hurt {
			w.park(s.op, s.lane)
			continue
		}
		if c.Pos != 0 {
			w.ended = append(w.ended, ended{s.op, s.lane})
			continue
		}
		w.end(s.op, s.lane, nil)
	}
	if len(w.ended) > 0 {
		valid := w.lease.Valid() || plant.Is(plant.H12Worker)
		for _, e := range w.ended {
			if !valid {
				e.op.Err = ErrTryAgain
			}
			w.end(e.op, e.lane, e.op.Err)
		}
		clear(w.ended)
		w.ended = w.ended[:0]
	}
	for i, l := range w.dirty {
		publish(&l.cmpTail, l.cmpNext)
		l.dirty = false
		l.s.wake()
		w.dirty[i] = nil
	}
	w.dirty = w.dirty[:0]
}

// expire answers operations whose deadline has passed: a write that reached
// the log is unknown, a waiting read was simply not answered, and what still
// stands in a lane, behind something that waits for space, was not applied.
func (w *Worker) expire() {
	w.lastDeadline = w.now
	w.expireParked()
	for _, l := range w.active {
		for tail := l.subTail.Load(); l.subHead < tail; l.subHead++ {
			op := l.sub[l.subHead&l.mask]
			if op.due == 0 || op.due > w.now {
				break
			}
			l.sub[l.subHead&l.mask] = nil
			w.end(op, l, ErrDeadline)
		}
	}
	for h := range w.ops[:w.high] {
		s := &w.ops[h]
		if s.op == nil || s.op.due == 0 || s.op.due > w.now || plant.Is(plant.DeadlineHeld) {
			continue
		}
		if s.op.Kind == OpGet {
			if w.rep.Cancel(s.op.hash, replica.Handle(h)) {
				w.end(s.op, s.lane, ErrDeadline)
				w.release(int32(h))
			}
			continue
		}
		w.Counters.Unknown++
		if plant.Is(plant.DeadlineRejected) {
			w.end(s.op, s.lane, ErrDeadline)
			s.op = nil
			continue
		}
		w.end(s.op, s.lane, ErrUnknown)
		s.op = nil // its slot is free once the entry is through
	}
	w.answer()
}

// abandon answers everything under way when the life ends: what reached the
// log may yet be rolled forward by others.
func (w *Worker) abandon() {
	w.dismiss()
	w.pool.EndFlush() // it wakes the endpoint, which may be closed soon
	for h := range w.ops {
		s := &w.ops[h]
		if s.op == nil {
			continue
		}
		err := ErrUnknown
		if s.op.Kind == OpGet || plant.Is(plant.StopRejected) {
			err = ErrTryAgain
		}
		w.end(s.op, s.lane, err)
		s.op = nil
	}
	w.answer()
}
