package healkv

import (
	"healkv/dataplane"
	"healkv/dataplane/proto"
)

// watch makes the function that tells the membership how far the members have
// come with this node's streams; nothing between two lives. A shard that hangs
// keeps its caller waiting.
func (n *Node) watch() func() []proto.Pair {
	var eye dataplane.Watch
	return func() []proto.Pair { return eye.Pairs(n.host.Core(), n.members.Current().Epoch) }
}

// probe gives idle streams something that the members have to follow.
func (n *Node) probe() {
	if c := n.host.Core(); c != nil {
		for _, w := range c.Workers() {
			w.Do(w.Probe)
		}
	}
}
