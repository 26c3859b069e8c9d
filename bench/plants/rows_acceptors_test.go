package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.BootstrapAbsent, "the first view has those who are there", unit("heal/membership", "TestFirstViewWithoutOne")),
		one(plant.BootstrapUsed, "no first view is made beside a pool that is not new", unit("heal/membership", "TestFirstViewBarred")),
		one(plant.BootstrapFew, "the first view has a majority of the nodes", unit("heal/membership", "TestFirstViewBarred")),
	)
}
