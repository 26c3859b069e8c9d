package plant

// Doubt: when a pool may lack keys, or have too many, and what is done then.
const (
	DoubtRefound   Bug = "doubt-segment-found-again-was-there-all-along"
	DoubtAlways    Bug = "doubt-every-segment-found-again-makes-doubtful"
	DoubtStray     Bug = "doubt-free-header-of-another-place-believed"
	DoubtTorn      Bug = "doubt-any-bad-header-taken-for-a-torn-one"
	DoubtLost      Bug = "doubt-lost-index-ends-the-process"
	DoubtForgotten Bug = "doubt-refusal-forgotten-after-restart"
	DoubtWaits     Bug = "doubt-read-waits-for-a-damaged-leftover"
	DoubtStale     Bug = "doubt-old-free-header-believed"
	DoubtLives     Bug = "doubt-segment-alone-of-its-life-not-looked-for"
	DoubtOverlaid  Bug = "doubt-old-segment-header-believed"
	DoubtLate      Bug = "doubt-old-header-believed-above-what-is-noted"
	DoubtHole      Bug = "doubt-segment-without-a-header-left-out-of-the-log"
	DoubtCut       Bug = "doubt-log-ends-where-a-lost-seal-stood"
)
