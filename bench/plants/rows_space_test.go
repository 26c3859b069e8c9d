package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SpaceRelease, "an emptied segment waits for the release bound", unit("pmem/store", "TestReleaseBound")),
	)
}
