package plants

import "healkv/dataplane/plant"

// registered goes through every interleaving of acceptors, proposers and leases.
var registered = check{pkg: "heal/explore", run: "^TestRegister$", says: "VIOLATION: "}

func init() {
	table = append(table,
		one(plant.GuardFirst, "nobody whom a proposed view drops gets more of a lease (H29)", unit("heal/membership/grant", "TestGuardOfSeveral")),
	)
	for _, b := range []plant.Bug{
		plant.AcceptOutbid, plant.PromiseForgotten, plant.AcceptUnguarded, plant.LearnOlder, plant.BallotLife, plant.BallotRound,
		plant.ProposeOwn, plant.ProposeFew, plant.ProposeUnsettled, plant.NextUnpromised, plant.GuardFirst,
		plant.H22Quiet, plant.H29Complaint, plant.GrantForgotten, plant.GrantDrift, plant.GrantAnybody, plant.RenewMinority,
	} {
		seconds[b] = append(seconds[b], registered)
	}
}
