package healkv

import (
	"fmt"

	"healkv/pmem"
)

func (n *Node) openPools() ([]*pmem.Pool, error) {
	id, err := n.cfg.cluster()
	if err != nil {
		return nil, err
	}
	var pools []*pmem.Pool
	for i := range n.cfg.Shards {
		var onGrow func(int64) error
		if n.cfg.onGrow != nil {
			onGrow = func(bytes int64) error { return n.cfg.onGrow(i, bytes) }
		}
		var onMap func(*pmem.Region)
		if n.cfg.onMap != nil {
			onMap = func(r *pmem.Region) { n.cfg.onMap(i, r) }
		}
		p, err := pmem.Open(pmem.OpenOptions{Dir: n.cfg.PoolDir, IndexDir: n.cfg.IndexDir, Domain: n.cfg.Domain, CheckpointBytes: n.cfg.CheckpointBytes, OnMap: onMap, OnGrow: onGrow,
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

// poolFailed hears, from whoever met it, that a life can keep no promise any
// more. The failure itself is recorded by the pool; what follows is run's.
func (n *Node) poolFailed(l *life, shard int, err error) {
	err = fmt.Errorf("shard %d: %w", shard, err)
	if !l.failed.CompareAndSwap(nil, &err) {
		return
	}
	n.event("pool_failed", 0, err.Error())
	l.gate.shut()
	l.heal.Failed(err)
}
