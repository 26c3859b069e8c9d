//go:build verbs

package verbs

import (
	"time"

	"healkv/rdma"
)

const (
	nodesMax = rdma.NodesMax

	ringBytesDefault = 4 << 20

	sendDepth    = 128 // work requests of a lane
	signalEvery  = 32  // work requests per signalled completion, at most
	burstMax     = 4   // work requests of a lane in one burst: two pieces, the line, one read
	receiveDepth = 4   // receives of a lane: one per sleep that is rung for
	lanesMax     = 4   // incoming lanes of one peer: the one in use and those that are being prepared
	completions  = 64  // taken in one crossing
	readsMax     = 1   // outstanding RDMA READs of a lane

	// The local acknowledgement timeout is 4.096 µs << ackTimeout = 17 ms, so a
	// silent peer is noticed after about 120 ms, or several times that: devices
	// may wait up to four times as long. 7 would be endless on Soft-RoCE, as it
	// is everywhere for receivers that are not ready.
	ackTimeout = 12
	ackRetries = 6
)

// Two signalling periods must fit into the send queue, or it can fill up with
// requests that never report a completion.
const (
	_ = uint(sendDepth - 2*signalEvery - burstMax)
	_ = uint(signalEvery - burstMax)
	_ = uint(255 - nodesMax)
)

const (
	callTime     = 2 * time.Second        // one call over the Exchange, at least: Config.Patience
	farewellTime = 2 * time.Millisecond   // for the last line to a peer that is detached
	unarmedSleep = 5 * time.Millisecond   // a sleep's bound while a peer may not know of it
	preparePause = 20 * time.Millisecond  // after a lane that could not be opened
	mendPause    = 10 * time.Millisecond  // first pause between attempts to open a lane anew
	mendPauseMax = 500 * time.Millisecond // longest
	readTime     = 5 * time.Second        // one RDMA READ of recovery
)

// Remote reads; what they register stands in need.go.
const (
	readDepth     = 64  // RDMA READs of one burst
	recoveryReads = 16  // of them, under way at once
	gapMax        = 512 // bytes between two ranges that are read with them: cheaper than one more READ
	partsMax      = 4096
)

const (
	_ = uint(windowBytes - pieceBytes)
	_ = uint(pieceBytes - gapMax)
)
