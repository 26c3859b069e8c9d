package healkv

import (
	"fmt"

	"healkv/dataplane/proto"
	"healkv/heal/identity"
	"healkv/pmem"
	"healkv/rdma"
)

// openEndpoint makes one shard's end of the transport and exposes the pool's
// log to peers. An endpoint that comes with an error is to be closed too.
func (n *Node) openEndpoint(self proto.Member, shard int, p *pmem.Pool) (rdma.Endpoint, error) {
	c := &n.cfg
	end := rdma.Config{RunDir: c.RunDir, Node: c.Node, Nodes: c.Nodes, Shard: shard, Incarnation: uint32(self.Incarnation),
		RingBytes: c.RingBytes, Exchange: n.links.of(self, shard), Patience: c.Lease / 3, Logger: n.log, Verbs: c.Verbs}
	var err error
	end.Plain = c.DataPlain
	if end.Listen, err = c.dataAddress(shard); err != nil {
		return nil, err
	}
	if c.DataTLS {
		end.TLS, end.Peer = c.TLS.Both(identity.Name{Cluster: c.ClusterID, Node: self.Node}), identity.Peer
	}
	ep, err := rdma.Open(c.Provider, end)
	if err != nil {
		return nil, err
	}
	n.ends.opened(shard, ep)
	x, ok := ep.(rdma.Exposer)
	if !ok {
		return ep, fmt.Errorf("healkv: provider %q lets nobody read a pool: no node can recover with it", c.Provider)
	}
	path, base := p.Exposed()
	size := p.LogBytes()
	return ep, x.Expose(rdma.Exposed{Path: path, Base: base, Size: size, Mem: p.Region().Bytes()[base : base+size : base+size]})
}
