package plants

import "healkv/dataplane/plant"

func init() {
	table = append(table,
		one(plant.BurstOwnWrite, "a collected get is answered before the session's write of the key that follows it", unit("dataplane", "TestBurstKeepsTheOrder")),
		one(plant.BurstOvertake, "a get that follows a write of its session is not answered before it", unit("dataplane", "TestBurstKeepsTheOrder")),
		one(plant.BurstLease, "a burst of gets is answered only if the lease held all the while", unit("dataplane", "TestBurstLooksAtTheLease")),
		one(plant.BurstAllocates, "a burst of gets allocates nothing", unit("dataplane", "TestReadPathAllocatesNothing")),
	)
}
