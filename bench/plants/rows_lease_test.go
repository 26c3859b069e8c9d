package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.CtlFrameVersion, "a frame of another version is refused", unit("heal/control", "TestHostileBytes")),
		one(plant.LapseUnawaited, "an acceptor waits for the end of a lease that has almost run out", unit("heal/membership", "TestPollWaitsForALeaseThatEnds")),
		one(plant.LeaveAll, "who leaves waits for a majority, not for all", unit("heal/membership", "TestLeaveBesideASilentNode")),
		one(plant.NextUnpromised, "a vote promises the ballot that may follow it", unit("heal/membership/register", "TestLeadOfADeclinedChange")),
		one(plant.LeadDeclines, "that there is nothing to change is read from a majority", unit("heal/membership", "TestLeadAnswersNoDecline")),
		one(plant.LeadKept, "a lead is used once", unit("heal/membership", "TestLeadIsUsedOnce")),
	)
}
