package proto

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"healkv/dataplane/plant"
)

// NodeSet is a set of configured nodes, bit i for node i.
type NodeSet uint16

func (s NodeSet) Has(n NodeID) bool        { return s>>n&1 == 1 }
func (s NodeSet) With(n NodeID) NodeSet    { return s | 1<<n }
func (s NodeSet) Without(n NodeID) NodeSet { return s &^ (1 << n) }
func (s NodeSet) Count() int               { return bits.OnesCount16(uint16(s)) }

// Nodes appends the members in ascending order to dst.
func (s NodeSet) Nodes(dst []NodeID) []NodeID {
	for r := uint16(s); r != 0; r &= r - 1 {
		dst = append(dst, NodeID(bits.TrailingZeros16(r)))
	}
	return dst
}

// String lists the members: "[0 1 2]".
func (s NodeSet) String() string {
	b := []byte{'['}
	for i, n := range s.Nodes(nil) {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return string(append(b, ']'))
}

// View is the value of the view register: who is live, who is a shadow, in
// which incarnation, and for every configured node the last view in which it
// was live with its present pool (protocol.md, "Views, leases, incarnations").
// Views are values: they are copied, compared with ==, and never changed in
// place once published.
type View struct {
	Epoch      Epoch   // 0 before bootstrap
	Configured NodeSet // fixed at format
	Live       NodeSet
	Shadow     NodeSet // disjoint from Live
	// Cold marks the view of a cold start: its shadows are the live members
	// of the view before and recover from one another.
	Cold        bool
	Model       Model
	Shards      uint8
	Incarnation [NodesMax]Incarnation // of members: in this view; of others: last one in a view
	Issued      [NodesMax]Incarnation // highest incarnation ever handed out
	LiveUntil   [NodesMax]Epoch
	// ColdAfter is the last epoch with live members before the newest cold
	// start, 0 if there was none: whoever was live until then took part in it,
	// what an earlier one holds alone may have been lost at all who did.
	ColdAfter Epoch
	// Failed counts the lives of a node that ended as shadows, in other views
	// than cold ones, since it was last live; it stays at 255. It says how long
	// the next life waits before it asks to be admitted, and nothing else.
	Failed [NodesMax]uint8
}

// Members is everyone whose watermarks count: live and shadow.
func (v *View) Members() NodeSet { return v.Live | v.Shadow }

// Has reports whether that very life is a member.
func (v *View) Has(m Member) bool {
	return v.Members().Has(m.Node) && v.Incarnation[m.Node] == m.Incarnation
}

// Member is the life of n named by the view; meaningful for members only.
func (v *View) Member(n NodeID) Member { return Member{n, v.Incarnation[n]} }

// Next is the successor with the given sets: epoch + 1 and liveUntil of
// everybody live now set to the present epoch. See the changes built on it.
func (v *View) Next(live, shadow NodeSet) View {
	w := *v
	w.Epoch++
	w.Live, w.Shadow, w.Cold = live, shadow, false
	for n := range NodeID(NodesMax) {
		if v.Live.Has(n) || plant.Is(plant.H2LiveUntil) && v.Shadow.Has(n) {
			w.LiveUntil[n] = v.Epoch
		}
		switch {
		case live.Has(n):
			w.Failed[n] = 0
		case v.Shadow.Has(n) && !shadow.Has(n) && !v.Cold:
			w.failed(n)
		}
	}
	return w
}

// failed counts a life of n that ended as a shadow.
func (v *View) failed(n NodeID) {
	if v.Failed[n] < 255 && !plant.Is(plant.FailedForgotten) {
		v.Failed[n]++
	}
}

var (
	errViewSets  = errors.New("proto: view: live and shadow overlap or name unconfigured nodes")
	errViewModel = errors.New("proto: view: unknown persistency model")
	errViewShard = fmt.Errorf("proto: view: shards out of 1..%d", ShardsMax)
	errViewEpoch = fmt.Errorf("proto: view: epoch beyond %d", EpochMax)
)

// Validate checks a view that came from a peer or from a file.
func (v *View) Validate() error {
	switch {
	case v.Live&v.Shadow != 0 || v.Members()&^v.Configured != 0:
		return errViewSets
	case v.Model >= modelCount:
		return errViewModel
	case v.Shards < 1 || v.Shards > ShardsMax:
		return errViewShard
	case v.Epoch > EpochMax:
		return errViewEpoch
	}
	return nil
}
