package rdma

import (
	"errors"
	"time"

	"healkv/rdma/ring"
)

// Marks is one line of watermarks, written by one member for one other
// member. Each number only grows within one pair of incarnations; all are
// stream or log positions in bytes except Epoch and Settled.
//
// Epoch is the view in which Visible and Stable were computed: writers store
// it before them, readers load it after them, so a reader never takes a
// position for older than it is (protocol.md, "Watermarks", hazard H3).
type Marks struct {
	Epoch   uint64 // of Visible and Stable
	Visible uint64 // of the writer's stream: these writes may be read (VAL_C)
	Stable  uint64 // of the writer's stream: durable at every member (VAL_P)
	Applied uint64 // of the reader's stream: applied by the writer (ACK_C)
	Durable uint64 // of the reader's stream: flushed by the writer (ACK_P)
	Room    uint64 // of the reader's stream: position through which the writer has log space
	Settled uint64 // epoch: flushed through the tail at the install of this view
	Flushed uint64 // the writer's log position through which it has flushed
}

// Errors an endpoint returns. Providers wrap them with what they were asked.
var (
	ErrClosed = errors.New("rdma: endpoint closed")
	ErrNoPeer = errors.New("rdma: no such life of the peer")
	ErrRange  = errors.New("rdma: remote range outside the peer's exposed memory")
)

// Link is a prepared, not yet attached connection to one life of a peer. It
// must be attached or closed.
type Link interface {
	Peer() int
	Incarnation() uint32
	Close() error
}

// Endpoint is one shard's end of the transport; see the package comment for
// who may call what.
type Endpoint interface {
	// Out is this node's outgoing stream. Bytes appended to it are seen by
	// peers after Publish.
	Out() *ring.Out

	// Prepare makes the connection to one life of a peer: everything slow
	// (files, mappings, queue pairs). Any goroutine. ErrNoPeer if that life
	// has no endpoint (yet, or any more).
	Prepare(peer int, incarnation uint32) (Link, error)
	// Attach starts using a link: marks to and from the peer start at zero
	// for this pair of incarnations. An older link to the same node is
	// detached. O(1).
	Attach(l Link)
	// Detach stops using the peer: afterwards nothing of it arrives, late
	// one-sided writes included, and it reads nothing more that is published.
	// The link is returned for closing off the worker's thread; nil if none.
	Detach(peer int) Link

	// Feed tells the peer from which position of this stream it reads; until
	// then its Mirror is nil. Once per attached link.
	Feed(peer int, from uint64)
	// Mirror is the incoming stream of an attached peer that has fed us, else
	// nil. Its limit moves at Poll.
	Mirror(peer int) *ring.Mirror
	// Poll looks once at every attached peer: new limits, new feeds.
	Poll()

	// Publish lets peers see the stream through Out().Tail(). A provider may
	// wait with that, and with the watermarks, until WakePeers, Poll or
	// PrepareSleep, to send a burst at once.
	Publish()
	// PublishMarks writes this node's line for the peer. At most once a burst.
	PublishMarks(peer int, m *Marks)
	// Marks reads the peer's line for this node, as of the last Poll or newer;
	// all zero until the peer has attached this life.
	Marks(peer int, m *Marks)
	// WakePeers wakes those sleeping peers for which something was published
	// since the last call.
	WakePeers()

	// PrepareSleep announces that the worker is about to sleep. The worker
	// then looks at all its inputs once more and calls either CancelSleep or
	// Sleep. A Wake or a peer's publication after PrepareSleep ends Sleep: no
	// wake-up is lost, a negative timeout waits for ever.
	PrepareSleep()
	CancelSleep()
	Sleep(timeout time.Duration)
	// Wake ends the worker's sleep, present or about to begin. Any goroutine.
	// It costs one load when the worker is awake.
	Wake()

	// Remote opens the peer's exposed memory for recovery. Any goroutine.
	Remote(peer int, incarnation uint32) (Remote, error)

	// Close detaches everybody and gives back all memory. Worker stopped.
	Close() error
}

// Redialer is an Endpoint whose connections can be made anew while they are in
// use, because what proves the two ends has changed.
type Redialer interface {
	Redial(peer int) // of a node; any goroutine
}
