package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.FaultReader, "a fault under a reader is an error of that read", unit(".", "TestFaultUnderAReader")),
		one(plant.FaultInside, "a reader that met a fault has left the store", unit("dataplane", "TestFaultLeavesTheStore")),
		one(plant.FaultRejected, "nobody is told that a write cut by a fault was not applied", unit(".", "TestFaultInAWrite")),
		one(plant.FaultBuddy, "a fault in a buddy's walk ends its life, not the program", unit(".", "TestFaultOfTheBuddy")),
		one(plant.PoolFinal, "a failed pool is opened again", unit(".", "TestFailedFlushIsALife")),
		one(plant.PoolAtOnce, "a node whose pool fails waits longer each time", unit(".", "TestFailPause")),
		one(plant.IndexStarved, "an index that cannot grow takes no new keys", unit(".", "TestIndexWithoutSpace")),
		one(plant.IndexGrowNever, "an index grows again when there is room", unit(".", "TestIndexWithoutSpace")),
		one(plant.IndexSpins, "a full file system is asked now and then", unit("pmem/index", "TestNoMemory")),
		one(plant.MendNever, "an acceptor writes its file again when its disk works", unit("heal/membership", "TestFileIsMended")),
		one(plant.MendUnwritten, "what a flush failed to bring is written anew, not only flushed", unit("heal/membership", "TestFileIsMended")),
		one(plant.MendVotes, "an acceptor is silent until its file is written again", unit("heal/membership", "TestFileIsMended")),
	)
}
