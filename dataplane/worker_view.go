package dataplane

import (
	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/rdma"
)

// Links are prepared connections by node, nil where none is needed.
type Links [proto.NodesMax]rdma.Link

// InstallView installs a newer view: those who are gone are cut before
// anything of the new view counts, the new ones are attached and fed
// (protocol.md, "Installing view e at n"). links holds one for every member
// that is not in the installed view. What is returned is to be closed off the
// worker's thread. Inside Do.
func (w *Worker) InstallView(v *proto.View, links *Links) (gone []rdma.Link) {
	old, self := *w.rep.View(), w.rep.Self()
	for _, n := range old.Members().Without(self.Node).Nodes(nil) {
		if m := old.Member(n); !v.Has(m) && !(plant.Is(plant.ViewFence) && !v.Members().Has(n)) {
			if l := w.ep.Detach(int(n)); l != nil {
				gone = append(gone, l)
			}
		}
	}
	fresh := make([]proto.NodeID, 0, proto.NodesMax)
	for _, n := range v.Members().Without(self.Node).Nodes(nil) {
		if m := v.Member(n); !old.Has(m) {
			w.ep.Attach(links[n])
			w.sent[n], w.faultUntil[n], w.faults[n] = rdma.Marks{}, 0, 0
			fresh = append(fresh, n)
		}
	}
	w.see(&old, old.Members()&^v.Members() != 0)
	w.rep.Install(v)
	for _, n := range fresh {
		w.ep.Feed(int(n), w.rep.FeedFrom(n))
	}
	return gone
}

// see notes for the superblock how far the members of v have flushed, so that
// it is known over the end of this process (H19); soon: somebody is gone, and
// this was the last to be seen of him.
func (w *Worker) see(v *proto.View, soon bool) {
	if plant.Is(plant.SeenForgotten) {
		return
	}
	for n := range proto.NodeID(proto.NodesMax) {
		m := v.Member(n)
		if !v.Has(m) || m == w.rep.Self() {
			continue
		}
		if pos := w.rep.SawFlushed(m); pos > 0 {
			w.seen[n] = pmem.Seen{Incarnation: uint32(m.Incarnation), Pos: pos}
		}
	}
	w.pool.Saw(&w.seen, soon)
}
