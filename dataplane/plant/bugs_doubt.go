package plant

// Doubt: when a pool may lack keys, or have too many, and what is done then.
const (
	DoubtRefound Bug = "doubt-segment-found-again-was-there-all-along"
	DoubtAlways  Bug = "doubt-every-segment-found-again-makes-doubtful"
	DoubtStray   Bug = "doubt-free-header-of-another-place-believed"
	DoubtTorn    Bug = "doubt-any-bad-header-taken-for-a-torn-one"
	DoubtStale   Bug = "doubt-old-free-header-believed"
)
