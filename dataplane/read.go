package dataplane

import (
	"errors"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// GetNow is a get that never waits: it appends the value of key to dst, or says
// why there is none (ErrNotFound, ErrTryAgain ...). done is false if only the
// worker can answer, since the key is locked or an operation of this session on
// it is under way: an OpGet is to be submitted then. Nothing is left to be
// polled, and it needs no room among the operations under way.
func (s *Session) GetNow(key, dst []byte) (value []byte, done bool, err error) {
	if len(key) < KeyBytesMin || len(key) > KeyBytesMax {
		return dst, true, ErrKeySize
	}
	if s.closed || s.h.closed.Load() {
		return dst, true, ErrClosed
	}
	core := s.h.core.Load()
	if !s.bind(core) {
		return dst, true, ErrTryAgain
	}
	if s.collected > 0 {
		s.serveAll() // they were submitted before
	}
	hash := s.h.hash(key)
	if s.isWriting(hash) && !plant.Is(plant.WideOvertake) {
		return dst, false, nil
	}
	value, _, _, err = s.lookup(core.shardOf(hash), hash, key, dst)
	if err == errLocked {
		return dst, false, nil
	}
	return value, true, err
}

// read answers a get at once, if the key is unlocked.
func (s *Session) read(i int, op *Op) bool {
	value, ts, st, err := s.lookup(i, op.hash, op.Key, op.Value[:0])
	if err == errLocked {
		return false
	}
	if op.TS = ts; st == store.Found {
		op.Value = value
	}
	s.finish(op, err)
	return true
}

var errLocked = errors.New("dataplane: locked")

// lookup answers one get in the caller's goroutine if the key is unlocked, as
// serve does for many.
func (s *Session) lookup(i int, hash uint64, key, dst []byte) (value []byte, ts proto.TS, st store.State, err error) {
	c := s.core
	if !c.serving.Load() {
		return dst, 0, 0, ErrTryAgain
	}
	generation := c.lease.Generation()
	value, raw, st, fault := get(s.bursts[i].reader, hash, key, dst)
	switch {
	case fault != nil:
		c.workers[i].Fault(fault)
		return dst, 0, store.Shut, ErrPoolFailed
	case st == store.Locked:
		return dst, 0, st, errLocked
	case st == store.Shut || !c.held(generation):
		return dst, 0, store.Shut, ErrTryAgain
	case st == store.Found:
		ts = proto.TS(raw)
		if planted {
			value, ts = plantStaleRead(key, value, int(c.workers[i].self.Node), ts)
		}
		return value, ts, st, nil
	case st == store.Damaged: // the worker waits for the repair
		return dst, 0, st, errLocked
	}
	return dst, proto.TS(raw), st, ErrNotFound
}
