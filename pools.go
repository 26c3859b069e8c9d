package healkv

import (
	"fmt"

	"healkv/dataplane"
	"healkv/pmem"
)

func (n *Node) openPools() ([]*pmem.Pool, error) {
	id, err := n.cfg.cluster()
	if err != nil {
		return nil, err
	}
	var pools []*pmem.Pool
	for i := range n.cfg.Shards {
		p, err := pmem.Open(pmem.OpenOptions{Dir: n.cfg.PoolDir, IndexDir: n.cfg.IndexDir, Domain: n.cfg.Domain, CheckpointBytes: n.cfg.CheckpointBytes,
			Identity: pmem.Identity{Cluster: id, Node: uint8(n.cfg.Node), Shard: uint8(i), Shards: uint8(n.cfg.Shards), HashSeed: n.cfg.HashSeed}})
		if err != nil {
			for _, p := range pools {
				p.Close(false)
			}
			return nil, err
		}
		pools = append(pools, p)
	}
	return pools, nil
}

func (n *Node) poolFailed(shard int, err error) {
	err = fmt.Errorf("shard %d: %w: %w", shard, dataplane.ErrPoolFailed, err)
	n.failure.CompareAndSwap(nil, &err)
	n.event("pool_failed", 0, err.Error())
	go n.cancel()
}
