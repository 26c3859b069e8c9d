package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SeedUncompared, "a node that hashes keys with another seed is not heard and gets no votes", unit("heal/membership", "TestOtherHashSeedIsRefused")),
		one(plant.SeedRehashed, "a record that is hashed with another seed is not adopted", unit("dataplane/replica", "TestAdoptOfAnotherSeed")),
	)
}
