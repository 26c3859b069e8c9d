package dataplane

import "sync/atomic"

// laneOps is how many operations of an ordinary session can be under way, and
// sessionOpsMax those of the widest one at each shard. Powers of two.
const (
	laneOps       = 1024
	sessionOpsMax = 4096
)

// lane carries one session's operations to one worker and back: two
// single-producer single-consumer rings of Op pointers, both as long as
// operations of the session may be under way at the shard, so that neither can
// overflow.
//
// Ownership: an Op belongs to the worker from the store of subTail that covers
// it until the store of cmpTail that covers it. The loads of these two words
// pair with those stores; nothing else is shared.
type lane struct {
	w *Worker
	s *Session

	mask uint64 // length of a ring less one; it never changes
	sub  []*Op
	cmp  []*Op
	_    [56]byte

	subTail atomic.Uint64 // written by the session
	_       [56]byte
	subHead uint64 // worker

	cmpNext uint64        // worker: completions pushed, not all published
	cmpTail atomic.Uint64 // written by the worker
	_       [56]byte
	cmpHead uint64 // session
	under   int    // session: operations under way here
	dirty   bool   // worker: cmpNext is above cmpTail

	queued atomic.Uint32 // 1: on the worker's ready stack or in its active list
	next   *lane         // in the ready stack; owned by whoever set queued
}

func newLane(w *Worker, s *Session) *lane {
	return &lane{w: w, s: s, mask: uint64(s.depth - 1), sub: make([]*Op, s.depth), cmp: make([]*Op, s.depth)}
}

// submit hands one op over; the session made sure that there is space.
func (l *lane) submit(op *Op) {
	t := l.subTail.Load()
	l.sub[t&l.mask] = op
	l.under++
	publish(&l.subTail, t+1)
}

// kick puts the lane on the worker's ready stack if it is not known there. The
// swap of queued pairs with the worker's store of 0, after which the worker
// looks at subTail once more.
func (l *lane) kick() {
	if l.queued.Swap(1) == 1 {
		return
	}
	w := l.w
	for {
		head := w.ready.Load()
		l.next = head
		if w.ready.CompareAndSwap(head, l) {
			break
		}
	}
	w.ep.Wake()
}

// finished is what the session can take back.
func (l *lane) finished() uint64 { return l.cmpTail.Load() - l.cmpHead }

// take gives back one finished op; the session knows that there is one.
func (l *lane) take() *Op {
	i := l.cmpHead & l.mask
	op := l.cmp[i]
	l.cmp[i] = nil
	l.cmpHead++
	l.under--
	return op
}
