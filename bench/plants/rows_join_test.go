package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SpareLength, "a life takes over a ring only of the length it needs", unit("rdma/shm", "TestSpare")),
		one(plant.CountNever, "what the log of an earlier life holds is counted once the node is live", unit("dataplane", "TestShadowsDoNotCount")),
		one(plant.CtlEarly, "who is met before the start is told at the start", unit("heal/control", "TestDialBeforeStart")),
		one(plant.KeptTwice, "a number that a life has left for the next is taken once", unit(".", "TestKeptNumber")),
		one(plant.KeptCopied, "a copy of such a number is none", unit(".", "TestKeptNumber")),
		one(plant.RoundNear, "the first proposal of a process is not outbid by what went on without it", unit("heal/membership", "TestFirstProposalIsNotOutbid")),
		one(plant.KeptPassed, "such a number is used only if it is the last that was handed out", unit(".", "TestKeptNumber")),
	)
}
