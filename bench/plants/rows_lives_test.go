package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.ForcedLiveUntil, "who is left out of a forced cold start comes back by full copy", unit("heal/rejoin", "TestForced")),
		one(plant.ForcedRunning, "no cold start is forced while a live member runs", unit("heal/rejoin", "TestForcedRefusals")),
		one(plant.FailedForgotten, "lives that ended as shadows are counted in the view", unit("dataplane/proto", "TestFailed")),
		one(plant.BackoffAtOnce, "a node whose lives keep ending as shadows waits before the next", unit("heal/rejoin", "TestBacksOff")),
		one(plant.OlderCounts, "an older copy of a pool takes no part in a cold start", unit("heal", "TestOlderPoolInAColdStart")),
		one(plant.BlankEnd, "an older copy of a pool under the index of its last life is noticed", unit("heal", "TestOlderPoolUnderANewerIndex")),
		one(plant.SeenForgotten, "how far others have flushed is known over a restart", unit("heal", "TestOlderPoolAfterAllRestarted")),
		one(plant.WorkerMalformed, "a member's stream that makes no sense ends this life", unit("dataplane", "TestMalformedStreamIsGivenUp")),
	)
}
