package healkv

import (
	"fmt"

	"healkv/pmem"
)

// poolOptions name the pool of one shard.
func (n *Node) poolOptions(shard int) (o pmem.OpenOptions, err error) {
	id, err := n.cfg.cluster()
	if err != nil {
		return o, err
	}
	o = pmem.OpenOptions{Dir: n.cfg.PoolDir, IndexDir: n.cfg.IndexDir, Domain: n.cfg.Domain, CheckpointBytes: n.cfg.CheckpointBytes,
		Identity: pmem.Identity{Cluster: id, Node: uint8(n.cfg.Node), Shard: uint8(shard), Shards: uint8(n.cfg.Shards), HashSeed: n.cfg.HashSeed}}
	if n.cfg.onGrow != nil {
		o.OnGrow = func(bytes int64) error { return n.cfg.onGrow(shard, bytes) }
	}
	if n.cfg.onMap != nil {
		o.OnMap = func(r *pmem.Region) { n.cfg.onMap(shard, r) }
	}
	return o, nil
}

// lookAtPools says whether the pools are this node's, before anybody hears of
// it: a wrong one must not disturb anybody.
func (n *Node) lookAtPools() error {
	for i := range n.cfg.Shards {
		o, err := n.poolOptions(i)
		if err == nil {
			err = pmem.Look(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) openPools() ([]*pmem.Pool, error) {
	var pools []*pmem.Pool
	for i := range n.cfg.Shards {
		o, err := n.poolOptions(i)
		if err != nil {
			return nil, err
		}
		p, err := pmem.Open(o)
		if err != nil {
			for _, p := range pools {
				p.Close(false)
			}
			return nil, err
		}
		r := p.Recovered()
		n.log.Debug("pool opened", "shard", i, "map", r.MapTime, "log", r.LogTime, "index", r.IndexTime, "flush", r.FlushTime, "total", r.Total)
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
