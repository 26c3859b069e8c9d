package dataplane

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

const (
	// burstMost gets are collected at a shard before they are answered without
	// anybody asking.
	burstMost = 48
	// burstAhead is how many records are asked for at a time, ahead of those that
	// are read: enough to cover a miss.
	burstAhead = 12
)

// burst is the gets of a session at a shard that were submitted and not looked
// up yet. They are answered together, so that their misses overlap and one look
// at the lease does for all: when the session kicks, polls or waits, when there
// are burstMost, and before the session does anything else with one of their
// keys. Each is answered from what the store holds then, between its Submit and
// its Poll.
type burst struct {
	reader *store.Reader
	n      int
	op     [burstMost]*Op
	hash   [burstMost]uint64
	state  [burstMost]store.State
}

// add collects one get; true: the burst is full.
func (b *burst) add(op *Op) (full bool) {
	b.op[b.n], b.hash[b.n] = op, op.hash
	b.n++
	return b.n == burstMost
}

// has reports whether a get is collected whose hash is equal in the bits of mask.
func (b *burst) has(hash, mask uint64) bool {
	for _, h := range b.hash[:b.n] {
		if (h^hash)&mask == 0 {
			return true
		}
	}
	return false
}

// inside reads all of the burst. False: the store is shut.
func (b *burst) inside() bool {
	r, hash := b.reader, b.hash[:b.n]
	if !r.Enter() {
		return false
	}
	if len(hash) > 1 {
		r.AskKeys(hash)
		r.AskRecords(hash[:min(burstAhead, len(hash))])
	}
	for i, op := range b.op[:len(hash)] {
		if i%burstAhead == 0 && i+burstAhead < len(hash) {
			r.AskRecords(hash[i+burstAhead : min(i+2*burstAhead, len(hash))])
		}
		value, ts, st := r.Inside(hash[i], op.Key, op.Value[:0])
		if b.state[i] = st; st == store.Found {
			op.Value = value
		}
		op.TS = proto.TS(ts)
	}
	r.Leave()
	return true
}

// collect takes a get into the burst of its shard.
func (s *Session) collect(i int, op *Op) {
	s.outstanding++
	s.collected++
	if s.bursts[i].add(op) {
		s.serve(i)
	}
}

// serveAll answers whatever is collected.
func (s *Session) serveAll() {
	for i := 0; s.collected > 0; i++ {
		if s.bursts[i].n > 0 {
			s.serve(i)
		}
	}
}

// serve answers what is collected at shard i in the caller's goroutine, in the
// order of Submit: protocol.md, "Read at node n". The lease is checked after the
// values were copied, and its generation must not have changed meanwhile (H12).
// What only the worker can answer goes to it, and with it what follows on the key.
func (s *Session) serve(i int) {
	b, c := &s.bursts[i], s.core
	looked, refused := b.answer(c, c.workers[i])
	n := b.n
	b.n = 0
	s.collected -= n
	s.outstanding -= n
	if plant.Is(plant.BurstAllocates) {
		s.local = append([]*Op(nil), s.local...)
	}
	for k, op := range b.op[:n] {
		b.op[k] = nil
		switch st := b.state[k]; {
		case looked && (st == store.Locked || st == store.Damaged || s.isWriting(op.hash)):
			op.TS = 0
			s.hand(i, op) // Submit left room for it
		case refused != nil:
			op.TS = 0
			s.finish(op, refused)
		case st == store.Found:
			if planted {
				op.Value, op.TS = plantStaleRead(op.Key, op.Value, int(c.workers[i].self.Node), op.TS)
			}
			s.finish(op, nil)
		default:
			s.finish(op, ErrNotFound)
		}
	}
}

// answer looks the burst up. looked: the states are known; refused: why nobody
// may have the values.
func (b *burst) answer(c *Core, w *Worker) (looked bool, refused error) {
	if !c.serving.Load() {
		return false, ErrTryAgain
	}
	generation := c.lease.Generation()
	open, fault := b.look()
	switch {
	case fault != nil:
		w.Fault(fault)
		return false, ErrPoolFailed
	case !open:
		return false, ErrTryAgain
	case !c.held(generation) && !plant.Is(plant.BurstLease):
		return true, ErrTryAgain
	}
	return true, nil
}
