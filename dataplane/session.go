package dataplane

import (
	"errors"
	"runtime"
	"sync/atomic"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
)

const (
	defaultTimeout = 5 * time.Second
	waitSpins      = 64 // looks at the lanes before a session parks
)

// Session is one client of a node: one goroutine at a time uses it. Operations
// of one session on one key take effect in the order of Submit.
type Session struct {
	h       *Host
	core    *Core // the life that lanes and readers belong to
	lanes   []*lane
	bursts  []burst // one for each lane
	timeout int64

	most, depth int // operations under way: in all, and at one shard
	outstanding int
	collected   int      // of them in bursts
	writing     []uint16 // counting filter: unfinished worker operations by hash; a power of two
	local       []*Op    // finished inside Submit, not yet polled
	localHead   int
	kicks       uint64 // lanes with operations the worker may not know of

	notify  func() // ends an Arm; nil: wake ends a Wait
	waiting atomic.Uint32
	parked  chan struct{}
	timer   *time.Timer
	closed  bool
	block   Op     // of the blocking calls
	blocked [1]*Op // what they poll into
}

// NewSession makes a session. Close gives its resources back.
func (h *Host) NewSession() *Session {
	return &Session{h: h, timeout: int64(defaultTimeout), parked: make(chan struct{}, 1),
		most: laneOps, depth: laneOps, local: make([]*Op, 0, laneOps), writing: make([]uint16, laneOps/4)}
}

// NewWideSession makes a session that one goroutine uses for many clients of its
// own, as a front end does: sessionOpsMax operations may be under way at every
// shard, and one that stands still leaves room for the others. notify ends an
// Arm: it is called from a worker's goroutine and must neither block nor call
// the session. nil: the session is used with Wait.
func (h *Host) NewWideSession(notify func()) *Session {
	s := h.NewSession()
	s.most, s.depth, s.notify = sessionOpsMax, sessionOpsMax, notify
	s.writing = make([]uint16, 4*sessionOpsMax)
	return s
}

// SetTimeout sets the deadline of operations that name none, from Submit on.
// Every operation has a deadline: 0 or less takes the default of 5 s.
func (s *Session) SetTimeout(d time.Duration) {
	if d <= 0 {
		d = defaultTimeout
	}
	s.timeout = int64(d)
}

// Outstanding counts operations that were submitted and not yet polled.
func (s *Session) Outstanding() int { return s.outstanding }

// bind makes lanes and readers for the present life. It is false when there is
// none, or when operations of an earlier life are still to be polled.
func (s *Session) bind(c *Core) bool {
	if c == nil {
		return false
	}
	if s.core == c {
		return true
	}
	if s.outstanding > 0 {
		return false
	}
	s.unbind()
	s.core = c
	for _, w := range c.workers {
		s.lanes = append(s.lanes, newLane(w, s))
		s.bursts = append(s.bursts, burst{reader: w.st.NewReader()})
	}
	if s.depth == sessionOpsMax {
		s.most = sessionOpsMax * len(s.lanes) // a shard that stands still fills its lane only
	}
	c.mu.Lock()
	c.lanes = append(c.lanes, s.lanes...)
	c.mu.Unlock()
	return true
}

func (s *Session) unbind() {
	if s.core == nil {
		return
	}
	s.core.mu.Lock()
	kept := s.core.lanes[:0]
	for _, l := range s.core.lanes {
		if l.s != s {
			kept = append(kept, l)
		}
	}
	clear(s.core.lanes[len(kept):])
	s.core.lanes = kept
	s.core.mu.Unlock()
	for i := range s.bursts {
		s.bursts[i].reader.Close()
	}
	s.core, s.lanes, s.bursts = nil, nil, nil
}

// Close waits for what is under way and gives the session's resources back.
func (s *Session) Close() {
	if s.closed {
		return
	}
	var done [64]*Op
	for s.outstanding > 0 {
		if s.Poll(done[:]) == 0 {
			s.Wait(time.Second)
		}
	}
	s.unbind()
	s.closed = true
}

// check refuses what breaks a limit.
func check(op *Op) error {
	if op.Kind == OpPersist {
		return nil
	}
	if len(op.Key) < KeyBytesMin || len(op.Key) > KeyBytesMax {
		return ErrKeySize
	}
	if op.Kind == OpPut && len(op.Value) > ValueBytesMax {
		return ErrValueSize
	}
	return nil
}

// Submit hands an operation over and never blocks. nil means that it will come
// back through Poll with its outcome; an error (ErrOverload, ErrKeySize,
// ErrValueSize, ErrClosed) means that it was not taken. Gets are collected and
// answered together, by Kick or Poll at the latest.
func (s *Session) Submit(op *Op) error {
	if err := check(op); err != nil {
		return err
	}
	if s.closed || s.h.closed.Load() {
		return ErrClosed
	}
	if s.outstanding >= s.most {
		return ErrOverload
	}
	op.Err, op.TS, op.Existed = nil, 0, false
	core := s.h.core.Load()
	if !s.bind(core) {
		s.finish(op, ErrTryAgain)
		return nil
	}
	if op.Kind == OpPersist {
		s.serveAll() // room was left for them, not for this
		for _, l := range s.lanes {
			if l.under >= s.depth {
				return ErrOverload
			}
		}
		s.persist(op)
		return nil
	}
	op.hash = s.h.hash(op.Key)
	i := core.shardOf(op.hash)
	b, under := &s.bursts[i], s.lanes[i].under
	free := op.Kind == OpGet && !s.isWriting(op.hash)
	if free && under+b.n < s.depth { // there is room even if the worker must answer all of them
		s.collect(i, op)
		return nil
	}
	if b.n > 0 && (under+b.n >= s.depth || b.has(op.hash, uint64(len(s.writing)-1)) && !plant.Is(plant.BurstOwnWrite)) {
		s.serve(i) // they were submitted before
		under = s.lanes[i].under
	}
	if free && !s.isWriting(op.hash) && s.read(i, op) {
		return nil
	}
	if under >= s.depth || plant.Is(plant.WideRoom) && s.outstanding >= s.depth {
		return ErrOverload
	}
	s.hand(i, op)
	return nil
}

// isWriting reports whether a worker has an operation of this session on the
// key: what follows on the key goes the same way, behind it. Other keys may
// share its counter.
func (s *Session) isWriting(hash uint64) bool {
	return *s.unfinished(hash) != 0 && !plant.Is(plant.BurstOvertake)
}

func (s *Session) unfinished(hash uint64) *uint16 { return &s.writing[hash&uint64(len(s.writing)-1)] }

// hand gives an operation to a worker.
func (s *Session) hand(i int, op *Op) {
	if op.due = op.Deadline; op.due == 0 && s.timeout > 0 {
		op.due = s.lanes[i].w.clock() + s.timeout
	}
	*s.unfinished(op.hash)++
	s.outstanding++
	s.lanes[i].submit(op)
	s.kicks |= 1 << i
	if s.core.closed.Load() {
		s.core.drain(s.lanes[i])
	}
}

// persist sends a PERSIST to every shard; the operation ends with the last. A
// group of one shard, the usual case, needs no more than the operation itself.
func (s *Session) persist(op *Op) {
	if len(s.lanes) == 1 {
		op.hash = 0
		s.hand(0, op)
		return
	}
	parts := make([]Op, len(s.lanes))
	left := len(parts)
	for i := range parts {
		parts[i] = Op{Kind: OpPersist, Scope: op.Scope, Deadline: op.Deadline, parent: op, left: &left}
		s.hand(i, &parts[i])
	}
}

// finish ends an operation inside the session.
func (s *Session) finish(op *Op, err error) {
	op.Err = err
	s.outstanding++
	if len(s.local) == cap(s.local) && s.localHead > 0 {
		s.local = s.local[:copy(s.local, s.local[s.localHead:])]
		s.localHead = 0
	}
	s.local = append(s.local, op)
}

// Kick answers the gets that Submit collected and lets the workers know of
// everything else; Poll and Wait do it too.
func (s *Session) Kick() {
	if s.collected > 0 {
		s.serveAll()
	}
	for i := 0; s.kicks != 0; i, s.kicks = i+1, s.kicks>>1 {
		if s.kicks&1 == 1 {
			s.lanes[i].kick()
		}
	}
}

// Poll gives back finished operations, at most len(done), in completion order
// per shard. It never blocks.
func (s *Session) Poll(done []*Op) (n int) {
	s.Kick()
	for ; n < len(done) && s.localHead < len(s.local); n++ {
		done[n] = s.local[s.localHead]
		s.local[s.localHead] = nil
		s.localHead++
		s.outstanding--
	}
	if s.localHead == len(s.local) {
		s.local, s.localHead = s.local[:0], 0
	}
	for _, l := range s.lanes {
		for f := l.finished(); f > 0 && n < len(done); f-- {
			op := l.take()
			*s.unfinished(op.hash)--
			s.outstanding--
			if op = op.whole(); op != nil {
				done[n] = op
				n++
			}
		}
	}
	return n
}

// ready reports whether Poll would give something back.
func (s *Session) ready() bool {
	if s.localHead < len(s.local) {
		return true
	}
	for _, l := range s.lanes {
		if l.finished() > 0 {
			return true
		}
	}
	return false
}

// Wait returns when something can be polled, or after the timeout (false): a
// bounded spin, then it parks, in real time. Nothing outstanding: it returns at
// once.
func (s *Session) Wait(timeout time.Duration) bool {
	s.Kick()
	if s.ready() {
		return true
	}
	if s.outstanding == 0 {
		return false
	}
	if s.spin() {
		return true
	}
	// waiting pairs with the worker's load after it has published completions.
	s.waiting.Store(1)
	defer s.waiting.Store(0)
	if s.ready() {
		return true
	}
	if s.timer == nil {
		s.timer = time.NewTimer(timeout)
	} else {
		s.timer.Reset(timeout)
	}
	defer s.timer.Stop()
	for {
		select {
		case <-s.parked:
			if s.ready() {
				return true
			}
			s.waiting.Store(1)
			if s.ready() {
				return true
			}
		case <-s.timer.C:
			return s.ready()
		}
	}
}

// spin looks at the lanes for a while before the session parks. That pays where
// answers come within microseconds. Where a write waits for a disk it only takes
// the processors away from those who could answer: with hundreds of sessions it
// was a fifth of what a node did.
func (s *Session) spin() bool {
	if s.core != nil && s.core.diskBound {
		return false
	}
	for range waitSpins {
		runtime.Gosched()
		if s.ready() {
			return true
		}
	}
	return false
}

// Arm asks for one call of notify as soon as something can be polled; false:
// something can be already, and nothing is asked for.
func (s *Session) Arm() bool {
	s.Kick()
	s.waiting.Store(1) // pairs as in Wait
	if s.ready() && !plant.Is(plant.WideArm) {
		s.waiting.Store(0)
		return false
	}
	return true
}

// Disarm takes Arm back. A call of notify may be under way.
func (s *Session) Disarm() { s.waiting.Store(0) }

// wake ends a Wait or an Arm. Worker's side; costs one load when nobody waits.
func (s *Session) wake() {
	if s.waiting.Load() == 1 && s.waiting.Swap(0) == 1 {
		if s.notify != nil {
			s.notify()
			return
		}
		select {
		case s.parked <- struct{}{}:
		default:
		}
	}
}

// await runs one operation of the blocking calls to its end.
func (s *Session) await() error {
	op := &s.block
	op.Deadline = 0
	if s.outstanding > 0 {
		return errMixed
	}
	if err := s.Submit(op); err != nil {
		return err
	}
	for s.Poll(s.blocked[:]) == 0 {
		s.Wait(time.Second)
	}
	return op.Err
}

var errMixed = errors.New("healkv: a blocking call while asynchronous operations of the session are under way")

// Get appends the value of key to dst. ErrNotFound, ErrTryAgain, ErrDeadline.
func (s *Session) Get(key, dst []byte) (value []byte, ts proto.TS, err error) {
	op := &s.block
	op.Kind, op.Key, op.Value = OpGet, key, nil
	if err := check(op); err != nil {
		return dst, 0, err
	}
	if s.closed || s.h.closed.Load() {
		return dst, 0, ErrClosed
	}
	if c := s.h.core.Load(); c != nil && s.outstanding == 0 && s.bind(c) {
		hash := s.h.hash(key)
		value, ts, _, err := s.lookup(c.shardOf(hash), hash, key, dst)
		if err != errLocked {
			return value, ts, err
		}
	}
	op.Value = dst[len(dst):]
	err = s.await()
	if err == nil {
		dst = append(dst, op.Value...)
	}
	return dst, op.TS, err
}

// Put writes. nil means done as the cluster's model says; see the errors of
// this package for the rest.
func (s *Session) Put(key, value []byte, scope uint32) (proto.TS, error) {
	s.block.Kind, s.block.Key, s.block.Value, s.block.Scope = OpPut, key, value, scope
	err := s.await()
	return s.block.TS, err
}

// Delete removes a key; existed says whether it had a value.
func (s *Session) Delete(key []byte, scope uint32) (existed bool, err error) {
	s.block.Kind, s.block.Key, s.block.Value, s.block.Scope = OpDelete, key, nil, scope
	err = s.await()
	return s.block.Existed, err
}

// Persist returns when every write of the scope through this node is durable
// at every member. Durability of an unfinished scope is not all or nothing.
func (s *Session) Persist(scope uint32) error {
	s.block.Kind, s.block.Key, s.block.Value, s.block.Scope = OpPersist, nil, nil, scope
	return s.await()
}
