package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.CrowdAlone, "a worker that waits for its processor puts flushes off for longer", unit("dataplane", "TestGatherCrowded")),
		one(plant.CrowdSum, "a crowd that is over is forgotten", unit("dataplane", "TestGatherCrowded")),
	)
}
