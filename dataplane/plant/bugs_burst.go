package plant

// Of gets that a session collects and answers together.
const (
	BurstOwnWrite  Bug = "own-write-overtakes-collected-gets"
	BurstOvertake  Bug = "collected-get-overtakes-the-own-write"
	BurstLease     Bug = "burst-answered-without-a-look-at-the-lease"
	BurstAllocates Bug = "memory-allocated-for-each-burst"
)
