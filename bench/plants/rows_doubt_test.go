package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.DoubtRefound, "a segment found again that may have been given back makes the pool doubtful", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtAlways, "a segment found again that was there all along does not make the pool doubtful", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtStray, "a free header says whose place it is", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtTorn, "a header that no crash leaves is damage", unit("pmem", "TestEverySegmentHeader")),
		one(plant.MendUnflushed, "a mended segment header goes out though nobody writes", unit("pmem/store", "TestScrub")),
		one(plant.DoubtLost, "an index that cannot be mended ends the life, not the process", unit("pmem", "TestIndexAndLogDamaged")),
		one(plant.DoubtForgotten, "what no member has a good copy of stays refused after a restart", unit("heal", "TestRefusedOutlivesRestarts")),
		one(plant.DoubtWaits, "a read does not wait for a leftover that nobody rolls forward", unit("heal", "TestRefusedOutlivesRestarts")),
		one(plant.DoubtStale, "an old free header does not hide a segment begun later", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtLives, "an old free header over the only segment of a life is noticed", unit("pmem/seglog", "TestOldHeaderOverASegment")),
		one(plant.DoubtOverlaid, "the header of an earlier segment over a live one is noticed", unit("pmem/seglog", "TestOldHeaderOverASegment")),
		one(plant.DoubtLate, "an old header is noticed above the position that the superblock notes", unit("pmem/seglog", "TestOldHeaderAboveWhatIsNoted")),
		one(plant.DoubtHole, "the log ends before a segment that has no header and may never have had one", unit("pmem/seglog", "TestOldHeaderAboveWhatIsNoted")),
		one(plant.DoubtCut, "where a seal was lost with its header the log is not said to end", unit("pmem/seglog", "TestSealLostWithItsHeader")),
	)
}
