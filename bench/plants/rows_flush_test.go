package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.FlushEarly, "a flush beside the worker counts when it has ended", unit("pmem", "TestFlushBeside")),
		one(plant.FlushLateTail, "a flush covers the log as it stood when it began", unit("pmem", "TestFlushBeside")),
		one(plant.SuperFlight, "a superblock that goes out with a flush claims only what earlier ones cover (P1)", unit("pmem", "TestFlushBeside")),
		one(plant.FlushNotAwaited, "whoever writes a superblock waits for the flush under way (P3)", unit("pmem", "TestSuperblockWaitsForAFlush")),
		one(plant.FlushError, "an error of a flush beside the worker is taken note of (P4)", unit("pmem", "TestFlushBesideFails")),
		one(plant.FlushJoined, "one flush at a time (P7)", unit("pmem", "TestOneFlushAtATime")),
		one(plant.FlushLandsEarly, "a flush has ended only once its drain has", unit("pmem", "TestFlushBeside")),
		one(plant.FlusherDropsNext, "what is posted when a job ends is the flusher's next job", unit("pmem", "TestFlusherTakesEveryJob")),
		one(plant.FlusherAbandoned, "who ends the flusher waits for the job under way", unit("pmem", "TestFlusherEnds")),
		one(plant.FlusherLeaves, "a job that the flusher did not come to is done at its end", unit("pmem", "TestFlusherEnds")),
		one(plant.FlushUnwoken, "the end of a flush wakes its worker", unit("dataplane", "TestPipelinedGroupCommit")),
		one(plant.FlushExtended, "what is written during a flush does not keep waiting what the flush covers", unit("dataplane", "TestPipelinedGroupCommit")),
		one(plant.FlushFolios, "a pool's pages lie one by one in the page cache", unit("pmem", "TestFlushIsSmall")),
	)
	for _, b := range []plant.Bug{plant.FlushEarly, plant.FlushLateTail} {
		seconds[b] = append(seconds[b], simulated)
	}
}
