package dataplane

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"sync/atomic"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/dataplane/sched"
	"healkv/pmem"
	"healkv/pmem/record"
	"healkv/pmem/store"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// WorkerConfig is what a worker needs of one opened shard.
type WorkerConfig struct {
	Shard    int
	Nodes    int
	Pool     *pmem.Pool
	Endpoint rdma.Endpoint
	Model    proto.Model
	Lease    Lease
	// SpinTurns is how many turns without work a worker makes before it sleeps.
	SpinTurns int
	// YieldTurns: after so many of them it gives its core away; 0: after each.
	YieldTurns int
	// OnFailure hears of what stops the shard for good (a failed flush, an I/O
	// error of the pool). Called once, from the worker.
	OnFailure func(shard int, err error)
	// OnRefused hears of a member's stream that failed its checks so often in
	// a row that time does not mend it: this life must end, the next one gets
	// other copies. Called from the worker, again and again; may be nil.
	OnRefused func(shard int, peer proto.Member, err error)
	Logger    *slog.Logger

	// The rest is for a simulation; see the package comment.

	// Env is how Do and Core.Stop wait; nil: flow.Real.
	Env flow.Env
	// Clock is what operations' deadlines are measured on, in nanoseconds; nil:
	// that of Now, or Env's if there is one.
	Clock  func() int64
	Limits Limits
}

// Worker is one shard: it owns replica, store, log and endpoint from Start to
// the end of its goroutine.
type Worker struct {
	core  *Core
	self  proto.Member
	shard int
	nodes int
	rep   *replica.Shard
	st    *store.Store
	pool  *pmem.Pool
	ep    rdma.Endpoint
	lease Lease
	gates *proto.Gates
	spin  int
	yield int
	log   *slog.Logger
	fail  func(int, error)
	env   flow.Env
	clock func() int64
	limit limits
	idle  int // rounds since anything moved

	attendants atomic.Pointer[[]*attendant] // nil: nobody

	ready  atomic.Pointer[lane]
	active []*lane
	ops    []slot
	free   int32
	high   int32   // slots from here on were not used since busy was 0
	busy   int     // ops under way
	ended  []ended // read results of this turn, published after the lease check
	dirty  []*lane

	mail      atomic.Pointer[letter]
	stopping  atomic.Bool
	stopped   chan struct{}
	turns     atomic.Uint64
	streamed  atomic.Uint64 // published, for Watch.Pairs
	exhausted atomic.Bool
	stones    stones
	adoptIn   batchRing
	adoptOut  batchRing
	adopting  *Batch
	adoptAt   int
	// Since when there is no room for the next of the buddy's records; 0: there is.
	adoptEnded   int64 // when it was done with the last batch
	adoptStalled int64

	now          int64
	threaded     bool  // Start's goroutine drives it
	unheard      bool  // its yields are not told to the Go runtime
	shown        int64 // when that called the Go scheduler last
	leased       bool
	lastGrow     int64
	starved      bool  // that the index cannot grow was said
	noRoomSince  int64 // 0: writes find room
	full         bool  // writes are refused until room is found again
	lastFlush    int64 // when the last one began
	gather       gather
	queue        sched.Queue // of its thread
	lastDeadline int64
	digestAt     int64
	digestAsked  int64
	choreAt      int64
	published    uint64 // stream tail peers can see
	pin          uint64 // the cleaner stays below; ^0 without a recovery
	lostThrough  proto.Epoch
	marks        rdma.Marks
	sent         [proto.NodesMax]rdma.Marks
	faultUntil   [proto.NodesMax]int64
	faults       [proto.NodesMax]int // of a stream in a row
	refused      func(int, proto.Member, error)
	owed         proto.NodeSet // watermarks were left for the next turn
	seen         [proto.NodesMax]pmem.Seen
	unkept       uint64   // checkpoints that failed, as last logged
	parked       []parked // wait for the repair of their keys
	spare        []parked
	mended       atomic.Bool // something was repaired, or refused
	malformed    malformed   // the endpoint; nil: it gives no stream up

	Counters WorkerCounters
}

// WorkerCounters count what an operator wants to see. Written by the worker,
// read by anyone through Snapshot.
type WorkerCounters struct {
	Reads, Rejected, NoRoom, Unknown, RingFullTurns  uint64
	Flushes, FlushNanos, Sleeps, StreamFaults        uint64
	CleanedBytes, CleanedSegments, TombstonesDropped uint64
	Hurt                                             uint64 // refused because of a damaged record
	IndexStarved                                     uint64 // times the index could not grow, its file system being full
}

// slot is one operation under way at the worker.
type slot struct {
	op   *Op // nil: answered already (deadline), the outcome is dropped
	lane *lane
	next int32
}

// ended is a read that has its value and waits for the lease check.
type ended struct {
	op   *Op
	lane *lane
}

// NewWorker makes the worker of an opened shard. Begin and Start follow.
func NewWorker(c WorkerConfig) *Worker {
	if c.Clock == nil {
		c.Clock = Now
		if c.Env != nil {
			c.Clock = c.Env.Now
		}
	}
	if c.Env == nil {
		c.Env = flow.Real
	}
	limit := c.Limits.filled()
	w := &Worker{env: c.Env, clock: c.Clock, limit: limit, shard: c.Shard, nodes: c.Nodes, pool: c.Pool, ep: c.Endpoint, lease: c.Lease,
		gates: c.Model.Gates(), spin: max(1, c.SpinTurns), yield: max(1, c.YieldTurns), log: c.Logger, fail: c.OnFailure, refused: c.OnRefused,
		ops: make([]slot, limit.ops), ended: make([]ended, 0, limit.client), stopped: make(chan struct{}),
		active: make([]*lane, 0, 64), dirty: make([]*lane, 0, 64), pin: ^uint64(0)}
	w.malformed, _ = c.Endpoint.(malformed)
	for i := range w.ops {
		w.ops[i].next = int32(i) + 1
	}
	w.ops[limit.ops-1].next = -1
	return w
}

// Begin starts the life on top of a pool that was begun or discarded. markers
// is the body of the newest marker record, nil if there is none. Before Start.
func (w *Worker) Begin(self proto.Member, markers []byte) error {
	w.st = w.pool.Store()
	w.lostThrough, w.seen = proto.Epoch(w.pool.Super().LostThrough), w.pool.Super().Seen
	w.rep = replica.New(w.gates, w.st, w.limit.ops)
	w.self = self
	w.pool.OnFlushed(w.flushed)
	return w.rep.Begin(self, w.ep.Out(), w.pool.Stable(), markers)
}

// Open begins the life self on the pool, with its records or, if full, after
// discarding them, and then as Begin does.
func (w *Worker) Open(self proto.Member, full bool) error {
	if full {
		if err := w.pool.Discard(uint32(self.Incarnation)); err != nil {
			return err
		}
		return w.Begin(self, nil)
	}
	var markers []byte
	if pos := w.pool.Store().LastMarker(); pos != 0 {
		if !w.pool.Store().Whole(pos) {
			return fmt.Errorf("%w: the marker at %d", pmem.ErrDecayed, pos)
		}
		markers = append(markers, record.Value(w.pool.Store().Record(pos))...)
	}
	if err := w.pool.Begin(uint32(self.Incarnation)); err != nil {
		return err
	}
	return w.Begin(self, markers)
}

// Replica is the shard's protocol state; only inside Do.
func (w *Worker) Replica() *replica.Shard { return w.rep }

// Endpoint is the shard's end of the transport.
func (w *Worker) Endpoint() rdma.Endpoint { return w.ep }

// Pool is the shard's pool.
func (w *Worker) Pool() *pmem.Pool { return w.pool }

// Exhausted reports that a record's version is used up and a view with the
// same members is wanted.
func (w *Worker) Exhausted() bool { return w.exhausted.Load() }

// Turns counts the turns in which the worker kept house, which are all but some of
// those without work; it moves if the worker is alive and awake (H29).
func (w *Worker) Turns() uint64 { return w.turns.Load() }

// letter is a closure for the worker's goroutine. Cold path.
type letter struct {
	do   func()
	done chan struct{}
	next *letter
}

// Do runs fn on the worker's goroutine and waits for it. It is false if the
// worker has ended: then fn did not run.
func (w *Worker) Do(fn func()) bool {
	l := &letter{do: fn, done: make(chan struct{})}
	for {
		head := w.mail.Load()
		l.next = head
		if w.mail.CompareAndSwap(head, l) {
			break
		}
	}
	w.ep.Wake()
	w.env.Wait(-1, l.done, w.stopped)
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (w *Worker) readMail() bool {
	if w.mail.Load() == nil {
		return false
	}
	var first *letter
	for l := w.mail.Swap(nil); l != nil; {
		l.next, first, l = first, l, l.next
	}
	for l := first; l != nil; l = l.next {
		l.do()
		close(l.done)
	}
	return true
}

// lookEvery is how many turns without work there are to a look at the clock and at
// what nobody waits for: these take longer than all else in such a turn, and what
// comes meanwhile waits for its end. The turn before a sleep looks.
const lookEvery = 8

// turn does everything there is to do once. True if anything moved.
func (w *Worker) turn() (moved bool) {
	moved = w.readMail() // a letter may take long: the clock is read after it
	if moved && !plant.Is(plant.MarksAfterMail) {
		w.owed = ^proto.NodeSet(0) // whoever sent it may count on this turn to take all watermarks (H7)
	}
	if moved || w.idle%lookEvery == 0 {
		w.now = w.clock()
	}
	if planted {
		plantReplica(w)
	}
	w.ep.Poll()
	members := w.rep.View().Members().Without(w.rep.Self().Node)
	if w.listenAll(members) {
		moved = true
	}
	if w.rep.ForwardPending() > 0 && w.rep.RollForward(w.limit.forward) > 0 {
		moved = true
	}
	if w.adopt() {
		moved = true
	}
	took, ok := w.take()
	if !ok {
		return true // nothing of this turn is published
	}
	moved = moved || took
	busy := moved
	if w.flush() {
		moved = true
	}
	if w.rep.AdvanceMarks() {
		moved = true
	}
	if w.attendants.Load() == nil {
		w.publish(members)
		w.answer()
	} else {
		// Whoever waits on this thread is answered before the others hear of it, and
		// what he submits next is on its way first: to write a line that another
		// processor watches takes longer than both.
		w.answer()
		if w.attend() {
			moved = true
			if _, ok := w.take(); !ok {
				return true
			}
		}
		w.publish(members)
	}
	if moved || w.idle%lookEvery == 0 {
		return w.keepHouse(busy) || moved
	}
	return false
}

// keepHouse is the part of a turn that nobody waits for.
func (w *Worker) keepHouse(busy bool) (moved bool) {
	w.turns.Add(1)
	if err := w.st.Index().Starved(); err != nil {
		w.grow(err)
	}
	moved = w.clean(busy)
	if w.tend() {
		moved = true
	}
	if w.digests(busy || moved) {
		moved = true
	}
	if w.rep.AdvanceRoom() {
		moved = true
	}
	w.noteStable()
	if x := w.rep.Exhausted() || w.stonesOfView(); x != w.exhausted.Load() {
		w.exhausted.Store(x)
	}
	if (w.busy > 0 || len(w.active) > 0 || len(w.parked) > 0) && w.now-w.lastDeadline > w.limit.deadlineEvery {
		w.expire()
	}
	return moved
}

// take begins what clients have submitted and lets the members see it at once:
// they apply it while this worker does the rest of its turn. moved: there was
// something. Not ok: the shard has failed.
func (w *Worker) take() (moved, ok bool) {
	w.collect()
	// Roll-forward is ahead of client writes.
	if w.rep.ForwardPending() == 0 {
		moved = w.clients()
	}
	if err := w.rep.Failed(); err != nil && !plant.Is(plant.WorkerIndex) {
		w.failed(err)
		return true, false
	}
	w.publishStream()
	return moved, true
}

// listenAll takes what the members have sent.
func (w *Worker) listenAll(members proto.NodeSet) (moved bool) {
	entries := 0
	for set := members; set != 0; set &= set - 1 {
		if m := w.ep.Mirror(int(first(set))); m != nil {
			entries += w.rep.AskKeys(first(set), m)
		}
	}
	for set := members; set != 0 && entries > 1; set &= set - 1 {
		w.rep.AskRecords(first(set))
	}
	for set := members; set != 0; set &= set - 1 {
		if w.listen(first(set)) {
			moved = true
		}
	}
	return moved
}

// first is the lowest node of a set that is not empty.
func first(s proto.NodeSet) proto.NodeID { return proto.NodeID(bits.TrailingZeros16(uint16(s))) }

// fewBytes of a stream are an entry or two: whoever sent them waits for no others.
const fewBytes = 1024

// listen takes what one member has sent.
//
// Of a member whose stream brings little, the watermarks are left for the next turn,
// which follows at once: right behind a write goes the watermark of the one before,
// into a line that crosses between the processors then, and whoever waits for this
// one to be applied would wait for that too.
func (w *Worker) listen(n proto.NodeID) (moved bool) {
	owed := w.owed.Has(n) && !plant.Is(plant.MarksLeft)
	w.owed = w.owed.Without(n)
	if m := w.ep.Mirror(int(n)); !owed && m != nil && m.Limit()-m.Cursor()-1 < fewBytes && w.rep.Following(n) && w.faultUntil[n] <= w.now {
		moved = w.stream(n, m)
		if moved || plant.Is(plant.MarksLeft) {
			w.owed = w.owed.With(n)
			return moved
		}
	}
	w.ep.Marks(int(n), &w.marks)
	if err := w.rep.OnMarks(n, &w.marks); err != nil {
		w.fault(n, err)
		return false
	}
	m := w.ep.Mirror(int(n))
	if m == nil && w.malformed != nil && w.malformed.Malformed()>>n&1 == 1 && !plant.Is(plant.WorkerMalformed) {
		// The provider reads nothing of it any more, for as long as this life
		// lasts: counted like bytes that fail their checks.
		w.fault(n, errMalformed)
		return false
	}
	if m == nil || w.faultUntil[n] > w.now {
		return false
	}
	if !w.rep.Following(n) && !w.rep.Fed(n, m.Cursor()) {
		return false
	}
	return w.stream(n, m)
}

// stream applies entries of a member.
func (w *Worker) stream(n proto.NodeID, m *ring.Mirror) (moved bool) {
	got, err := w.rep.OnStream(n, m, w.limit.stream)
	switch {
	case err != nil:
		w.fault(n, err)
	case got > 0:
		w.faults[n] = 0
	}
	return got > 0
}

// malformed is an endpoint that gives up streams whose framing makes no sense:
// Malformed is the set of attached nodes (bit i for node i) whose is. Worker.
type malformed interface{ Malformed() uint16 }

var errMalformed = errors.New("dataplane: the stream's framing makes no sense: nothing of it is read any more")

// faultsMax looks in a row at bytes that fail their checks are enough: half a
// second in a running node.
const faultsMax = 5

// fault notes bytes of a peer that fail their checks. The stream rests and is
// then looked at again at the same position: nothing of the bad entry took
// effect. A stream that stays broken stops its owner's writes for as long as
// this life is a member (H29).
func (w *Worker) fault(n proto.NodeID, err error) {
	if w.faultUntil[n] <= w.now {
		w.faultUntil[n] = w.now + w.limit.faultPause
		w.Counters.StreamFaults++
		w.log.Error("peer's stream refused", "peer", n, "shard", w.shard, "err", err)
		if w.faults[n]++; w.faults[n] >= faultsMax && w.refused != nil && !plant.Is(plant.WorkerPatience) {
			w.refused(w.shard, w.rep.View().Member(n), err)
		}
	}
}

// failed stops the node: it can no longer keep a promise.
func (w *Worker) failed(err error) {
	if plant.Is(plant.WorkerFailed) || w.stopping.Swap(true) {
		return
	}
	w.log.Error("shard stopped", "shard", w.shard, "err", err)
	if w.fail != nil {
		w.fail(w.shard, err)
	}
}

func (w *Worker) publishStream() {
	if t := w.ep.Out().Tail(); t != w.published {
		w.ep.Publish()
		w.published = t
		w.streamed.Store(t)
	}
}

// publish lets the members see stream and watermarks, and wakes them.
func (w *Worker) publish(members proto.NodeSet) {
	w.publishStream()
	for ; members != 0; members &= members - 1 {
		n := first(members)
		w.rep.OutMarks(n, &w.marks)
		if w.marks != w.sent[n] {
			w.sent[n] = w.marks
			w.ep.PublishMarks(int(n), &w.marks)
		}
	}
	w.ep.WakePeers()
}

// LostThrough is the pool's: missed ranges of nodes last live below it are
// gone. Nothing sets it any more, but a pool may say so. Inside Do.
func (w *Worker) LostThrough() proto.Epoch { return w.lostThrough }
