package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.HeirUnasked, "a view is left only to a live member that answers", unit("./heal/membership", "TestLeaveToTheDead")),
	)
}
