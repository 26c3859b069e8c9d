package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.WideRoom, "writes that stand still at a shard leave room for those of another", unit("dataplane", "TestWideSessionRoom")),
		one(plant.WideOvertake, "a read follows the session's own write of the key", unit("dataplane", "TestWideSessionRoom")),
		one(plant.WideArm, "what is finished before Arm needs no notice", unit("dataplane", "TestWideSessionArm")),
		one(plant.RespFlying, "memory of an operation under way is nobody else's", unit("dataplane/resp", "TestVanishedClient")),
		one(plant.RespAhead, "a read that could be answered waits for the replies before it", unit("dataplane/resp", "TestPipelineKeepsProgramOrder")),
	)
}
