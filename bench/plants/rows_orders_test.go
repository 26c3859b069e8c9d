package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.DrainOpen, "a node that is drained takes no more writes", unit(".", "TestDrain")),
		one(plant.DrainSilent, "a node that leaves without a majority's word is not called drained in order", unit(".", "TestDrainUnannounced")),
		one(plant.EndWaits, "the end of the process takes over an order that is under way", unit(".", "TestOrderWaitsWithItsAsker")),
		one(plant.ResumeEnding, "no node comes back while its process ends", unit(".", "TestEndIsFinal")),
	)
}
