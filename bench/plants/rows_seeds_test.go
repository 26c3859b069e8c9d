package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SeedUncompared, "a node that hashes keys with another seed is not heard and gets no votes", unit("heal/membership", "TestOtherHashSeedIsRefused")),
		one(plant.SeedRehashed, "a record that is hashed with another seed is not adopted", unit("dataplane/replica", "TestAdoptOfAnotherSeed")),
		one(plant.RefusedForGood, "a life whose connections were refused is guarded again when it speaks", unit("heal/membership", "TestOneRefusalRemovesNobody")),
		one(plant.RefusedProves, "a refused connection at one node is no proof of death", unit("heal/membership", "TestOneRefusalRemovesNobody")),
		one(plant.RefusedPolls, "polls about a refused life become rarer", unit("heal/membership", "TestOneRefusalRemovesNobody")),
		one(plant.VoteWaits, "who waits for a hung disk to vote gives up in time", unit("heal/membership", "TestHungDiskLeavesRoomForBeats")),
		one(plant.FactDropped, "who tells a fact that finds no room tells it again", unit("heal", "TestFactWithoutRoomIsToldAgain")),
	)
}
