package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.DoubtRefound, "a segment found again that may have been given back makes the pool doubtful", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtAlways, "a segment found again that was there all along does not make the pool doubtful", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtStray, "a free header says whose place it is", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtTorn, "a header that no crash leaves is damage", unit("pmem", "TestEverySegmentHeader")),
		one(plant.DoubtStale, "an old free header does not hide a segment begun later", unit("pmem", "TestEverySegmentHeader")),
	)
}
