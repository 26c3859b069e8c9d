package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.SpaceRelease, "an emptied segment waits for the release bound", unit("pmem/store", "TestReleaseBound")),
		one(plant.SpaceUnlisted, "a copy out of a missed range is listed", unit("dataplane", "TestMissedRangeOutlivesTheLog")),
		one(plant.SpaceUnstable, "the copy of what is not stable does not say that it is", unit("dataplane/replica", "TestShadowCleansAboveItsStablePosition")),
		one(plant.SpaceForgets, "a later life's cleaner knows the ranges that began before it", unit("dataplane/replica", "TestMissedRanges")),
		one(plant.SpacePinAhead, "the pin of a range rises with what was read, not with what was listed", unit("heal", "TestPinFollowsTheReader")),
	)
}
