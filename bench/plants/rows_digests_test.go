package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.DigestOverwrite, "a record that is replaced leaves its range's sum", unit("pmem/store", "TestDigestFollows")),
		one(plant.DigestCursor, "what is written where the walk has been changes the sums", unit("pmem/store", "TestDigestFollows")),
		one(plant.DigestRange, "every range whose sums differ is looked at", unit("heal", "TestWayBackByDigest")),
		one(plant.DigestTombstone, "tombstones are listed like other records", unit("heal", "TestWayBackByDigest")),
		one(plant.DigestExtra, "a record that no longer exists at the buddy is deleted", unit("heal", "TestDigestBuries")),
		one(plant.DigestBegun, "digests are compared when they cover all records", unit("heal", "TestDigestWaitsForTheWalk")),
		one(plant.DigestErased, "what is given up or settled leaves the sums", unit("pmem/store", "TestDigestOfWhatWasGivenUp")),
		one(plant.CompareOnce, "a key diverges only if the own record is the same before and after the other's", unit("heal", "TestComparisonUnderLoad")),
		one(plant.CompareLocked, "locked records may differ", unit("heal", "TestComparisonUnderLoad")),
		one(plant.CompareFenced, "who may not serve is not compared with", unit("heal", "TestComparisonOfWhoServes")),
		one(plant.CompareVote, "what one member alone has may have been deleted", unit("heal", "TestComparisonLeavesWhatNobodyCanTell")),
	)
}
