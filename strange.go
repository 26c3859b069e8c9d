package healkv

import (
	"fmt"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem"
	"healkv/pmem/record"
)

// newestEpoch is that of the newest view that a shard's pool knows.
func newestEpoch(pools []*pmem.Pool) (e uint32) {
	for _, p := range pools {
		e = max(e, p.Recovered().ViewEpoch)
		if pos := p.Store().LastMarker(); pos != 0 {
			if img := p.Store().Record(pos); img != nil && p.Store().Whole(pos) {
				e = max(e, record.Epoch(img))
			}
		}
	}
	return e
}

// strange refuses a pool with data that the cluster of the view register cannot
// have given it: the register is empty, or it has never had this node as a
// member, or it has not come as far as the pool. To join would discard the data.
// v is no older than what a majority of the acceptors has: a pool learns of
// views that they chose and of no others, so they have forgotten some.
func strange(poolEpoch uint32, v *proto.View, n proto.NodeID, stateDir string) error {
	switch {
	case poolEpoch == 0:
		return nil
	case v.Epoch == 0:
		return fmt.Errorf("healkv: the pool has data of view %d, but the view register in %s and at the other nodes is empty: wrong state directory, or the cluster was formatted anew",
			poolEpoch, stateDir)
	case v.Incarnation[n] == 0:
		return fmt.Errorf("healkv: the pool has data of view %d, but the cluster, now at view %d, has never had node %d as a member: the pool of another cluster's past; to join with an empty pool, move it away and format the pool anew",
			poolEpoch, v.Epoch, n)
	case poolEpoch > uint32(v.Epoch) && !plant.Is(plant.RegisterOlder):
		return fmt.Errorf("healkv: the pools of node %d know view %d, but a majority of the view registers (this node's is in %s) knows none after %d: state directories were replaced by older copies; nothing was changed in the pools. Stop all nodes and put the newer state directories back: see \"State directories older than the pools\" in docs/operations.md",
			n, poolEpoch, stateDir, v.Epoch)
	}
	return nil
}
