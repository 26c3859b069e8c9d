package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.CountBusy, "live bytes are counted a little per busy turn", unit("pmem/store", "TestCountLeavesABusyTurn")),
		one(plant.SpaceUnlisted, "a copy out of a missed range is listed", unit("dataplane", "TestMissedRangeOutlivesTheLog")),
		one(plant.SpaceUnstable, "the copy of what is not stable does not say that it is", unit("dataplane/replica", "TestShadowCleansAboveItsStablePosition")),
		one(plant.SpaceForgets, "a later life's cleaner knows the ranges that began before it", unit("dataplane/replica", "TestMissedRanges")),
		one(plant.TombstoneUnstable, "a tombstone goes only below the stable position", unit("pmem/store", "TestTombstonesGo")),
		one(plant.TombstoneOlder, "a tombstone goes only out of the oldest segment", unit("pmem/store", "TestTombstonesGo")),
		one(plant.TombstoneUnflushed, "a segment that held tombstones is given back after older ones are zeroed on the media", unit("pmem/store", "TestTombstonesOutliveWhatTheyBury")),
		one(plant.TombstoneAway, "tombstones go only while all configured nodes are live", unit("dataplane/replica", "TestDropBelow")),
		one(plant.TombstoneBarrier, "tombstones go only when every member has rolled forward in this view", unit("dataplane/replica", "TestDropBelow")),
		one(plant.TombstoneEpoch, "tombstones of the present view stay", unit("dataplane/replica", "TestDropBelow")),
		one(plant.SpacePinAhead, "the pin of a range rises with what was read, not with what was listed", unit("heal", "TestPinFollowsTheReader")),
	)
}
