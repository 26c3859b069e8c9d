package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.DrainOpen, "a node that is drained takes no more writes", unit(".", "TestDrain")),
	)
}
