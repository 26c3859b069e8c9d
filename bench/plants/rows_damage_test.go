package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.DamageSplit, "a damaged record is found on both sides of a page split", unit("pmem/store", "TestDamageOutlivesSplits")),
		one(plant.DamageHeader, "the worker verifies the headers it decides by", unit("pmem/store", "TestDamagedRecordsDecideNothing")),
		one(plant.DamageFloor, "no timestamp is chosen over one that cannot be read", unit("dataplane/replica", "TestDamagedAtTheCoordinator")),
		one(plant.DamageBeside, "what was put beside a damaged record does not outrank it", unit("pmem/store", "TestDamagedRecordsDecideNothing")),
		one(plant.DamageMiss, "damage is not taken for a miss", unit("pmem/store", "TestFlippedBitsInRecords")),
		one(plant.DamageSettle, "an older copy does not settle damage", unit("pmem/store", "TestOlderCopyIsRefused")),
		one(plant.DamageHide, "a repair touches the damaged word only", unit("pmem/store", "TestRepairLeavesNeighboursAlone")),
		one(plant.DamageMoved, "a segment is not freed while a damaged record in it is current", unit("pmem/store", "TestCleanerKeepsDamage")),
		one(plant.DamageGap, "what lies behind a damaged header is reported", unit("pmem", "TestDamagedBlocks")),
		one(plant.DamageDoubt, "a pool that may lack keys says so", unit("pmem", "TestDamagedBlocks")),
		one(plant.DamageCold, "a doubtful pool gives nothing to a cold start", unit("heal", "TestOpenedDoubtful")),
		one(plant.DamageFlag, "that records may be lost is noted before the last trace of it goes", unit("pmem/crashtest", "TestCrashesInARepair")),
		one(plant.DamageMarker, "a lost marker takes the missed ranges along", unit("pmem", "TestDamagedMarker")),
		one(plant.DamageBlank, "a blank segment header is damage", unit("pmem", "TestDamagedBlocks")),
		one(plant.DamageForward, "what is rolled forward was verified", unit("dataplane/replica", "TestDamagedIsNotRolledForward")),
		one(plant.DamageAdopt, "a record equal to a damaged one is adopted", unit("dataplane/replica", "TestAdoptedOverDamage")),
		one(plant.DamageForged, "bytes of a value are not taken for a record", unit("pmem/seglog", "TestForgedRecordInAValue")),
		one(plant.DamageMarkerTrusted, "no marker is read that does not verify", unit("pmem", "TestDamagedMarker")),
		one(plant.DamageScrub, "the scrubber verifies bodies", unit("pmem/store", "TestScrub")),
	)
}
