package plant

// Of how fast a recovery goes.
const (
	PaceGreedy    Bug = "recovery-takes-cores-that-others-want"
	PaceCatchesUp Bug = "recovery-makes-up-for-every-lost-rest"
	ChoresAtOnce  Bug = "chores-of-an-opened-pool-in-a-row"
)
