package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.CtlFrameVersion, "a frame of another version is refused", unit("heal/control", "TestHostileBytes")),
		one(plant.LapseUnawaited, "an acceptor waits for the end of a lease that has almost run out", unit("heal/membership", "TestSilentMemberIsOutWithItsLease")),
		one(plant.LeaveAll, "who leaves waits for a majority, not for all", unit("heal/membership", "TestLeaveBesideASilentNode")),
	)
}
