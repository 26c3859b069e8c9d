package shm

import "healkv/rdma"

// Name is what the provider is chosen by.
const Name = "shm"

func init() { rdma.Register(Name, openConfig) }

// openConfig makes an endpoint with a run directory of its own.
func openConfig(c rdma.Config) (rdma.Endpoint, error) {
	d, err := Open(c.RunDir)
	if err != nil {
		return nil, err
	}
	e, err := New(Config{Dir: d, Node: c.Node, Nodes: c.Nodes, Shard: c.Shard, Incarnation: c.Incarnation, RingBytes: c.RingBytes})
	if err != nil {
		d.Close()
		return nil, err
	}
	e.ownsDir = true
	return e, nil
}
