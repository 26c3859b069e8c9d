// Package conformance is the suite every provider of rdma.Endpoint passes. It
// is test code: a provider's own tests call Run.
package conformance

import (
	"testing"

	"healkv/rdma"
)

// RingBytes is the ring that endpoints under test must have, and Nodes how many
// are configured.
const (
	RingBytes = 64 << 10
	Nodes     = 3
)

// Fabric is a provider under test.
type Fabric struct {
	// New makes the endpoint of one life of a node, shard 0. The fabric closes
	// it at the end of the test if the test has not.
	New func(node int, incarnation uint32) rdma.Endpoint
	// Settle lets everything that was published arrive.
	Settle func()
	// Expose lets peers of e read a copy of mem.
	Expose func(e rdma.Endpoint, mem []byte)
	// Sleep makes the endpoint prepare to sleep, runs before, sleeps without
	// timeout, runs during, and fails the test unless the sleep ends then.
	Sleep func(e rdma.Endpoint, before, during func())
	// AllocFree: the datapath allocates nothing.
	AllocFree bool
}

// Run runs the suite; fabric makes a fresh, empty one.
func Run(t *testing.T, fabric func(t *testing.T) Fabric) {
	cases := []struct {
		name string
		run  func(*testing.T, Fabric)
	}{
		{"NoSuchPeer", noSuchPeer},
		{"StreamInOrder", streamInOrder},
		{"NothingBeforePublish", nothingBeforePublish},
		{"MirrorNeedsBothSides", mirrorNeedsBothSides},
		{"FeedFromMiddle", feedFromMiddle},
		{"FeedBeforePublish", feedBeforePublish},
		{"FullRing", fullRing},
		{"MarksArrive", marksArrive},
		{"MarksOfThePair", marksOfThePair},
		{"PeerReborn", peerReborn},
		{"SelfReborn", selfReborn},
		{"OldLifeGoesOn", oldLifeGoesOn},
		{"Detach", detach},
		{"DetachOneOfTwo", detachOneOfTwo},
		{"AttachReplaces", attachReplaces},
		{"Reconnect", reconnect},
		{"ReconnectOneSide", reconnectOneSide},
		{"ReconnectByPeer", reconnectByPeer},
		{"Sleep", sleeps},
		{"Remote", remote},
		{"Gather", gather},
		{"Close", closes},
		{"DatapathAllocatesNothing", allocatesNothing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, fabric(t)) })
	}
	t.Logf("%d cases", len(cases))
}
