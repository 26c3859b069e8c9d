package healkv

import "healkv/heal/membership"

// Members is for tests that change the view in another node's name.
func (n *Node) Members() *membership.Service { return n.members }
