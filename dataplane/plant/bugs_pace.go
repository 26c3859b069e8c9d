package plant

// Of how fast a recovery goes.
const (
	PaceGreedy    Bug = "recovery-takes-cores-that-others-want"
	PaceCatchesUp Bug = "recovery-makes-up-for-every-lost-rest"
	PaceUnhurried Bug = "recovery-in-no-hurry-while-the-buddy-runs-out-of-room"
	PaceDeaf      Bug = "recovery-hears-nothing-of-the-worker-that-applies"
	PaceStrolls   Bug = "recovery-of-a-moment-at-the-floor"
	WalkDear      Bug = "walk-of-a-missed-range-rests-as-if-its-bytes-were-fetched"
	ChoresAtOnce  Bug = "chores-of-an-opened-pool-in-a-row"
)
