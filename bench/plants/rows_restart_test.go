package plants

import "healkv/dataplane/plant"

func init() {
	log, killed := unit("pmem", "TestCheckpointAgainstTheLog"), unit("pmem/index", "TestKilledAtEveryStep")
	states := unit("pmem", "TestCheckpointFileStates")
	table = append(table,
		one(plant.IndexSum, "a store keeps its page's sum", killed),
		one(plant.IndexSumRedo, "Open finishes the sum of a page that was amid a store", killed),
		one(plant.IndexSumIgnored, "a page that does not have its sum is filled anew", unit("pmem/index", "TestDamagedPageIsMended")),
		one(plant.UnsureMissing, "a reader asks the worker about a page in doubt", unit("pmem", "TestCheckpointFile")),
		one(plant.ColdEmpty, "a page of a checkpoint is loaded before it is used", unit("pmem", "TestCheckpointFile")),
		one(plant.CkptTableSum, "a checkpoint's table is verified", unit("pmem", "TestDamagedCheckpoint")),
		one(plant.CkptTableFirst, "pages are durable before the table that names them is written", states),
		one(plant.CkptUnsynced, "a table is durable before the one before it is given up", log),
		one(plant.CkptAhead, "a checkpoint is in force when the log is durable through what it knows", states),
		one(plant.CkptHole, "a checkpoint's table is written when the log is durable through what it knows", unit("pmem", "TestCheckpointOverAHole")),
		one(plant.CkptNeeds, "a checkpoint of another log is not opened: an older copy of the pool is one", unit("pmem", "TestCheckpointOfAnotherLog")),
		one(plant.CkptSlot, "slots of the table in force are not written over", log),
		one(plant.CkptStale, "a page that changed is written again", log),
		one(plant.CkptReplay, "the replay begins where the checkpoint began", log),
		one(plant.CkptLocks, "records above the stable position are locked when their page is loaded", log),
		one(plant.FreeUnflushed, "headers of free places that the last life may not have flushed are flushed again", unit("pmem/seglog", "TestPowerLoss")),
		one(plant.CkptGone, "words of segments that went are dropped when their page is loaded", log),
	)
}
