package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.CtlFrameVersion, "a frame of another version is refused", unit("heal/control", "TestHostileBytes")),
	)
}
