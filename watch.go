package healkv

import "healkv/dataplane/proto"

// watch tells the membership how far the members have come with this node's
// streams; nothing between two lives. A shard that hangs keeps it waiting.
func (n *Node) watch() (pairs []proto.Pair) {
	if c := n.host.Core(); c != nil {
		for _, w := range c.Workers() {
			w.Do(func() { pairs = w.Pairs(pairs) })
		}
	}
	return pairs
}

// probe gives idle streams something that the members have to follow.
func (n *Node) probe() {
	if c := n.host.Core(); c != nil {
		for _, w := range c.Workers() {
			w.Do(w.Probe)
		}
	}
}
