package tcp

import "healkv/rdma"

// Name is what the provider is chosen by.
const Name = "tcp"

func init() {
	rdma.Register(Name, func(c rdma.Config) (rdma.Endpoint, error) {
		e, err := New(Config{Node: c.Node, Nodes: c.Nodes, Shard: c.Shard, Incarnation: c.Incarnation, RingBytes: c.RingBytes,
			Exchange: c.Exchange, Logger: c.Logger, Listen: c.Listen, TLS: c.TLS, Plain: c.Plain, Peer: c.Peer, Patience: c.Patience})
		if err != nil {
			return nil, err
		}
		return e, nil
	})
}
