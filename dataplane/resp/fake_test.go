package resp

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"healkv/dataplane"
	"healkv/dataplane/proto"
)

// fakeBackend is a map with the manners of the real thing: ops of a session
// wait in a queue per key, complete later, in an order that is seeded and
// differs from that of Submit between keys, and it can fail, stall and be
// full. It notices a caller that touches an op's memory while it is in flight.
type fakeBackend struct {
	mu      sync.Mutex
	changed *sync.Cond // of stalled
	data    map[string][]byte
	version uint64
	rng     *rand.Rand

	stalled  bool // nothing completes
	held     bool // nothing that was submitted completes; GetNow goes on
	window   int  // ops of one session; 0: 1024
	inline   bool // gets of idle keys complete inside Submit
	fail     func(op *dataplane.Op) error
	sessions int // open ones
	opened   int
	peak     int // most ops in flight in one session
	inFlight int // all sessions
	scopes   map[uint32]int
	broken   []string // misuse
	wakes    chan struct{}
}

func newFake(seed uint64) *fakeBackend {
	b := &fakeBackend{
		data: map[string][]byte{}, rng: rand.New(rand.NewPCG(seed, 1)), inline: true,
		scopes: map[uint32]int{}, wakes: make(chan struct{}, 1<<16),
	}
	b.changed = sync.NewCond(&b.mu)
	return b
}

type fakeOp struct {
	op  *dataplane.Op
	sum uint32
}

type fakeSession struct {
	b       *fakeBackend
	queues  map[string][]fakeOp
	keys    []string // with a queue that is not empty
	done    []*dataplane.Op
	out     int
	timeout time.Duration
	closed  bool
	notify  func()
	armed   bool
	user    sync.Mutex // held during each call: one goroutine at a time
}

func (b *fakeBackend) NewSession(notify func()) Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	b.opened++
	s := &fakeSession{b: b, queues: map[string][]fakeOp{}, notify: notify}
	go s.serve()
	return s
}

// serve is the worker: it completes ops until the session is closed.
func (s *fakeSession) serve() {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		for !s.closed && (b.stalled || b.held || len(s.keys) == 0) {
			b.changed.Wait()
		}
		if s.closed {
			return
		}
		s.work()
		if s.armed {
			s.armed = false
			s.notify()
		}
		b.mu.Unlock()
		runtime.Gosched()
		b.mu.Lock()
	}
}

func (b *fakeBackend) LiveKeys() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return uint64(len(b.data))
}

func (b *fakeBackend) Info() []InfoSection {
	return []InfoSection{{Name: "Heal", Fields: []InfoField{{"role", "live"}, {"odd", "a\r\nb"}}}}
}

func (b *fakeBackend) Ready() bool { return true }

func (b *fakeBackend) stall(on bool) {
	b.mu.Lock()
	b.stalled = on
	b.mu.Unlock()
	b.changed.Broadcast()
}

// hold has what is submitted wait, as when a view changes.
func (b *fakeBackend) hold(on bool) {
	b.mu.Lock()
	b.held = on
	b.mu.Unlock()
	b.changed.Broadcast()
}

// waitInFlight returns once n ops are under way in all sessions together.
func (b *fakeBackend) waitInFlight(n int) {
	b.mu.Lock()
	for b.inFlight < n {
		b.changed.Wait()
	}
	b.mu.Unlock()
}

func (b *fakeBackend) misuse(format string, a ...any) {
	b.broken = append(b.broken, fmt.Sprintf(format, a...))
}

func (s *fakeSession) enter() func() {
	if !s.user.TryLock() {
		panic("two goroutines in one session")
	}
	s.b.mu.Lock()
	return func() { s.b.mu.Unlock(); s.user.Unlock() }
}

func (s *fakeSession) SetTimeout(d time.Duration) { s.timeout = d }
func (s *fakeSession) Kick()                      {}

func (s *fakeSession) Arm() bool {
	defer s.enter()()
	if s.armed {
		s.b.misuse("Arm twice")
	}
	s.armed = len(s.done) == 0
	return s.armed
}

func (s *fakeSession) Disarm() {
	defer s.enter()()
	s.armed = false
}

func (s *fakeSession) GetNow(key, dst []byte) ([]byte, bool, error) {
	defer s.enter()()
	if s.closed {
		s.b.misuse("GetNow after Close")
	}
	if !s.b.inline || s.b.stalled || s.b.window < 0 || len(s.queues[string(key)]) > 0 {
		return dst, false, nil
	}
	op := dataplane.Op{Kind: dataplane.OpGet, Key: key}
	s.run(&op)
	return append(dst, op.Value...), true, op.Err
}

func (s *fakeSession) Close() {
	defer s.enter()()
	if s.out != 0 || s.closed {
		s.b.misuse("Close with %d ops, closed %v", s.out, s.closed)
	}
	s.closed = true
	s.b.sessions--
	s.b.changed.Broadcast()
}

func sum(op *dataplane.Op) uint32 {
	h := crc32.ChecksumIEEE(op.Key)
	if op.Kind == dataplane.OpPut {
		h = crc32.Update(h, crc32.IEEETable, op.Value)
	}
	return h + uint32(op.Kind)*7 + op.Scope
}

func (s *fakeSession) Submit(op *dataplane.Op) error {
	defer s.enter()()
	b := s.b
	window := b.window
	if window == 0 {
		window = 1024
	}
	switch {
	case s.closed:
		b.misuse("Submit after Close")
		return dataplane.ErrClosed
	case s.out >= window:
		return dataplane.ErrOverload
	case op.Deadline != 0:
		b.misuse("op with an old deadline")
	case op.Kind != dataplane.OpPersist && (len(op.Key) == 0 || len(op.Key) > dataplane.KeyBytesMax):
		return dataplane.ErrKeySize
	}
	op.Deadline = int64(s.timeout)
	op.Err, op.Existed = nil, false
	s.out++
	b.inFlight++
	b.peak = max(b.peak, s.out)
	b.changed.Broadcast()
	k := string(op.Key)
	if op.Kind == dataplane.OpGet && b.inline && len(s.queues[k]) == 0 && !b.stalled {
		s.run(op)
		s.done = append(s.done, op)
		return nil
	}
	if len(s.queues[k]) == 0 {
		s.keys = append(s.keys, k)
	}
	s.queues[k] = append(s.queues[k], fakeOp{op, sum(op)})
	return nil
}

func (s *fakeSession) run(op *dataplane.Op) {
	b := s.b
	if b.fail != nil {
		if op.Err = b.fail(op); op.Err != nil {
			return
		}
	}
	k := string(op.Key)
	switch op.Kind {
	case dataplane.OpGet:
		v, ok := b.data[k]
		op.Value = op.Value[:0]
		if !ok {
			op.Err = dataplane.ErrNotFound
			return
		}
		op.Value = append(op.Value, v...)
	case dataplane.OpPut:
		b.data[k] = append([]byte(nil), op.Value...)
		b.scopes[op.Scope]++
	case dataplane.OpDelete:
		_, op.Existed = b.data[k]
		delete(b.data, k)
		b.scopes[op.Scope]++
	case dataplane.OpPersist:
		if op.Scope == 404 {
			op.Err = dataplane.ErrScope
		}
	}
	b.version++
	op.TS = proto.TS(b.version)
}

// work completes some of what waits: the head of a few queues, chosen at random.
func (s *fakeSession) work() {
	if s.b.stalled || len(s.keys) == 0 {
		return
	}
	for range 1 + s.b.rng.IntN(2*len(s.keys)) {
		if len(s.keys) == 0 {
			return
		}
		i := s.b.rng.IntN(len(s.keys))
		k := s.keys[i]
		q := s.queues[k]
		f := q[0]
		if sum(f.op) != f.sum {
			s.b.misuse("key %q: memory of an op in flight was changed", k)
		}
		s.run(f.op)
		s.done = append(s.done, f.op)
		if q = q[1:]; len(q) == 0 {
			delete(s.queues, k)
			s.keys[i] = s.keys[len(s.keys)-1]
			s.keys = s.keys[:len(s.keys)-1]
		} else {
			s.queues[k] = q
		}
	}
}

func (s *fakeSession) Poll(done []*dataplane.Op) int {
	defer s.enter()()
	n := copy(done, s.done)
	s.done = s.done[:copy(s.done, s.done[n:])]
	s.out -= n
	s.b.inFlight -= n
	return n
}
