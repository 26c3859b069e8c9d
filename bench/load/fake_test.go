package load

import (
	"slices"
	"sync"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/proto"
)

// simClock is time that passes when somebody sleeps, and a little whenever
// somebody looks.
type simClock struct{ t int64 }

const lookNanos = 50

func (c *simClock) now() int64     { c.t += lookNanos; return c.t }
func (c *simClock) sleep(ns int64) { c.t += ns }

// fakeSession answers from a map on simulated time.
type fakeSession struct {
	c       *simClock
	store   *fakeStore
	delay   int64                                   // of a write
	hold    func(now int64) (until int64)           // > now: writes are answered then
	reject  func(op *dataplane.Op, now int64) error // before anything happens
	after   func(op *dataplane.Op) error            // a write's answer, after it was applied
	waiting []fakeDone
	window  int

	waits, polls, submits int
}

type fakeDone struct {
	at int64
	op *dataplane.Op
}

type fakeStore struct {
	mu     sync.Mutex
	values map[string][]byte
	ts     map[string]proto.TS
	next   uint64
}

func newStore() *fakeStore {
	return &fakeStore{values: map[string][]byte{}, ts: map[string]proto.TS{}}
}

func (s *fakeSession) Submit(op *dataplane.Op) error {
	s.submits++
	if s.window > 0 && len(s.waiting) >= s.window {
		return dataplane.ErrOverload
	}
	now := s.c.t
	at := now
	op.Err = nil
	if s.reject != nil {
		op.Err = s.reject(op, now)
	}
	st := s.store
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case op.Err != nil:
	case op.Kind == dataplane.OpGet:
		v, ok := st.values[string(op.Key)]
		if !ok {
			op.Err = dataplane.ErrNotFound
			break
		}
		op.Value, op.TS = append(op.Value[:0], v...), st.ts[string(op.Key)]
	default:
		at = now + s.delay
		if s.hold != nil {
			at = max(at, s.hold(now))
		}
		st.next++
		op.TS = proto.MakeTS(1, st.next, 0)
		st.values[string(op.Key)], st.ts[string(op.Key)] = append([]byte(nil), op.Value...), op.TS
		if s.after != nil {
			op.Err = s.after(op)
		}
	}
	s.waiting = append(s.waiting, fakeDone{at, op})
	return nil
}

func (s *fakeSession) Kick() {}

func (s *fakeSession) Poll(done []*dataplane.Op) int {
	s.polls++
	n := 0
	s.waiting = slices.DeleteFunc(s.waiting, func(d fakeDone) bool {
		if d.at > s.c.t || n == len(done) {
			return false
		}
		done[n] = d.op
		n++
		return true
	})
	return n
}

func (s *fakeSession) Wait(timeout time.Duration) bool {
	s.waits++
	until := s.c.t + int64(timeout)
	for _, d := range s.waiting {
		until = min(until, d.at)
	}
	s.c.t = max(s.c.t, until)
	return until < s.c.t+int64(timeout)
}
