package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.BootstrapAbsent, "the first view has those who are there", unit("heal/membership", "TestFirstViewWithoutOne")),
		one(plant.BootstrapUsed, "no first view is made beside a pool that is not new", unit("heal/membership", "TestFirstViewBarred")),
		one(plant.BootstrapFew, "the first view has a majority of the nodes", unit("heal/membership", "TestFirstViewBarred")),
		one(plant.OlderVotes, "an acceptor with an older file does not vote (H32)", unit("heal/membership", "TestOlderFile")),
		one(plant.OlderGivenUp, "its others decide without it as soon as it can be written", check{pkg: "heal/membership", run: "^TestSimulation$", args: "-membership.from 205 -membership.seeds 20"}),
		one(plant.OlderByAsking, "it does not vote for having asked as many as one with its own file (H32)", unit("heal/membership", "TestOlderFile")),
		one(plant.OlderUnflagged, "it does not vote after a restart either (H32)", unit("heal/membership", "TestOlderFile")),
		one(plant.OlderGrants, "it grants no leases (H32)", unit("heal/membership", "TestOlderFile")),
		one(plant.TurnsForgotten, "acceptors remember the turns of the others over a restart (H32)", unit("heal/membership", "TestOlderFile")),
	)
}
