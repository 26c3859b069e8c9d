package plant

// Of nodes that are slow, and of what is said about nodes.
const (
	SuspectGap   Bug = "suspected-over-the-own-standstill"
	SuspectFlaps Bug = "suspicion-without-settling"
	SlowOnce     Bug = "slow-complaint-without-waiting"
	SlowAll      Bug = "slow-complaint-although-all-are-slow"
	SlowOwn      Bug = "slow-timed-over-the-own-standstill"
	SlowMinority Bug = "slow-demoted-below-a-majority"
	SlowWitness  Bug = "slow-demoted-on-one-witness"
	SlowOften    Bug = "slow-demoted-one-after-the-other"
	SlowPromoted Bug = "promoted-before-it-keeps-up"
)
