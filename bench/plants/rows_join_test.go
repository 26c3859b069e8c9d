package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SpareLength, "a life takes over a ring only of the length it needs", unit("rdma/shm", "TestSpare")),
		one(plant.CountNever, "what the log of an earlier life holds is counted once the node is live", unit("dataplane", "TestShadowsDoNotCount")),
	)
}
