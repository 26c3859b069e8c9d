package dataplane

import "healkv/dataplane/proto"

// linked is what a transport may tell of its connections.
type linked interface {
	// Linked reports whether there is a connection to the member it is attached
	// to.
	Linked(peer int) bool
}

// Pairs appends how far each member has come with this shard's stream, for the
// node's detector (H29). Inside Do.
func (w *Worker) Pairs(dst []proto.Pair) []proto.Pair {
	begin := len(dst)
	dst = w.rep.Pairs(dst)
	ep, tells := w.ep.(linked)
	for i := begin; i < len(dst); i++ {
		p := &dst[i]
		p.Shard = uint8(w.shard)
		if tells {
			p.Linked = ep.Linked(int(p.Member.Node))
		}
	}
	return dst
}

// Probe gives an idle stream an entry that means nothing, so that Pairs can
// tell who stands still. Inside Do.
func (w *Worker) Probe() { w.rep.Probe() }
