package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.ForcedLiveUntil, "who is left out of a forced cold start comes back by full copy", unit("heal/rejoin", "TestForced")),
		one(plant.ForcedRunning, "no cold start is forced while a live member runs", unit("heal/rejoin", "TestForcedRefusals")),
	)
}
