package replica

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/record"
	"healkv/pmem/store"
	"healkv/rdma"
	"healkv/rdma/ring"
)

// Handle is the loop's name for a client operation; it comes back in a
// Completion.
type Handle uint32

// NoHandle marks entries nobody waits for.
const NoHandle Handle = 1<<32 - 1

// Completion is the effect "answer this client".
type Completion struct {
	Handle Handle
	TS     proto.TS
	Pos    uint64 // reads: log position of the record that answers; 0 for writes
}

// entry is one stream entry between its append and its visibility.
type entry struct {
	seq  uint64 // stream position after it
	hash uint64
	pos  uint64 // log position; 0 if it lost against a newer record
}

// own is one entry of the own stream until it is visible and answered.
type own struct {
	entry
	ts     proto.TS
	handle Handle
}

// stream is what this node knows of one member's stream, as its follower.
type stream struct {
	in      bool // member of the view and fed: entries are taken
	member  proto.Member
	applied uint64      // through here applied; published (ACK_C)
	durable uint64      // through here flushed; published (ACK_P)
	visible uint64      // learnt from the member (VAL_C)
	stable  uint64      // learnt from the member (VAL_P)
	limit   uint64      // log space is guaranteed through here; published (room)
	barrier proto.Epoch // newest view of which its barrier was applied
	entries queue[entry]
	spans   spans
	ahead   ahead
}

// peer is what the coordinator knows of one member, as its own follower.
type peer struct {
	in      bool
	start   uint64 // the peer reads the own stream from here
	applied uint64
	durable uint64
	room    uint64
	settled proto.Epoch
	flushed uint64 // the peer's log is flushed through here; kept for H19
}

// marker is one view in the log: the stable position when it was installed.
type marker struct {
	epoch proto.Epoch
	pos   uint64
}

// persist is a PERSIST waiting for its entry to be durable everywhere.
type persist struct {
	seq    uint64
	handle Handle
}

// pending is a record to be rolled forward, if the index still references it.
type pending struct{ hash, pos uint64 }

// lent is a record adopted locked: its owner's stream is about to bring it, or
// it turns out to be visible already. If the owner goes first, this node rolls
// it forward.
type lent struct {
	pending
	owner proto.Member
	seq   uint64 // in the owner's stream
}

// Counters of rare branches; a test can require that one was taken.
type Counters struct {
	Writes, Superseded, Confirmed, WaitedForView      uint64
	LockedReads, Adopted, AdoptedLocked, AdoptSkipped uint64
	RolledForward, RingFull, NoRoom, BadEntries       uint64
	StalledNoSpace, Probes, Buried                    uint64
	Hurt, ForwardHurt                                 uint64 // writes refused, and records not rolled forward, for damage
}

// Shard is one shard's replica. See the package comment for who may call it.
type Shard struct {
	planted
	self  proto.Member
	gates *proto.Gates
	st    *store.Store
	out   *ring.Out

	view      proto.View
	installed bool // a view of this life has been installed
	streams   [proto.NodesMax]stream
	fed       proto.NodeSet // whose stream is taken (stream.in)
	peers     [proto.NodesMax]peer

	// The own stream.
	queue    queue[own]
	answerAt uint64 // index in queue of the first unanswered entry
	visAt    uint64 // index in queue of the first entry that is not visible
	visible  uint64
	answered uint64
	stable   uint64
	durable  uint64 // flushed here
	spans    spans
	persists queue[persist]
	limit    uint64 // own log space is set aside for the own stream through here

	forward queue[pending] // roll-forward cursor's work
	lent    []lent         // adopted locked records whose owner was a member then

	markers   []marker
	stablePos uint64 // R2, R5
	held      bool   // settling: stablePos stays until settleAt is settled
	settleAt  proto.Epoch
	barrier   proto.Epoch // newest view of which the own one was appended
	settleTo  uint64      // log tail at the last install
	settled   proto.Epoch // flushed through settleTo for this view

	keysMax    uint64 // keys that the index takes for certain
	failure    error  // Failed
	wantFlush  bool   // a PERSIST or an install asks for a flush in every model
	lifeStart  uint64 // log position at Begin: what lies above came in this life
	waiters    waiters
	done       []Completion
	exhausted  bool // a record's version is used up: a new view is wanted
	scratch    store.Entry
	offered    offered
	head       record.Header
	Counters   Counters
	headBytes  [record.HeaderBytes]byte
	markersBuf []byte
}

// New makes the replica of one shard over an opened store. handlesMax bounds
// how many reads can wait for locked records.
func New(gates *proto.Gates, st *store.Store, handlesMax int) *Shard {
	s := &Shard{gates: gates, st: st, waiters: newWaiters(handlesMax), done: make([]Completion, 0, 4096)}
	s.keysMax = keysMax(st.Index().Usage())
	s.queue = newQueue[own](1 << 12)
	s.spans.queue = newQueue[span](64)
	s.persists = newQueue[persist](16)
	s.forward = newQueue[pending](64)
	for i := range s.streams {
		s.streams[i].entries = newQueue[entry](16)
		s.streams[i].spans.queue = newQueue[span](16)
	}
	return s
}

// Begin starts a life: a new own stream over an empty ring, on top of a
// recovered store. stable is the restored stable position, markers the
// restored marker record's body (nil if the pool is new).
func (s *Shard) Begin(self proto.Member, out *ring.Out, stable uint64, markers []byte) error {
	list, err := decodeMarkers(markers)
	if err != nil {
		return err
	}
	s.self, s.out = self, out
	if plant.Is(plant.H10Marker) {
		stable = s.st.Tail()
	}
	s.stablePos, s.held = stable, true // a shadow's position stays until it is live and settled
	s.markers = list
	s.lifeStart = s.st.Tail()
	return nil
}

// Self is the present life of this node.
func (s *Shard) Self() proto.Member { return s.self }

// View is the installed view; Epoch 0 before the first.
func (s *Shard) View() *proto.View { return &s.view }

// Live reports whether this life may coordinate in its view.
func (s *Shard) Live() bool {
	return s.installed && s.view.Live.Has(s.self.Node) && s.view.Incarnation[s.self.Node] == s.self.Incarnation
}

// Done hands over the completions since the last call; valid until the next
// event.
func (s *Shard) Done() []Completion {
	d := s.done
	s.done = s.done[:0]
	return d
}

// Visible, StableMark, Tail of the own stream.
func (s *Shard) Visible() uint64 { return s.visible }

// Outstanding counts own entries that are not yet visible and answered.
func (s *Shard) Outstanding() int { return s.queue.len() }

// ForwardPending counts records that wait for roll-forward.
func (s *Shard) ForwardPending() int { return s.forward.len() }

// Exhausted reports that a version ran out: a view with the same members is
// wanted, nothing wraps.
func (s *Shard) Exhausted() bool { return s.exhausted }

// WantFlush reports that something asks for a flush whatever the model.
func (s *Shard) WantFlush() bool { return s.wantFlush }

// SawFlushed is the highest log position that life said it has flushed; 0 if
// it is not the last one this node was connected to (H19).
func (s *Shard) SawFlushed(m proto.Member) uint64 {
	if s.streams[m.Node].member != m {
		return 0
	}
	return s.peers[m.Node].flushed
}

// OutMarks fills the line of watermarks for a member.
func (s *Shard) OutMarks(n proto.NodeID, m *rdma.Marks) {
	st := &s.streams[n]
	m.Epoch = uint64(s.view.Epoch)
	m.Visible, m.Stable = s.visible, s.stable
	m.Applied, m.Durable, m.Room = st.applied, st.durable, st.limit
	if plant.Is(plant.AckUnflushed) {
		m.Durable = st.applied
	}
	m.Settled, m.Flushed = uint64(s.settled), s.st.Flushed()
}
