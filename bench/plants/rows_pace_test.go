package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.PaceGreedy, "a recovery that waits for cores goes no faster than its floor", unit("heal", "TestPace")),
		one(plant.PaceCatchesUp, "a recovery that was held up does not make up for all of it at once", unit("heal", "TestPaceForgets")),
		one(plant.PaceUnhurried, "a recovery does not hold up a buddy that runs out of room", unit("heal", "TestPaceHurries")),
		one(plant.PaceDeaf, "a recovery whose worker waits for cores goes no faster than its floor", unit("heal", "TestPaceHears")),
		one(plant.PaceStrolls, "a node that was away for a moment is back as fast as it can be", unit("heal", "TestPaceSprints")),
		one(plant.WalkDear, "the walk of a missed range takes the share of a core that its transfer takes", unit("heal", "TestPaceWalks")),
		one(plant.ChoresAtOnce, "what an opened pool leaves to do takes a tenth of a core", unit("dataplane", "TestChoresRest")),
	)
}
