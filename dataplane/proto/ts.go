package proto

import (
	"fmt"

	"healkv/dataplane/plant"
)

// NodeID names a configured node, 0 to NodesMax-1.
type NodeID uint8

// Epoch numbers views. 0 is "before the first view".
type Epoch uint32

// Incarnation numbers the lives of one node, from 1; 0 is "none".
type Incarnation uint32

// Member is one life of one node. A changed incarnation is one member gone
// and another one new.
type Member struct {
	Node        NodeID
	Incarnation Incarnation
}

func (m Member) String() string { return fmt.Sprintf("%d.%d", m.Node, m.Incarnation) }

const (
	NodesMax  = 16 // configured nodes
	ShardsMax = 64

	epochBits   = 24
	versionBits = 36
	nodeBits    = 4

	// EpochMax and VersionMax are the last usable values; nothing wraps.
	EpochMax   = 1<<epochBits - 1
	VersionMax = 1<<versionBits - 1
)

// The three fields fill the word, and every node has a number in it.
const (
	_ = uint(64 - epochBits - versionBits - nodeBits)
	_ = uint(epochBits + versionBits + nodeBits - 64)
	_ = uint(1<<nodeBits - NodesMax)
)

// TS is a write's timestamp: epoch, version, node, compared as one integer.
// The epoch in front keeps a restarted node from minting a timestamp it used
// before (hazard H5). 0 means "never written".
type TS uint64

// MakeTS composes a timestamp. Preconditions: each field within its maximum.
func MakeTS(e Epoch, version uint64, n NodeID) TS {
	if plant.Is(plant.TSNode) {
		n = 0
	}
	return TS(uint64(e)<<(versionBits+nodeBits) | version<<nodeBits | uint64(n))
}

func (t TS) Epoch() Epoch    { return Epoch(t >> (versionBits + nodeBits)) }
func (t TS) Version() uint64 { return uint64(t) >> nodeBits & VersionMax }
func (t TS) Node() NodeID    { return NodeID(t & (1<<nodeBits - 1)) }
func (t TS) String() string  { return fmt.Sprintf("%d.%d.%d", t.Epoch(), t.Version(), t.Node()) }

// Next is the timestamp of a write at node n in epoch e over a record that
// carries t (protocol.md, "Write at coordinator", 2). ok is false when the
// version is exhausted or the record's epoch is above e.
func (t TS) Next(e Epoch, n NodeID) (next TS, ok bool) {
	switch te := t.Epoch(); {
	case te > e:
		return 0, false
	case te < e && (te == 0 || !plant.Is(plant.H5Epoch)):
		return MakeTS(e, 1, n), true
	case plant.Is(plant.TSVersion):
		return MakeTS(e, t.Version(), n), true
	case t.Version() == VersionMax && plant.Is(plant.TSWrap):
		return MakeTS(e, 0, n), true
	case t.Version() == VersionMax:
		return 0, false
	case plant.Is(plant.H5Epoch):
		return MakeTS(te, t.Version()+1, n), true
	default:
		return MakeTS(e, t.Version()+1, n), true
	}
}
