//go:build verbs

package verbs

import "healkv/cgo/ibverbs"

// Counters of one endpoint; the worker's, like all else.
type Counters struct {
	WorkRequests uint64 // posted to send queues
	Doorbells    uint64 // lists posted, those of receives included
	Crossings    uint64 // into C; each polls the completion queue once
	Signalled    uint64 // work requests
	Inline       uint64 // lines that were sent inline
	Completions  uint64
	Bytes        uint64 // of the stream, per peer
	Lines        uint64
	Reads        uint64 // of version words, before sleeps
	Full         uint64 // bursts that a full send queue put off

	Wakes     uint64 // lines that rang for a sleeping peer
	Rings     uint64 // rings of peers
	SelfWakes uint64 // system calls Wake made
	Sleeps    uint64 // calls of Sleep
	Events    uint64 // of the completion channel

	Malformed   uint64                   // links cut because the peer's bytes made no sense
	Broken      uint64                   // lanes to peers that broke
	GivenUp     uint64                   // of them, by this node's own fault localFaultsMax times in a row or more
	LostIn      uint64                   // lanes of peers to us that broke
	Remade      uint64                   // lanes opened anew
	Refused     uint64                   // work requests that the device did not take
	Unheard     uint64                   // farewells without an answer in time
	Stale       uint64                   // completions of lanes that are not in use any more
	QueueErrors uint64                   // of the completion queue
	Statuses    [ibverbs.Statuses]uint64 // that broke lanes, by status
}

// Counters is a copy of the endpoint's counts. Worker.
func (e *Endpoint) Counters() Counters {
	c := e.counts
	c.SelfWakes, c.Remade = e.bell.rung.Load(), e.remade.Load()
	return c
}

// Malformed is the set of attached nodes (bit i for node i) of which nothing is
// read any more because their bytes made no sense. Worker.
func (e *Endpoint) Malformed() (set uint16) {
	for i, l := range e.peers {
		if l != nil && l.malformed {
			set |= 1 << i
		}
	}
	return set
}
